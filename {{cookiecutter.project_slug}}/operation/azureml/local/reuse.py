"""Reuse of a step that would make what it has made before, as Azure ML reuses steps."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from operation.azureml.local.job_step import Step
from operation.azureml.snapshot import content_digest
from operation.errors import OperationError

_RECORD = "succeeded.json"


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Keep a second run out of a folder, as long as this one uses it.

    Raises
    ------
    OperationError
        If another run uses it.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # not on Windows
        yield
        return
    with (work / ".lock").open("w", encoding="utf-8") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise OperationError(f"Another run is at work in {work}: wait for it.") from error
        yield


def cause_of(
    step: Step, code: str, values: Mapping[str, str], data: Mapping[str, Path]
) -> dict[str, str]:
    """Return digests of all that the result of a step depends on.

    Parameters
    ----------
    code
        The digest of its code.
    values, data
        What its inputs are given.
    """
    causes = {
        "code": code,
        "command": step.command,
        "environment": step.environment,
        "environment variables": dict(step.variables),
        "parameters": dict(values),
        "data": {port: content_digest(path) for port, path in data.items()},
        "outputs": dict(step.outputs),
        "distribution": [dict(step.distribution), step.instances],
    }
    return {name: _digest(cause) for name, cause in causes.items()}


def why_run(folder: Path, cause: Mapping[str, str], outputs: Mapping[str, Path]) -> str | None:
    """Say why a step has to run again; None if it would make what lies in its folder."""
    record = _read(folder)
    if record is None:
        return "it has no result yet"
    changed = [name for name in cause if record["cause"].get(name) != cause[name]]
    if changed:
        return f"its {' and '.join(changed)} changed"
    if _contents(outputs) != record["made"]:
        return "what it had made was changed since"
    return None


def has_succeeded(folder: Path) -> bool:
    """Say whether what lies in the folder of a step is whole."""
    return _read(folder) is not None


def forget(folder: Path) -> None:
    """Remove all that an earlier try has left; the record first, so that nobody trusts the rest."""
    (folder / _RECORD).unlink(missing_ok=True)
    if folder.is_dir():
        shutil.rmtree(folder)


def remember(folder: Path, cause: Mapping[str, str], outputs: Mapping[str, Path]) -> None:
    """Record that a step has succeeded."""
    record = {"cause": cause, "made": _contents(outputs)}
    partial = folder / f"{_RECORD}.part"
    partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
    partial.replace(folder / _RECORD)


def _digest(cause: Any) -> str:
    return hashlib.sha256(json.dumps(cause, sort_keys=True, default=str).encode()).hexdigest()


def _contents(outputs: Mapping[str, Path]) -> dict[str, str]:
    return {port: content_digest(path) for port, path in outputs.items() if path.exists()}


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
