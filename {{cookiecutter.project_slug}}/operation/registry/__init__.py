"""The registered models of each environment, wherever they are kept.

``open_registry(env)`` gives the registry that ``registry.yml`` of the environment names.
"""

from pathlib import Path

from operation.registry.config import read_registry_settings
from operation.registry.interface import Registry, Version

__all__ = ["Registry", "Version", "open_registry"]


def open_registry(env: str, root: Path | None = None) -> Registry:
    """Open the registry of an environment; nothing is changed by that.

    Raises
    ------
    OperationError
        If a key or value of ``registry.yml`` is wrong, or the workspace is not known.
    MissingConfigException
        If there is no such environment.
    """
    root = root or Path.cwd()
    settings = read_registry_settings(root, env)
    if settings.config.kind == "azureml":
        from operation.registry.on_azureml import AzureRegistry

        return AzureRegistry(settings, root)
    from operation.registry.on_mlflow import MlflowRegistry

    return MlflowRegistry(settings, root)
