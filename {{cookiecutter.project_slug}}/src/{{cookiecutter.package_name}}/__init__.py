"""The project's pipelines and models; nothing here depends on Azure."""

__version__ = "0.1.0"
