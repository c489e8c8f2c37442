"""Choose the MLflow server that a project tracks on, and its experiment."""

import os
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from kedro_azure_mlops.ci import in_ci
from kedro_azure_mlops.config import Mlops
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.databricks import (
    experiment_path,
    is_databricks,
    is_missing_model,
    make_folder,
    of_same_workspace,
    refuse_model_name,
    refuse_silence,
    shown,
    use_profile,
)

# A dead server is reported in seconds; MLflow's own defaults would try for many minutes.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT": "10",
    # otherwise MLflow imports IPython at every run, to look for a Databricks notebook
    "MLFLOW_ENABLE_SGC_RUN_RESUMPTION_FOR_DATABRICKS_JOBS": "false",
}
ARTIFACTS = "mlartifacts"  # the folder for the files of runs, next to their database
_LONGEST = 100  # characters of a folder's name
_SQLITE = "sqlite:///"
_IN_MEMORY = ("", ":memory:")
_chosen: set[str] = set()  # addresses that this process has set itself
_chosen_registry: list[str] = []  # the last registry that this process has set
_REGISTRY = "MLFLOW_REGISTRY_URI"
_FILE = "file:"  # prefix of a path in which SQLite decodes quoted characters


class DeletedExperimentError(OperationError):
    """The experiment was deleted on the server (exit status 2)."""


def choose_server(config: Mlops, root: Path) -> None:
    """Point MLflow to the configured server, unless the environment names another one.

    A database is opened, and created or corrected if needed; see ``database.open_database``. The
    Databricks registry is set too: MLflow would use Unity Catalog by default.
    """
    from kedro_azure_mlops.hooks.database import open_database

    uri = server_of(config.tracking.uri, root)
    import mlflow

    if uri != os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(uri)
        _chosen.add(uri)
    registry = registry_of(config, root)
    for address in (uri, registry):
        if is_databricks(address):
            use_profile(address)
            refuse_silence(address)
    _choose_registry(registry)
    open_database(uri)


def open_tracking(context: Any) -> str:
    """Point MLflow to the tracking server of a project, as a run does: for a notebook or a script.

    Parameters
    ----------
    context
        Kedro's context, from ``%load_ext kedro.ipython`` or ``session.load_context()``.

    Returns
    -------
    The name of the experiment, for ``mlflow.search_runs(experiment_names=[...])``.

    Raises
    ------
    OperationError
        If ``mlops.yml`` cannot be read or the server cannot be opened.
    """
    from kedro_azure_mlops.config import mlops_of_context

    config = mlops_of_context(context)
    choose_server(config, Path(context.project_path))
    import mlflow

    folder = config.tracking.experiment_folder
    return placed_experiment(config.experiment, mlflow.get_tracking_uri(), folder)


def registry_of(config: Mlops, root: Path) -> str:
    """Return the address of the registry that runs use; empty if it is the tracking server's own.

    On Databricks it is ``registry.uri``, else MLFLOW_REGISTRY_URI, else the tracking address:
    ``databricks`` is the registry of the workspace, as in all of MLflow's addresses.
    """
    server = server_of(config.tracking.uri, root)
    named = config.registry.uri
    registry = server_of(named, root, given=True) if named else (asked_registry() or server)
    if not (is_databricks(registry) or is_databricks(server)):
        return ""
    return of_same_workspace(registry, server)


def refuse_unfit_registry(config: Mlops, root: Path) -> None:
    """Refuse a registry on Databricks that cannot hold the model, before a run trains it.

    Raises
    ------
    OperationError
        If it does not allow the model's name, naming the key of ``mlops.yml`` to change.
    MlflowException
        If the registry does not answer, has no such catalog or schema, or denies access.
    """
    from mlflow import MlflowException

    from kedro_azure_mlops.registry.versions import open_client

    registry = registry_of(config, root)
    if not is_databricks(registry) or not (config.tracking.model or config.champion):
        return
    refuse_model_name(config.model_name, registry)
    try:
        open_client().get_registered_model(config.model_name)
    except MlflowException as error:
        if not is_missing_model(error):
            raise


def asked_registry() -> str:
    """Return MLFLOW_REGISTRY_URI, unless this process has set it itself."""
    asked = os.environ.get(_REGISTRY, "")
    return "" if asked in _chosen_registry else asked


def _choose_registry(address: str) -> None:
    import mlflow

    current = os.environ.get(_REGISTRY, "")
    if address:
        if address != current:
            _chosen_registry[:] = [address]
        mlflow.set_registry_uri(address)
    elif current and current in _chosen_registry:  # set for another project, and kept by MLflow
        mlflow.set_registry_uri(None)
        os.environ.pop(_REGISTRY)


