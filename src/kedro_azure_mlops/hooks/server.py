"""Which MLflow server a project tracks on, and the experiment there."""

import os
from pathlib import Path
from typing import Any

from kedro_azure_mlops.config import Mlops

# A dead server is reported in seconds; MLflow's own defaults would try for many minutes.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    # looks for a Databricks notebook at every run, and imports IPython for it
    "MLFLOW_ENABLE_SGC_RUN_RESUMPTION_FOR_DATABRICKS_JOBS": "false",
}
_SQLITE = "sqlite:///"


def choose_server(config: Mlops, root: Path) -> None:
    """Point MLflow to the configured server, unless the environment names another one."""
    uri = server_of(config.tracking.uri, root)
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(uri)


def server_of(configured: str, root: Path, *, given: bool = False) -> str:
    """Return the address of the tracking server, and limit MLflow's retries to seconds.

    A relative SQLite file lies in the project, wherever the command is run.

    Parameters
    ----------
    given
        Whether the configured address counts even if the environment names another one.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    named = "" if given else os.environ.get("MLFLOW_TRACKING_URI", "")
    if named or not configured.startswith(_SQLITE):
        return named or configured
    return _SQLITE + (root / configured.removeprefix(_SQLITE)).as_posix()


def experiment_id(client: Any, name: str, root: Path) -> str:
    """Find an experiment or create it, local artifacts beside the local database."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    is_local = client.tracking_uri.startswith("sqlite:")
    location = (root / "mlartifacts" / name).as_uri() if is_local else None
    return str(client.create_experiment(name, artifact_location=location))
