"""What a job has made, by the names of its ports, whichever step has made it."""

from pathlib import Path
from typing import TYPE_CHECKING

from operation.azureml.cloud.downloads import download_output
from operation.azureml.cloud.job import COMPLETED, CloudJob
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


def fetch_output(client: "MLClient", job: CloudJob, port: str, target: Path, why: str) -> Path:
    """Bring an output of a job into ``<target>/<port>``, and return that folder.

    Parameters
    ----------
    why
        What the output is good for: completes the advice to list it in ``azureml.yml``.

    Raises
    ------
    OperationError
        If no step has it, or the step has not ended well, or it was deleted.
    """
    steps = job.definition["jobs"].items()
    maker = next((name for name, step in steps if port in step.get("outputs", {})), None)
    if maker is None:
        raise OperationError(
            f"The job {job.name} has no output {port}: list it under outputs in azureml.yml, so "
            f"that later jobs can be {why}."
        )
    if maker not in job.steps or job.steps[maker].status != COMPLETED:
        raise OperationError(f"The job {job.name} is {job.status}: step {maker} made no {port}.")
    if not download_output(client, job.steps[maker].run, port, target):
        raise OperationError(f"The {port} of job {job.name} is not in the workspace any more.")
    return target / port
