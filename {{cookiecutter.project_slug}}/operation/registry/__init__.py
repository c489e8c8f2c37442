"""The registered models of each environment, wherever they are kept.

``open_registry(env)`` gives the registry that ``registry.yml`` of the environment names.
"""

from pathlib import Path

from operation.ci import in_ci
from operation.errors import OperationError
from operation.registry.config import RegistrySettings, read_registry_settings
from operation.registry.interface import Registry, Version

__all__ = ["Registry", "Version", "open_registry"]


def open_registry(env: str, root: Path | None = None) -> Registry:
    """Open the registry of an environment; nothing is changed by that.

    Raises
    ------
    OperationError
        If a key or value of ``registry.yml`` is wrong, the workspace is not known, or this is a CI
        run and the registry a file of its checkout.
    MissingConfigException
        If there is no such environment.
    """
    root = root or Path.cwd()
    settings = read_registry_settings(root, env)
    _refuse_what_ends_with_the_run(settings, root)
    if settings.config.kind == "azureml":
        from operation.registry.on_azureml import AzureRegistry

        return AzureRegistry(settings, root)
    from operation.registry.on_mlflow import MlflowRegistry

    return MlflowRegistry(settings, root)


def _refuse_what_ends_with_the_run(settings: RegistrySettings, root: Path) -> None:
    """Refuse a registry that nobody sees again: what it takes would only look registered."""
    kind, _, place = settings.server.partition(":///")
    is_file = settings.config.kind == "mlflow" and kind in {"sqlite", "file"}
    if not is_file or settings.env == "local" or not in_ci():
        return
    if (root / place).resolve().is_relative_to(root.resolve()):
        raise OperationError(
            f"The registry of {settings.env} is the file {Path(place).name} of this checkout, "
            "which ends with the CI run. Set kind: azureml in operation/configuration/"
            f"{settings.env}/registry.yml, or uri, or MLFLOW_TRACKING_URI: docs/model/registry.md"
        )
