"""Follow a job until it has ended: its steps with their logs, failures and outputs."""

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from kedro_azure_mlops.azure.cloud_job import (
    COMPLETED,
    ENDED,
    FAILED,
    CloudJob,
    CloudStep,
    no_such_job,
    read_job,
    steps_of,
)
from kedro_azure_mlops.azure.downloads import download_output, read_log
from kedro_azure_mlops.azure.submission import cancel, location_for_ci, report_job, submit_job
from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.ci import (
    in_ci,
    shielded_from_interrupts,
    termination_as_interrupt,
    without_ci_commands,
)
from kedro_azure_mlops.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_LOG = re.compile(r"user_logs/std_log.*\.txt")
_LOG_LINES = 15
_POLLING_SECONDS = 5.0
_TIMEOUT = (5, 60)  # seconds to connect, and to read


@dataclass
class _Shown:
    """The part of a step's status and log that was already shown."""

    status: str = ""
    characters: int = 0


def run_job(
    env: str,
    parameters: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    *,
    download_to: Path | None = None,
    root: Path | None = None,
    show: Callable[[str], None] = print,
) -> CloudJob:
    """Submit the pipeline to Azure ML, follow the job, and return it when it has completed.

    Parameters
    ----------
    parameters, data, root
        As for ``submit_job``.
    download_to
        The folder for the outputs of each step, ``<download_to>/<step>/<output>``.
    show
        Called with each line about uploads, steps and logs.

    Raises
    ------
    RefusedError
        If the job fails or is cancelled; the message has the failed steps, their logs, and the
        command that repeats the first of them here.
    OperationError
        If the job cannot be submitted or followed.
    """
    sent = submit_job(env, parameters, data, root=root, say=show)
    return wait_for_job(env, sent.name, download_to=download_to, root=root, show=show)


def wait_for_job(
    env: str,
    name: str,
    *,
    download_to: Path | None = None,
    root: Path | None = None,
    show: Callable[[str], None] = print,
) -> CloudJob:
    """Follow a job until it has completed; if the CI run is cancelled meanwhile, cancel the job.

    Parameters and errors are those of ``run_job``.

    Raises
    ------
    RefusedError
        If the job fails or is cancelled.
    OperationError
        If it cannot be followed any more; the job keeps running.
    """
    client = workspace(env, root)
    location = location_for_ci(client)
    try:
        with termination_as_interrupt():
            job = follow(client, name, show)
    except KeyboardInterrupt:
        if in_ci():
            with shielded_from_interrupts():
                show(cancel(client, name))
        raise
    report_job(client, job.name, job.studio, location)
    if download_to:
        for path in download(client, job, download_to):
            show(f"  {path}")
    if job.status != COMPLETED:
        raise RefusedError(explain_failure(client, job, env))
    return job


def explain_failure(client: "MLClient", job: CloudJob, env: str) -> str:
    """Return why a job did not complete: its failed steps, their logs, and how to repeat one here.

    Raises
    ------
    OperationError
        If Azure refuses.
    """
    lines = [f"the job {job.name} is {job.status}, see {job.studio}"]
    for name in job.failed:
        lines.append(f"\nStep {name} failed: {why_failed(client, job.steps[name])}\n")
    if job.failed:
        lines.append(f"To repeat step {job.failed[0]} here, with the same inputs, run:")
        lines.append(f"  kedro mlops local --env {env} --job {job.name}")
    return "\n".join(lines)


def follow(client: "MLClient", name: str, show: Callable[[str], None]) -> CloudJob:
    """Show the status and logs of a job's steps until it has ended; return the job.

    (``jobs.stream`` of azure-ai-ml shows when steps begin and end, not what they log.)

    Raises
    ------
    OperationError
        If it cannot be followed any more.
    """
    shown: dict[str, _Shown] = {}
    while True:
        with azure_errors(f"following the job {name}, which keeps running"):
            ended = _status(client, name) in ENDED
            for step, state in steps_of(client, name).items():
                _show(client, step, state, shown.setdefault(step, _Shown()), show)
        if ended:
            return read_job(client, name)
        # Azure's client reads the same variable
        time.sleep(float(os.environ.get("AZUREML_RUN_POLLING_INTERVAL_MIN", _POLLING_SECONDS)))


def why_failed(client: "MLClient", step: CloudStep) -> str:
    """Return the error of a failed step and the end of its log.

    Raises
    ------
    OperationError
        If Azure refuses.
    """
    with azure_errors(f"reading the error of {step.run}"):
        error = _details(client, step.run).error
    message = without_ci_commands(error.error.message or "") if error and error.error else ""
    if log := read_log(client, step.run):
        end = "\n".join(f"| {line}" for line in without_ci_commands(log).splitlines()[-_LOG_LINES:])
        return f"{next(iter(message.splitlines()), '')}\nThe end of its log:\n{end}".lstrip()
    return message or "Azure gives no reason and there is no log; see the Studio."


def download(client: "MLClient", job: CloudJob, target: Path) -> list[Path]:
    """Download the outputs of a job into ``<target>/<step>/<port>``, and its logs.

    Raises
    ------
    OperationError
        If Azure refuses.
    """
    target.mkdir(parents=True, exist_ok=True)
    downloaded = []
    for name, step in job.steps.items():
        ports = job.definition["jobs"].get(name, {}).get("outputs", {})
        if step.status in {COMPLETED, FAILED}:
            (target / f"{name}.log").write_text(read_log(client, step.run), encoding="utf-8")
        for port in ports:
            if step.status == COMPLETED and download_output(client, step.run, port, target / name):
                downloaded.append(target / name / port)
    return downloaded


def _show(
    client: "MLClient", name: str, step: CloudStep, shown: _Shown, show: Callable[[str], None]
) -> None:
    if shown.status in ENDED:
        return
    if step.status != shown.status and step.status not in ENDED:
        show(f"{name}: {step.status}")
    text = _log(client, step)
    # a partial line is shown once it is complete
    end = len(text) if step.status in ENDED else text.rfind("\n") + 1
    for line in text[shown.characters : end].splitlines():
        show(f"{name} | {without_ci_commands(line)}")
    if step.status in ENDED:
        show(f"{name}: {step.status}")
    shown.status, shown.characters = step.status, max(end, shown.characters)


def _log(client: "MLClient", step: CloudStep) -> str:
    """Return the log so far; empty if it cannot be read, since the next poll tries again."""
    logs = _details(client, step.run).log_files or {}
    names = sorted(name for name in logs if _LOG.fullmatch(name))
    if not names:
        return ""
    try:
        response = requests.get(logs[names[0]], timeout=_TIMEOUT)
        response.raise_for_status()
    except requests.RequestException:
        return ""
    return response.content.decode("utf-8", errors="replace")


def _status(client: "MLClient", name: str) -> str:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return str(_details(client, name).status)
    except ResourceNotFoundError as error:
        raise OperationError(
            f"looking for the job {name}: {no_such_job(client, name)[404]}."
        ) from error


def _details(client: "MLClient", run: str) -> Any:
    # the public methods of the client expose neither the error of a step nor its log
    return client.jobs._runs_operations.get_run_details(run)
