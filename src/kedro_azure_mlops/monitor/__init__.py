"""Monitor the model in service."""
