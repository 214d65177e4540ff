"""The executable edition of the survey "Knowledge Distillation: A Survey"."""

__version__ = "0.1.0"
