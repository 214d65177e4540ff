"""Who teaches whom, one folder a section of the survey; `table` lists the losses of section 2."""

from kdnb.methods.catalogue import METHODS, method, table

__all__ = ["METHODS", "method", "table"]
