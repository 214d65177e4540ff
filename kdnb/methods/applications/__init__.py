"""Distillation at work (section 7): language, and other fields of application."""
