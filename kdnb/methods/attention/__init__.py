"""Attention-based distillation (section 5.5 of the survey)."""
