"""What runs do: functions of a description, registered by name in `kdnb.runs.registry`."""
