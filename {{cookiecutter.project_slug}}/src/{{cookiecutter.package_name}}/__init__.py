"""The core scripts of the project, free of Azure."""

__version__ = "0.1.0"
