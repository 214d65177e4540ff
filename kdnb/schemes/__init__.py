"""Who teaches whom, and when (section 3 of the survey)."""
