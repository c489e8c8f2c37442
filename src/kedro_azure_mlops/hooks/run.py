"""An MLflow run: one that we open and end, or the own run of the cloud job that we are in.

A job's run is only written to. Its name, its status and its end are the platform's, so it never
becomes MLflow's active run, which MLflow itself would end when the process ends.

An orchestrator that knows nothing of MLflow, such as Airflow, names what its steps have in common
in ``KEDRO_MLOPS_JOB``: then each step has a run of its own below one run of the job.
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
from kedro_azure_mlops.registry.versions import is_unsupported, open_client
from kedro_azure_mlops.safety import redact, redacted

logger = logging.getLogger(__name__)

PARAMETERS = "parameters.yml"
ATTEMPT = "kedro.attempt"
JOB = "KEDRO_MLOPS_JOB"  # a variable: what all steps of one run of an orchestrator are given
_JOB = "kedro.job"  # the same, as the tag of the job's run
_PARENT = "mlflow.parentRunId"
_INHERITED = ("git.", "data.")


class TrackedRun:
    """A run on the tracking server that is being filled.

    Parameters
    ----------
    adopted
        Whether it is a job's own, which the platform ends.
    """

    def __init__(self, run: Any, *, adopted: bool) -> None:
        self.id = run.info.run_id
        self.adopted = adopted
        self._job = run.data.tags.get(_PARENT)
        self.client = open_client()
        self._has_limits = is_databricks(self.client.tracking_uri)
        self._there = run.data
        self._uri = run.info.artifact_uri
        self._attempt = int(run.data.tags.get(ATTEMPT, 0)) + 1 if adopted else 1

    @property
    def is_step(self) -> bool:
        """Whether it is a step of a job, whose other steps have made what this one reads."""
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
        found = [Metric(name, value, now, step=0) for name, value in metrics.items()]
        self.client.log_batch(self.id, metrics=found)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters; MLflow keeps those that an earlier attempt of this step has logged.

        What the name of one, ``warehouse.password``, says is a secret is not.
        """
        from mlflow.entities import Param

        # of a list the text is redacted too: a secret may be in two of its members
        text = {name: redact(str(redacted(one, name))) for name, one in parameters.items()}
        if self._has_limits:
            text = {name: shortened(one) for name, one in text.items()}
        there = self._there.params
        if other := [name for name in text if there.get(name, text[name]) != text[name]]:
            logger.warning(
                "Run %s keeps other values of %s, which an earlier attempt of this step has "
                "logged. Those of this attempt are in its %s.",
                *(self.id, ", ".join(other), self._place(PARAMETERS)),
            )
        new = {name: one for name, one in text.items() if name not in there}
        if self._has_limits:
            log_long_values(self.client, self.id, {}, new)
        self.client.log_batch(self.id, params=[Param(*one) for one in new.items()])

    def log_input(self, dataset_input: Any) -> None:
        """Show the data beside the run, on servers that can."""
        from mlflow import MlflowException

        try:
            self.client.log_inputs(self.id, [dataset_input])
        except MlflowException as error:
            if not is_unsupported(error):
                raise

    def log_text(self, text: str, name: str) -> None:
        """Store text as a file of the run."""
        with self._storing(name):
            self.client.log_text(self.id, redact(text), self._place(name))

    def log_file(self, path: str) -> None:
        """Store a file with the run."""
        with self._storing(Path(path).name):
            self.client.log_artifact(self.id, path, self._place("") or None)

    def log_folder(self, path: Path, name: str) -> str:
        """Store a folder with the run and return its address."""
        with self._storing(name):
            self.client.log_artifacts(self.id, str(path), self._place(name))
        return f"{self._uri}/{self._place(name)}"

    def inherited_tags(self) -> dict[str, str]:
        """Return what the submitter has written about code and data on a job or on its parent."""
        from mlflow import MlflowException

        if not self.adopted:
            return {}
        tags = self._there.tags
        if parent := tags.get(_PARENT):
            try:
                tags = tags | self.client.get_run(parent).data.tags
            except MlflowException as error:
                logger.warning("Run %s lacks what its parent run knows: %s", self.id, error)
        return {name: value for name, value in tags.items() if name.startswith(_INHERITED)}

    def end(self, status: str) -> None:
        """End the run, if it is ours, and bring the status of its job up to date."""
        import mlflow

        if self.adopted:
            return
        mlflow.end_run(status)
        if self._job is not None:
            _settle_job(self.client, self._job)

    @contextmanager
    def _storing(self, name: str) -> Iterator[None]:
        """Give faults of storage one name, and leave nothing half copied on this machine.

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
                    files.delete_artifacts(self._place(name))
            raise MlflowException(str(error)) from error

    def _place(self, name: str) -> str:
        """Keep the files of each attempt: Azure ML refuses to write one again."""
        return name if self._attempt == 1 else f"attempt_{self._attempt}/{name}".rstrip("/")


def open_run(experiment: str, name: str, folder: str | None = None) -> TrackedRun:
    """Adopt the run of the job we are in, or open one of our own.

    Parameters
    ----------
    folder
        As of ``placed_experiment``.
    """
    import mlflow  # over a second: paid only by commands that run a pipeline

    # it would print a traceback of each fault of a database, which we put in words
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
    with _in_no_notebook():
        return TrackedRun(mlflow.start_run(run_name=name, tags=tags), adopted=False)


@contextmanager
def _in_no_notebook() -> Iterator[None]:
    """Spare a process that has not imported IPython, so is no notebook, that MLflow does.

    It asks IPython whether this is one, which takes half a second where it is installed.
    """
    if is_hidden := "IPython" not in sys.modules:
        sys.modules["IPython"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if is_hidden:
            del sys.modules["IPython"]


def end_runs_of_dead_processes(client: Any, experiment: str) -> None:
    """Mark runs KILLED whose process on this machine was killed before it could end them.

    Runs of other machines and containers, and those that say nothing about their process, stay.
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
    """Return the run of an orchestrator's job, which its first step makes, as running again."""
    name = quote(job, safe=" :+/")  # what is searched for may hold no quotation mark

    def found() -> list[Any]:
        made = client.search_runs([experiment], f"tags.`{_JOB}` = '{name}'")
        return sorted(made, key=lambda run: (run.info.start_time, run.info.run_id))

    runs = found()
    if not runs:
        own = client.create_run(experiment, run_name=job, tags={_JOB: name}).info.run_id
        runs = found()
        if runs[0].info.run_id != own:  # another step has started at the same moment
            client.delete_run(own)
    run = str(runs[0].info.run_id)
    client.update_run(run, status="RUNNING")
    return run


def _settle_job(client: Any, job: str) -> None:
    """End the run of a job by what became of its steps, unless one of them is still running.

    Of a step that was tried again the last attempt counts. A job is not over when no step runs, but
    none reports when it is: until the next step starts, it has the status of those before.
    """
    experiment = client.get_run(job).info.experiment_id
    steps = client.search_runs([experiment], f"tags.`{_PARENT}` = '{job}'")
    last = {run.info.run_name: run.info.status for run in reversed(steps)}  # newest first
    bad = [status for status in ("FAILED", "KILLED") if status in last.values()]
    if "RUNNING" not in last.values():
        client.set_terminated(job, bad[0] if bad else "FINISHED")
