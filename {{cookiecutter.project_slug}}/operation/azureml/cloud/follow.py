"""Follow a job until it has ended: its steps and their logs, why one failed, what they made."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from operation.azureml.cloud.downloads import download_output, read_log
from operation.azureml.cloud.job import (
    COMPLETED,
    ENDED,
    FAILED,
    CloudJob,
    CloudStep,
    read_job,
    steps_of,
)
from operation.azureml.utils import azure_errors
from operation.ci import disarmed

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_LOG = re.compile(r"user_logs/std_log.*\.txt")
_LINES_OF_LOG = 15
_SECONDS_BETWEEN_LOOKS = 5.0
_PATIENCE = (5, 60)  # seconds to connect, and to be answered


@dataclass
class _Shown:
    """What of a step was shown already."""

    status: str = ""
    characters: int = 0


def follow(client: "MLClient", name: str, show: Callable[[str], None]) -> CloudJob:
    """Show how the steps of a job go and what they log, until it has ended; return how it ended.

    Azure's own ``jobs.stream`` shows of a pipeline that steps begin and end, not what they log.

    Raises
    ------
    OperationError
        If it cannot be followed any more.
    """
    shown: dict[str, _Shown] = {}
    while True:
        with azure_errors(f"following the job {name}, which goes on"):
            ended = _details(client, name).status in ENDED
            for step, state in steps_of(client, name).items():
                _show(client, step, state, shown.setdefault(step, _Shown()), show)
        if ended:
            return read_job(client, name)
        # the variable is Azure's own
        time.sleep(
            float(os.environ.get("AZUREML_RUN_POLLING_INTERVAL_MIN", _SECONDS_BETWEEN_LOOKS))
        )


def why_failed(client: "MLClient", step: CloudStep) -> str:
    """Return the error of a failed step and the end of its log.

    Raises
    ------
    OperationError
        If Azure refuses.
    """
    with azure_errors(f"reading the error of {step.run}"):
        error = _details(client, step.run).error
    said = disarmed(error.error.message or "") if error and error.error else ""
    if log := read_log(client, step.run):
        end = "\n".join(f"| {line}" for line in disarmed(log).splitlines()[-_LINES_OF_LOG:])
        return f"{next(iter(said.splitlines()), '')}\nThe end of its log:\n{end}".lstrip()
    return said or "Azure gives no reason and there is no log; see the Studio."


def download(client: "MLClient", job: CloudJob, target: Path) -> list[Path]:
    """Bring what the steps of a job made into ``<target>/<step>/<port>``, and their logs.

    Raises
    ------
    OperationError
        If Azure refuses.
    """
    target.mkdir(parents=True, exist_ok=True)
    found = []
    for name, step in job.steps.items():
        ports = job.definition["jobs"].get(name, {}).get("outputs", {})
        if step.status in {COMPLETED, FAILED}:
            (target / f"{name}.log").write_text(read_log(client, step.run), encoding="utf-8")
        for port in ports:
            if step.status == COMPLETED and download_output(client, step.run, port, target / name):
                found.append(target / name / port)
    return found


def _show(
    client: "MLClient", name: str, step: CloudStep, shown: _Shown, show: Callable[[str], None]
) -> None:
    if shown.status in ENDED:
        return
    if step.status != shown.status and step.status not in ENDED:
        show(f"{name}: {step.status}")
    text = _log(client, step)
    # a line that is being written is shown when it is whole
    whole = len(text) if step.status in ENDED else text.rfind("\n") + 1
    for line in text[shown.characters : whole].splitlines():
        show(f"{name} | {disarmed(line)}")
    if step.status in ENDED:
        show(f"{name}: {step.status}")
    shown.status, shown.characters = step.status, max(whole, shown.characters)


def _log(client: "MLClient", step: CloudStep) -> str:
    """Read a log as far as it is; one that cannot be read now is read at the next look."""
    logs = _details(client, step.run).log_files or {}
    names = sorted(name for name in logs if _LOG.fullmatch(name))
    if not names:
        return ""
    try:
        answer = requests.get(logs[names[0]], timeout=_PATIENCE)
        answer.raise_for_status()
    except requests.RequestException:
        return ""
    return answer.content.decode("utf-8", errors="replace")


def _details(client: "MLClient", run: str) -> Any:
    # Azure's client has it, but shows of it neither the error of a step nor its log.
    return client.jobs._runs_operations.get_run_details(run)
