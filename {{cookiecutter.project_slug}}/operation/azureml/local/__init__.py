"""A compiled job runs on this machine."""
