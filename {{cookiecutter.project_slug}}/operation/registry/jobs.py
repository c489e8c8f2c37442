"""What a job on Azure ML has made of a model, read as that of a run here."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from operation.azureml.cloud.job import COMPLETED, CloudJob, read_job
from operation.azureml.cloud.outputs import fetch_output
from operation.azureml.utils import workspace
from operation.errors import OperationError
from operation.registry.registration import LastRun, read_last_run


def read_job_run(
    env: str, name: str, root: Path, target: Path, say: Callable[[str], None]
) -> LastRun:
    """Bring model, verdict and numbers of a job into a folder, and read them.

    Parameters
    ----------
    target
        What is brought has to stay there until the model is registered.

    Raises
    ------
    OperationError
        If there is no such job, it is of another environment, it has not ended well, or it has no
        such outputs.
    RefusedError
        If the gate has judged another model than the one that the job has made.
    """
    client = workspace(env, root)
    job = read_job(client, name)
    _refuse_what_has_no_model(job, env)

    def bring(ports: Sequence[str]) -> Mapping[str, Path]:
        say(f"fetching {', '.join(ports)} of the job {name}")
        folders = {port: fetch_output(client, job, port, target, "registered") for port in ports}
        return {port: _content(folder) for port, folder in folders.items()}

    last = read_last_run(root, env, bring=bring)
    say("the gate of the job has decided:")
    for rule in last.rules:
        say(f"  {rule}")
    return last


def _refuse_what_has_no_model(job: CloudJob, env: str) -> None:
    if job.tags.get("env", env) != env:
        raise OperationError(
            f"The job {job.name} was sent with --env {job.tags['env']}: give that."
        )
    if not job.ended:
        raise OperationError(
            f"The job {job.name} is {job.status}. Wait for it: "
            f"python -m operation.execution submit --env {env} --job {job.name}"
        )
    if job.status != COMPLETED:
        raise OperationError(
            f"The job {job.name} is {job.status}: there is no model to register. See why: "
            f"python -m operation.execution submit --env {env} --job {job.name}"
        )


def _content(folder: Path) -> Path:
    """Return the file of an output that is one file; a model is a folder of several."""
    found = list(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].is_file() else folder
