"""Jobs, data and schedules of a workspace."""
