"""How a registered model gets to an endpoint of Azure ML, and how that is undone."""
