"""MLflow runs of a local job: one for the job and one for each step, as on Azure ML."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from kedro_azure_mlops.config import Mlops, configuration_folder, read_mlops
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import has_configuration
from kedro_azure_mlops.hooks.code_version import code_version
from kedro_azure_mlops.hooks.faults import fault_in_words, faults
from kedro_azure_mlops.hooks.run import end_runs_of_dead_processes
from kedro_azure_mlops.hooks.server import (
    choose_server,
    experiment_id,
    server_of,
)
from kedro_azure_mlops.local.job_file import Job
from kedro_azure_mlops.processes import Process

logger = logging.getLogger(__name__)


class Tracking(Protocol):
    """Records a job and its steps."""

    def begin(self, job: Job, tags: Mapping[str, str]) -> None:
        """Set the job; its run is created with the first step that is not reused."""

    def start(self, step: str) -> dict[str, str]:
        """Open the run of a step and return the environment variables that pass it on."""

    def end(self, step: str, status: str) -> None:
        """End the run of a step: FINISHED, FAILED or KILLED."""

    def close(self, status: str) -> None:
        """End the run of the job."""

    def champion(self, model: str) -> str | None:
        """Return a text that changes with the champion; None if it cannot be looked up."""


class NoTracking:
    """Track nothing."""

    def begin(self, job: Job, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def start(self, step: str) -> dict[str, str]:
        """Return no variables."""
        return {}

    def end(self, step: str, status: str) -> None:
        """Do nothing."""

    def close(self, status: str) -> None:
        """Do nothing."""

    def champion(self, model: str) -> str | None:
        """Return a constant: without tracking there is no champion."""
        return "tracking is off"


class MlflowJob:
    """The runs of a job in the project's tracking store.

    Raises
    ------
    OperationError
        If the server does not answer and ``when_unreachable`` is error.
    """

    def __init__(self, config: Mlops, root: Path, env: str) -> None:
        self._config = config
        self._root = root
        self._tags = code_version(root) | {"env": env}
        self._lock = threading.Lock()
        self._runs: dict[str, Any] = {}
        self._parent: Any = None
        self._client: Any = None
        self._uri = ""
        self._given_up = False

    def begin(self, job: Job, tags: Mapping[str, str]) -> None:
        """Set the job; its run is created with the first step that is not reused."""
        self._job = job
        self._tags |= tags

    def start(self, step: str) -> dict[str, str]:
        """Open the run of a step and return the environment variables that pass it on."""
        with self._lock:
            if not self._given_up:
                with self._reported(self._config.tracking.when_unreachable):
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

    def champion(self, model: str) -> str | None:
        """Return the digest of the champion's files; None if the server does not answer.

        A version that was registered without a digest is identified by its number.
        """
        from kedro_azure_mlops.registry.versions import find_champion

        try:
            with self._lock:
                self._connect()
                champion = find_champion(self._client, model)
        except faults():
            return None
        if champion is None:
            return "none yet"
        return str(champion.tags.get("digest") or f"version {champion.version}")

    def _open(self, step: str) -> None:
        self._connect()
        if self._parent is None:
            folder = self._config.tracking.experiment_folder
            self._experiment = experiment_id(self._client, self._job.experiment, folder)
            end_runs_of_dead_processes(self._client, self._experiment)
            self._parent = self._create(self._job.name, self._tags)
        parent_tag = {"mlflow.parentRunId": self._parent.info.run_id}
        self._runs[step] = self._create(step, parent_tag)

    def _connect(self) -> None:
        if self._client is not None:
            return
        from kedro_azure_mlops.registry.versions import open_client  # slow to import: over a second

        self._uri = server_of(self._config.tracking.uri, self._root)
        choose_server(self._config, self._root)
        self._client = open_client(self._uri)

    def _create(self, name: str, tags: Mapping[str, str]) -> Any:
        all_tags = Process.me().tags() | dict(tags)  # to end runs of dead processes
        return self._client.create_run(self._experiment, run_name=name, tags=all_tags)

    def _end(self, run: Any, status: str) -> None:
        if run is not None:
            with self._lock, self._reported("warn"):
                self._client.set_terminated(run.info.run_id, status)

    @contextmanager
    def _reported(self, severity: str) -> Iterator[None]:
        """Turn a failure of the tracking server into a clear error or a warning."""
        try:
            yield
        except faults() as error:
            message = (
                f"{fault_in_words(error, self._uri)}\nTo run without tracking, set enabled: false "
                "or when_unreachable: warn under tracking in "
                f"{configuration_folder(self._root)}/<env>/mlops.yml."
            )
            if severity == "error":
                raise OperationError(message) from error
            logger.warning(message)


def tracking_of(root: Path, env: str) -> Tracking:
    """Return the tracking of an environment's jobs, as set by ``tracking`` in ``mlops.yml``.

    Raises
    ------
    OperationError
        If a key or a value in that file is invalid.
    """
    if not has_configuration(root / configuration_folder(root), "mlops"):
        return NoTracking()
    config = read_mlops(root, env)
    return MlflowJob(config, root, env) if config.tracking.enabled else NoTracking()
