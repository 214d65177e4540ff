"""Distillation at work (section 7): recognition, language, speech and others, one file for each task."""
