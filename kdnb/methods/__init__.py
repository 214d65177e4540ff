"""Who teaches whom: sections 3, 4, 5 and 7 of the survey, one folder a section, one file a method."""
