"""Every run is recorded in MLflow."""
