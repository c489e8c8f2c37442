"""Deploy a registered model to an Azure ML endpoint, and roll the deployment back."""
