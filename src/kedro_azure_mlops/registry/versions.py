"""Versions of the registered model, and its champion.

The champion holds an alias. Azure ML does not document aliases, and the registry of a Databricks
workspace has none; there, a tag marks the champion. Each time a version becomes champion, its tag
``champion.since.<time>`` records how, and which version it replaced.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro_azure_mlops.contract import UnusableModelError, refuse_changed_files
from kedro_azure_mlops.errors import first_line
from kedro_azure_mlops.hooks.databricks import is_missing_model, is_unity_catalog
from kedro_azure_mlops.registry.unity_catalog import UnityCatalogClient
from kedro_azure_mlops.safety import redacted

logger = logging.getLogger(__name__)

CHAMPION = "champion"  # the alias, or the tag: read before the gate and moved after it
SINCE = "champion.since."
BY_GATE = "gate"
_EXISTS = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")
_MISSING = "RESOURCE_DOES_NOT_EXIST"
# raised by MLflow itself, without a request
_IN_WORKSPACE = "is unsupported for models in the Workspace Model Registry"


def open_client(tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """Return an MLflow client; by default, for the addresses that MLflow is set to."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri, registry_uri)
    if is_unity_catalog(registry_uri or mlflow.get_registry_uri()):
        return UnityCatalogClient(client)
    return client


def is_unsupported(error: Exception) -> bool:
    """Return whether an error may mean that the server lacks a feature: status 404 or 501."""
    from mlflow import MlflowException

    if isinstance(error, MlflowException) and _IN_WORKSPACE in str(error):
        return True
    codes = ("ENDPOINT_NOT_FOUND", "NOT_FOUND", "NOT_IMPLEMENTED", "RESOURCE_DOES_NOT_EXIST")
    return isinstance(error, MlflowException) and error.error_code in codes


def register(
    client: Any,
    name: str,
    source: str,
    run_id: str,
    tags: dict[str, str],
    *,
    announce: bool = True,
) -> str:
    """Register a model folder that is stored with a run and return its version."""
    from mlflow import MlflowException

    tags = redacted(tags)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in _EXISTS:
            raise
    # not `mlflow.register_model`: with Azure ML's plugin it misreads the list of the run's files,
    # and then asks for a logged model that does not exist
    version = str(client.create_model_version(name, source, run_id, tags=tags).version)
    if announce:
        logger.info("Registered %s version %s", name, version)
    return version


def version_of_digest(client: Any, name: str, wanted: str) -> str | None:
    """Return the newest version that has these files; None if there is none."""
    same = [v for v in newest_first(client, name) if v.tags.get("digest") == wanted]
    return str(same[0].version) if same else None


def stored_fault(name: str, version: str, digest: str) -> str | None:
    """Return what is wrong with the stored files of a version; None if they have this digest."""
    import mlflow

    try:
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{version}"))
        refuse_changed_files(folder, digest)
    except (mlflow.MlflowException, OSError) as error:
        return f"its files cannot be fetched: {first_line(error)}"
    except UnusableModelError as error:
        return str(error)
    return None


def find_champion(client: Any, name: str) -> Any | None:
    """Return the version in service; None if there is no such model or champion."""
    from mlflow import MlflowException

    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if getattr(client, "has_aliases", False):  # Unity Catalog, whose errors are unambiguous
            if is_missing_model(error):
                return None
            raise
        if is_unsupported(error):  # or the model is missing: no version is tagged
            return next(iter(_tagged(client, name)), None)
        if error.error_code == "INVALID_PARAMETER_VALUE":  # no version holds the alias
            return None
        raise


def make_champion(client: Any, name: str, version: str, how: str = BY_GATE) -> None:
    """Make a version the only champion, and record since when and how."""
    from mlflow import MlflowException

    before = find_champion(client, name)
    try:
        client.set_registered_model_alias(name, CHAMPION, version)
    except MlflowException as error:
        if not is_unsupported(error):
            raise
        # tag the new one first: after an interruption both are tagged, and the newest counts
        client.set_model_version_tag(name, version, CHAMPION, "true")
        for other in _tagged(client, name):
            if str(other.version) != version:
                client.delete_model_version_tag(name, str(other.version), CHAMPION)
    key, text = champion_event(how, str(before.version) if before else None)
    client.set_model_version_tag(name, version, key, text)


def champion_event(how: str, before: str | None) -> tuple[str, str]:
    """Return the name and text of the tag that records when a version became champion."""
    # MLflow's tag names may not contain the plus sign of a usual time zone
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"{SINCE}{now}", f"{how}, after {before}" if before else f"{how}, the first"


def _tagged(client: Any, name: str) -> list[Any]:
    return [v for v in newest_first(client, name) if v.tags.get(CHAMPION) == "true"]


def newest_first(client: Any, name: str) -> list[Any]:
    """List all versions of a model, the newest first."""
    from mlflow import MlflowException

    versions, token = [], None
    try:
        while token is None or token:
            page = client.search_model_versions(f"name='{name}'", page_token=token)
            versions.extend(page)
            token = getattr(page, "token", None) or ""
    except MlflowException as error:
        if error.error_code != _MISSING or versions:
            raise  # otherwise the model does not exist
    return sorted(versions, key=lambda version: int(version.version), reverse=True)
