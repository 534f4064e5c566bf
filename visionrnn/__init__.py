"""The front door: one command, `visionrnn`, for all tasks."""
