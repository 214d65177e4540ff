"""The workbook: its chapters, the runner that executes them, and the command line."""

from kdnb.workbook.parameters import ParameterError, check

__all__ = ["ParameterError", "check"]