def server_of(configured: str, root: Path, *, given: bool = False) -> str:
    """Return the address of the tracking server, and limit MLflow's retries to seconds.

    A relative SQLite path is relative to the project, not to the current folder.

    Parameters
    ----------
    given
        Whether the configured address takes precedence over the environment.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    named = "" if given else os.environ.get("MLFLOW_TRACKING_URI", "")
    if named in _chosen:  # set for another project, and kept there by MLflow
        named = ""
    address = named or configured
    path, separator, options = address.removeprefix(_SQLITE).partition("?")
    if not address.startswith(_SQLITE) or Path(path).is_absolute() or path in _IN_MEMORY:
        return address
    address = sqlite_address(root / path)
    return f"{address}{'&' if '?' in address else separator}{options}" if separator else address


def sqlite_address(path: Path) -> str:
    """Return the address of a SQLite file, whose folders may have special characters."""
    from sqlalchemy import URL, make_url

    plain = _SQLITE + path.as_posix()
    if not {"#", "?", "%"}.intersection(plain) and make_url(plain).database == path.as_posix():
        return plain
    # SQLAlchemy before 2.1 cannot quote a question mark, but SQLite can; with the driver's name in
    # the address MLflow does not create a folder from a misread path
    file = URL.create("sqlite+pysqlite", database=_FILE + quote(path.as_posix()))
    return file.update_query_dict({"uri": "true"}).render_as_string()


def database_of(address: str) -> Path | None:
    """Return the file of a SQLite address; None for any other address."""
    if not address.startswith(("sqlite:", "sqlite+")):
        return None
    from sqlalchemy import make_url

    url = make_url(address)
    path = url.database or ""
    if path.startswith(_FILE) and url.query.get("uri") == "true":
        path = unquote(path.removeprefix(_FILE))
    return None if path in _IN_MEMORY else Path(path)


def lost_after_ci(address: str, env: str, root: Path) -> Path | None:
    """Return the file or folder of an address in the checkout of a CI run, which ends with the run.

    None for all other addresses, outside CI, and for the environment ``local``.
    """
    if env == "local" or not in_ci():
        return None
    from mlflow.utils.file_utils import get_local_path_or_none

    local = get_local_path_or_none(address) if address.startswith("file:") else None
    path = Path(local) if local else database_of(address)
    if path is None or not (root / path).resolve().is_relative_to(root.resolve()):
        return None
    return path


def shown_address(address: str) -> str:
    """Return an address in a readable form."""
    if is_databricks(address):
        return shown(address)
    return f"{_SQLITE}{database_of(address)}" if address.startswith("sqlite+") else address


def placed_experiment(name: str, address: str, folder: str | None = None) -> str:
    """Return the name of an experiment on a server: on Databricks, a path in the workspace.

    Parameters
    ----------
    folder
        ``tracking.experiment_folder``; None: the folder of the project below ``/Shared``.
    """
    return experiment_path(name, folder) if is_databricks(address) else name


def experiment_id(client: Any, name: str, folder: str | None = None) -> str:
    """Find or create an experiment; files of a local database go into a folder next to it.

    On Databricks a name that is not a path is placed in a folder, which is created.

    Parameters
    ----------
    folder
        As for ``placed_experiment``.

    Raises
    ------
    DeletedExperimentError
        If it was deleted.
    """
    from mlflow import MlflowException

    is_placed = is_databricks(client.tracking_uri) and not name.startswith("/")
    name = placed_experiment(name, client.tracking_uri, folder)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return _create_experiment(client, name, is_placed)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another run has just created it
    if found.lifecycle_stage == "deleted":
        raise DeletedExperimentError(
            f"The experiment {name} was deleted on MLflow at {shown_address(client.tracking_uri)}. "
            f"To restore it, run:\nMLFLOW_TRACKING_URI={shlex.quote(client.tracking_uri)} mlflow "
            f"experiments restore --experiment-id {found.experiment_id}\nTo record in another one, "
            "set tracking.experiment in mlops.yml."
        )
    return str(found.experiment_id)


def _create_experiment(client: Any, name: str, is_placed: bool) -> str:
    """Create an experiment and, on Databricks, the folder in which we place it."""
    from mlflow import MlflowException

    database = database_of(client.tracking_uri)
    location = _location(database, name) if database else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException as error:
        if not is_placed or error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    make_folder(client.tracking_uri, name.rpartition("/")[0])
    return str(client.create_experiment(name))


def _location(database: Path, name: str) -> str:
    """Return the folder for an experiment's files; its name may look like a path."""
    folder = name.replace("/", "-").replace("\\", "-")[:_LONGEST]
    folder = f"-{folder}" if folder in {".", ".."} else folder
    return (database.resolve().parent / ARTIFACTS / folder).as_uri()
