"""An MLflow run: one that we open and end, or the run of the cloud job that we are in.

A job's run is only written to. The platform sets its name and status and ends it, so it never
becomes MLflow's active run, which MLflow itself would end when the process ends.

An orchestrator without MLflow, such as Airflow, sets ``KEDRO_MLOPS_JOB`` to the same value for all
steps of a job: then each step has its own run below one run of the job.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kedro_azure_mlops.hooks.databricks import is_databricks, log_long_values, shortened
from kedro_azure_mlops.hooks.server import database_of, experiment_id
from kedro_azure_mlops.processes import Process
from kedro_azure_mlops.registry.facts import allowed_names
from kedro_azure_mlops.registry.versions import is_unsupported, open_client
from kedro_azure_mlops.safety import redact, redacted

logger = logging.getLogger(__name__)

PARAMETERS = "parameters.yml"
ATTEMPT = "kedro.attempt"
JOB = "KEDRO_MLOPS_JOB"  # the variable that all steps of one orchestrator run share
_JOB = "kedro.job"  # tag of the job's run: the value of that variable
_PARENT = "mlflow.parentRunId"
_INHERITED = ("git.", "data.")


class TrackedRun:
    """An open run on the tracking server.

    Parameters
    ----------
    adopted
        Whether it belongs to a job, so that the platform ends it.
    """

    def __init__(self, run: Any, *, adopted: bool) -> None:
        self.id = run.info.run_id
        self.adopted = adopted
        self._job = run.data.tags.get(_PARENT)
        self.client = open_client()
        self._has_limits = is_databricks(self.client.tracking_uri)
        self._data = run.data
        self._uri = run.info.artifact_uri
        self._attempt = int(run.data.tags.get(ATTEMPT, 0)) + 1 if adopted else 1

    @property
    def is_step(self) -> bool:
        """Return whether it is a step of a job, which reads results of the job's other steps."""
        return self.adopted or self._job is not None

    def is_of_same_job(self, run: str) -> bool:
        """Return whether another run is a step of the same job."""
        from mlflow import MlflowException

        with suppress(MlflowException):  # it was deleted
            return bool(self._job) and self.client.get_run(run).data.tags.get(_PARENT) == self._job
        return False

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same name."""
        from mlflow.entities import RunTag

        attempt = {ATTEMPT: str(self._attempt)} if self.adopted else {}
        found = redacted(attempt | dict(tags))
        if self._has_limits:
            log_long_values(self.client, self.id, found, {})
        self.client.log_batch(self.id, tags=[RunTag(*tag) for tag in found.items()])

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log numbers."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        allowed = allowed_names(metrics)
        found = [Metric(name, value, now, step=0) for name, value in allowed.items()]
        self.client.log_batch(self.id, metrics=found)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters; MLflow keeps those that an earlier attempt of this step has logged.

        Values that their names mark as secret, such as ``warehouse.password``, are redacted.
        """
        from mlflow.entities import Param

        # the text of a list is redacted too: a secret may be spread over two of its members
        text = {name: redact(str(redacted(one, name))) for name, one in parameters.items()}
        text = allowed_names(text)
        if self._has_limits:
            text = {name: shortened(one) for name, one in text.items()}
        logged = self._data.params
        if other := [name for name in text if logged.get(name, text[name]) != text[name]]:
            logger.warning(
                "Run %s keeps different values of %s, logged by an earlier attempt of this step. "
                "The values of this attempt are in the run's file %s.",
                *(self.id, ", ".join(other), self._attempt_path(PARAMETERS)),
            )
        new = {name: one for name, one in text.items() if name not in logged}
        if self._has_limits:
            log_long_values(self.client, self.id, {}, new)
        self.client.log_batch(self.id, params=[Param(*one) for one in new.items()])

    def log_input(self, dataset_input: Any) -> None:
        """Log the data that the run reads, on servers that support it."""
        from mlflow import MlflowException

        try:
            self.client.log_inputs(self.id, [dataset_input])
        except MlflowException as error:
            if not is_unsupported(error):
                raise

    def log_text(self, text: str, name: str) -> None:
        """Store text as a file of the run."""
        with self._storing(name):
            self.client.log_text(self.id, redact(text), self._attempt_path(name))

    def log_file(self, path: str) -> None:
        """Store a file with the run."""
        with self._storing(Path(path).name):
            self.client.log_artifact(self.id, path, self._attempt_path("") or None)

    def log_folder(self, path: Path, name: str) -> str:
        """Store a folder with the run and return its address."""
        with self._storing(name):
            self.client.log_artifacts(self.id, str(path), self._attempt_path(name))
        return f"{self._uri}/{self._attempt_path(name)}"

    def inherited_tags(self) -> dict[str, str]:
        """Return the tags on code and data that the submitter set on the job or its parent."""
        from mlflow import MlflowException

        if not self.adopted:
            return {}
        tags = self._data.tags
        if parent := tags.get(_PARENT):
            try:
                tags = tags | self.client.get_run(parent).data.tags
            except MlflowException as error:
                logger.warning("Run %s lacks the tags of its parent run: %s", self.id, error)
        return {name: value for name, value in tags.items() if name.startswith(_INHERITED)}

    def end(self, status: str) -> None:
        """End the run if it is ours, and update the status of its job."""
        import mlflow

        if self.adopted:
            return
        mlflow.end_run(status)
        if self._job is not None:
            _update_job_status(self.client, self._job)

    @contextmanager
    def _storing(self, name: str) -> Iterator[None]:
        """Raise any storage fault as MlflowException, and remove partial copies on this machine.

        Azure ML's plugin raises plain exceptions.
        """
        from mlflow import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

        try:
            yield
        except Exception as error:
            with suppress(Exception):
                files = get_artifact_repository(self._uri)
                if isinstance(files, LocalArtifactRepository):
                    files.delete_artifacts(self._attempt_path(name))
            raise MlflowException(str(error)) from error

    def _attempt_path(self, name: str) -> str:
        """Return a path of this attempt: Azure ML refuses to overwrite a file."""
        return name if self._attempt == 1 else f"attempt_{self._attempt}/{name}".rstrip("/")


