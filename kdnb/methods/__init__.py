"""Distillation methods, one folder per section of the survey; `table` lists those of section 2."""

from kdnb.methods.catalogue import METHODS, method, table

__all__ = ["METHODS", "method", "table"]
