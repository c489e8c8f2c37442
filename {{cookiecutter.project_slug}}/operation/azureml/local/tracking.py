"""MLflow runs of a job that runs here: one for the job and one for each step, as Azure ML's."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project

from {{ cookiecutter.package_name }}.errors import ProjectError, first_line
from {{ cookiecutter.package_name }}.tracking.code_version import code_version
from {{ cookiecutter.package_name }}.tracking.config import (
    TrackingConfig,
    choose_server,
    read_config,
)
from {{ cookiecutter.package_name }}.tracking.run import experiment_id

from operation.azureml.config import CONFIGURATION
from operation.azureml.local.job_file import Job
from operation.errors import OperationError

logger = logging.getLogger(__name__)


class Tracking(Protocol):
    """What a job tells of its steps."""

    def begin(self, job: Job, tags: Mapping[str, str]) -> None:
        """Learn of a job; it gets a run with its first step that is not reused."""

    def start(self, step: str) -> dict[str, str]:
        """Open the run of a step and return the variables that tell the step of it."""

    def end(self, step: str, status: str) -> None:
        """End the run of a step: FINISHED, FAILED or KILLED."""

    def close(self, status: str) -> None:
        """End the run of the job."""


class NoTracking:
    """Nothing is tracked."""

    def begin(self, job: Job, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def start(self, step: str) -> dict[str, str]:
        """Tell the step nothing."""
        return {}

    def end(self, step: str, status: str) -> None:
        """Do nothing."""

    def close(self, status: str) -> None:
        """Do nothing."""


class MlflowJob:
    """Runs in the project's tracking store.

    Raises
    ------
    OperationError
        If the server does not answer and ``when_unreachable`` says error.
    """

    def __init__(self, config: TrackingConfig, root: Path, env: str) -> None:
        self._config = config
        self._root = root
        self._tags = code_version(root) | {"env": env}
        self._lock = threading.Lock()
        self._runs: dict[str, Any] = {}
        self._parent: Any = None
        self._uri = ""
        self._given_up = False

    def begin(self, job: Job, tags: Mapping[str, str]) -> None:
        """Learn of a job; it gets a run with its first step that is not reused."""
        self._job = job
        self._tags |= tags

    def start(self, step: str) -> dict[str, str]:
        """Open the run of a step and return the variables that tell the step of it."""
        with self._lock:
            if not self._given_up:
                with self._reported(self._config.when_unreachable):
                    self._open(step)
                self._given_up = step not in self._runs
        variables = {"MLFLOW_TRACKING_URI": self._uri} if self._uri else {}
        if step not in self._runs:
            return variables
        return variables | {
            "MLFLOW_RUN_ID": self._runs[step].info.run_id,
            "MLFLOW_EXPERIMENT_ID": self._parent.info.experiment_id,
            "MLFLOW_EXPERIMENT_NAME": self._job.experiment,
        }

    def end(self, step: str, status: str) -> None:
        """End the run of a step: FINISHED, FAILED or KILLED."""
        self._end(self._runs.pop(step, None), status)

    def close(self, status: str) -> None:
        """End the run of the job."""
        self._end(self._parent, status)

    def _open(self, step: str) -> None:
        if self._parent is None:
            self._connect()
            self._parent = self._create(self._job.name, self._tags)
        below = {"mlflow.parentRunId": self._parent.info.run_id}
        self._runs[step] = self._create(step, below)

    def _connect(self) -> None:
        import mlflow  # takes over a second

        choose_server(self._config, self._root)
        self._uri = _absolute(mlflow.get_tracking_uri(), self._root)
        self._client = mlflow.MlflowClient(self._uri)
        self._experiment = experiment_id(self._client, self._job.experiment, self._root)

    def _create(self, name: str, tags: Mapping[str, str]) -> Any:
        return self._client.create_run(self._experiment, run_name=name, tags=dict(tags))

    def _end(self, run: Any, status: str) -> None:
        if run is not None:
            with self._lock, self._reported("warn"):
                self._client.set_terminated(run.info.run_id, status)

    @contextmanager
    def _reported(self, severity: str) -> Iterator[None]:
        """Turn any fault of the tracking server into one clear error, or into a warning."""
        from mlflow.exceptions import MlflowException
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
            message = (
                f"MLflow at {self._uri} failed: {first_line(error)}\nStart the server, name "
                "another one in MLFLOW_TRACKING_URI, or set enabled: false or when_unreachable: "
                f"warn in {CONFIGURATION}/<env>/mlflow.yml."
            )
            if severity == "error":
                raise OperationError(message) from error
            logger.warning(message)


def tracking_of(root: Path, env: str) -> Tracking:
    """Return how the jobs of an environment are tracked: as ``mlflow.yml`` says.

    Raises
    ------
    OperationError
        If a key or a value of it is wrong.
    """
    bootstrap_project(root)
    loader = OmegaConfigLoader(
        conf_source=str(root / CONFIGURATION), env=env, **settings.CONFIG_LOADER_ARGS
    )
    try:
        config = read_config(SimpleNamespace(config_loader=loader, env=env))
    except ProjectError as error:
        raise OperationError(str(error)) from error
    return MlflowJob(config, root, env) if config.enabled else NoTracking()


def _absolute(uri: str, root: Path) -> str:
    """Place a relative SQLite file in the project: steps run elsewhere."""
    scheme = "sqlite:///"
    return scheme + (root / uri.removeprefix(scheme)).as_posix() if uri.startswith(scheme) else uri
