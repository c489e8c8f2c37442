"""The keys of ``mlflow.yml``, strictly, and what they mean for MLflow."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import ProjectError

# A dead server is reported in seconds; MLflow's own defaults would try for many minutes.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    # looks for a Databricks notebook at every run, and imports IPython for it
    "MLFLOW_ENABLE_SGC_RUN_RESUMPTION_FOR_DATABRICKS_JOBS": "false",
}


class TrackingConfig(BaseModel):
    """The keys of ``mlflow.yml``."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool
    tracking_uri: str
    experiment: str
    registered_model: str
    when_unreachable: Literal["error", "warn"]
    moves_champion: bool
    data: str
    report: str
    metrics: list[str]
    artifacts: list[str]
    model: str
    scores: str
    champion: str
    comparison: str
    gate: str


def read_config(context: Any) -> TrackingConfig:
    """Read ``mlflow.yml`` of the environment of a run.

    Raises
    ------
    ProjectError
        If a key or a value is wrong.
    """
    try:
        return TrackingConfig(**context.config_loader["mlflow"])
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        env = context.env or "base"
        raise ProjectError(f"mlflow.yml of environment {env}: {'; '.join(faults)}") from error


def choose_server(config: TrackingConfig, root: Path) -> None:
    """Point MLflow to the configured server, unless the environment names another one."""
    uri = server_of(config.tracking_uri, root)
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(uri)


def server_of(configured: str, root: Path, *, given: bool = False) -> str:
    """Return the address of the tracking server, and let MLflow be patient for seconds only.

    Parameters
    ----------
    given
        Whether the configured address counts even if the environment names another one.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    named = "" if given else os.environ.get("MLFLOW_TRACKING_URI", "")
    return named or _below(root, configured)


def _below(root: Path, uri: str) -> str:
    """Place a relative SQLite file in the project, wherever the command is run."""
    scheme = "sqlite:///"
    if not uri.startswith(scheme):
        return uri
    return scheme + (root / uri.removeprefix(scheme)).as_posix()
