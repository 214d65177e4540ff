"""The workbook: its chapters, the runner that executes them, and the command line."""
