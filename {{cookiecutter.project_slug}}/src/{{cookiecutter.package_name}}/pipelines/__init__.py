"""The pipelines: nodes are pure functions, all I/O is in the catalog."""