def open_run(experiment: str, name: str, folder: str | None = None) -> TrackedRun:
    """Adopt the run of the job we are in, or open one of our own.

    Parameters
    ----------
    folder
        As for ``placed_experiment``.
    """
    import mlflow  # slow to import: only commands that run a pipeline should

    # it would print a traceback for each database fault, which we report ourselves
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if job := os.environ.get("MLFLOW_RUN_ID"):
        return TrackedRun(mlflow.MlflowClient().get_run(job), adopted=True)
    client = mlflow.MlflowClient()
    found = experiment_id(client, experiment, folder)
    end_runs_of_dead_processes(client, found)
    mlflow.set_experiment(experiment_id=found)
    tags = Process.me().tags()
    if step_of := os.environ.get(JOB):
        tags[_PARENT] = _run_of_job(client, found, step_of)
    with _without_ipython():
        return TrackedRun(mlflow.start_run(run_name=name, tags=tags), adopted=False)


@contextmanager
def _without_ipython() -> Iterator[None]:
    """Keep MLflow from importing IPython in a process that is not a notebook.

    MLflow would import it to find out, which takes half a second.
    """
    if is_hidden := "IPython" not in sys.modules:
        sys.modules["IPython"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if is_hidden:
            del sys.modules["IPython"]


def end_runs_of_dead_processes(client: Any, experiment: str) -> None:
    """Mark runs as KILLED if their process on this machine died before it could end them.

    Runs of other machines and containers, and those without tags on their process, are left alone.
    """
    experiments = [experiment]
    if database_of(client.tracking_uri):  # a job has an experiment of its own
        experiments = [one.experiment_id for one in client.search_experiments()]
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING'"):
        process = Process.read(run.data.tags)
        if process.is_gone():
            client.set_terminated(run.info.run_id, "KILLED")
            logger.warning(
                "Run %s is marked KILLED: its process %s has ended without reporting it",
                *(run.info.run_id, process.pid),
            )


def _run_of_job(client: Any, experiment: str, job: str) -> str:
    """Set the run of an orchestrator's job to RUNNING and return it; the first step creates it."""
    name = quote(job, safe=" :+/")  # a search may not contain quotation marks

    def matching_runs() -> list[Any]:
        matches = client.search_runs([experiment], f"tags.`{_JOB}` = '{name}'")
        return sorted(matches, key=lambda run: (run.info.start_time, run.info.run_id))

    runs = matching_runs()
    if not runs:
        own = client.create_run(experiment, run_name=job, tags={_JOB: name}).info.run_id
        runs = matching_runs()
        if runs[0].info.run_id != own:  # another step started at the same moment
            client.delete_run(own)
    run = str(runs[0].info.run_id)
    client.update_run(run, status="RUNNING")
    return run


def _update_job_status(client: Any, job: str) -> None:
    """Set the status of a job's run from its steps, unless one of them is still running.

    The last attempt of a repeated step counts. No step can tell when the job is over: between
    steps, the run has the status of the steps so far.
    """
    experiment = client.get_run(job).info.experiment_id
    steps = client.search_runs([experiment], f"tags.`{_PARENT}` = '{job}'")
    last = {run.info.run_name: run.info.status for run in reversed(steps)}  # newest first
    bad = [status for status in ("FAILED", "KILLED") if status in last.values()]
    if "RUNNING" not in last.values():
        client.set_terminated(job, bad[0] if bad else "FINISHED")
