"""Distillation algorithms (section 5 of the survey): one module or package for each section."""
