"""The functions that runs execute, registered by name in `kdnb.runs.registry`."""
