"""What a workspace knows about a job that it ran: the same as a tracking server about a run."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from operation.azureml.cloud.downloads import download_output
from operation.azureml.cloud.job import COMPLETED, CloudJob, read_job
from operation.azureml.reproduction.run import RecordedRun, data_in, parameters_in
from operation.azureml.snapshot import content_digest
from operation.errors import OperationError

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
    steps = job.definition["jobs"].items()
    maker = next((name for name, step in steps if scores in step.get("outputs", {})), None)
    if maker is None:
        raise OperationError(
            f"The job {job.name} has no output {scores}: list it under outputs in azureml.yml, so "
            "that later jobs can be compared."
        )
    if maker not in job.steps or job.steps[maker].status != COMPLETED:
        raise OperationError(f"The job {job.name} is {job.status}: step {maker} made no {scores}.")
    with TemporaryDirectory() as folder:
        if not download_output(client, job.steps[maker].run, scores, Path(folder)):
            raise OperationError(
                f"The {scores} of job {job.name} are not in the workspace any more."
            )
        (made,) = (Path(folder) / scores).iterdir()
        return content_digest(made)
