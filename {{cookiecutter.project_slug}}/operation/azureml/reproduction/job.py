"""What a workspace knows about a job that it ran: the same as a tracking server about a run."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from operation.azureml.cloud.job import CloudJob, read_job
from operation.azureml.cloud.outputs import fetch_output
from operation.azureml.reproduction.run import RecordedRun, data_in, parameters_in
from operation.azureml.snapshot import content_digest

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


def find_job(client: "MLClient", name: str, env: str, scores: str) -> RecordedRun:
    """Read a job: its tags, its inputs, and the digest of the scores that it made.

    Parameters
    ----------
    scores
        The output that is compared.

    Raises
    ------
    OperationError
        If there is no such job, or it has not made scores.
    """
    job = read_job(client, name)
    return RecordedRun(
        id=job.name,
        env=job.tags.get("env", env),
        scores=_digest(client, job, scores),
        commit=job.tags.get("git.commit"),
        dirty=job.tags.get("git.dirty") == "true",
        pipelines=("__default__",),
        filters="",
        parameters=parameters_in(_texts(job.tags, job.parameters)),
        parameters_file=None,
        data=data_in(job.tags),
        in_steps=True,
    )


def _texts(tags: Mapping[str, str], parameters: Mapping[str, str]) -> list[str]:
    """Give what the job was really sent with the last word: a schedule may have changed it."""
    return [tags.get("params", ""), *(f"{name}={value}" for name, value in parameters.items())]


def _digest(client: "MLClient", job: CloudJob, scores: str) -> str:
    """Compute the digest that the tracking hook gives the same file."""
    with TemporaryDirectory() as folder:
        (made,) = fetch_output(client, job, scores, Path(folder), "compared").iterdir()
        return content_digest(made)
