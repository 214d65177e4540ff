"""Offline distillation (section 3.1): a teacher is trained first, then a student learns from it."""
