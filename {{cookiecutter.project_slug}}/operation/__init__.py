"""How the core scripts are executed: the only place that knows Azure."""
