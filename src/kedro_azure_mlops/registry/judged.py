"""Bind a verdict to one model: the gate's decision names its digest and applies to no other.

When a run ends, it records next to the model folder which model its metrics were measured on. In a
project without a decision node, the gate judges these metrics.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kedro_azure_mlops.contract import UnusableModelError, digest, refuse_changed_files
from kedro_azure_mlops.errors import OperationError, RefusedError

_RECORD = ".measured.json"  # after the name of the model folder


def refuse_other_model(folder: Path, verdict: Mapping[str, Any]) -> None:
    """Refuse a model folder other than the one that a verdict is about.

    Raises
    ------
    OperationError
        If there is no model, or the verdict does not name its model.
    RefusedError
        If it is another model, naming the changed files or the two digests.
    """
    if not (folder / "MLmodel").is_file():
        raise OperationError(
            f"{folder} holds no model: no run has made one here. Run: kedro run. One of its nodes "
            "must return the entry that mlops.yml names as tracking.model"
        )
    judged = verdict.get("digest")
    if not judged:
        raise OperationError(
            "The gate has judged an unknown model: its decision does not name the model's digest. "
            "The plugin's hooks add that at the end of a run. Run the nodes that measure and judge "
            "the model again: kedro run"
        )
    current = digest(folder)
    if current == judged:
        return
    try:
        refuse_changed_files(folder)
        why = f"its digest is {current[:12]}, and {judged[:12]} was judged"
    except UnusableModelError as error:
        why = str(error)
    raise RefusedError(
        f"The model in {folder.name} is not the one that the gate has judged: {why}. It has no "
        "verdict, and nothing was registered. Let the gate judge it: kedro run"
    )


def identity(folder: Path, measured: Path | None) -> dict[str, str]:
    """Return the ``digest`` of the model that a verdict is about.

    If it is a refit of the model that was measured, ``judged`` is the digest of the latter.
    """
    found = {"digest": digest(folder)}
    if (
        measured is not None
        and measured.is_dir()
        and (judged := digest(measured)) != found["digest"]
    ):
        found["judged"] = judged
    return found


def record_measured(folder: Path, outputs: Iterable[str]) -> None:
    """Record that a run made these entries with the model in a folder."""
    file = folder.with_name(f"{folder.name}{_RECORD}")
    found = read_measured(folder) | dict.fromkeys(outputs, digest(folder))
    new = file.with_name(f"{file.name}.new")
    new.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    new.replace(file)


def read_measured(folder: Path) -> dict[str, str]:
    """Return the digest of the model that each entry was made with, if it is known."""
    try:
        found = json.loads(folder.with_name(f"{folder.name}{_RECORD}").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # without a record, no model is known
        return {}
    return found if isinstance(found, dict) else {}


def measured_digest(
    expected: str, recorded: Mapping[str, str], entries: Iterable[str]
) -> str | None:
    """Return the digest of the model that entries were made with; None if it is not known.

    Parameters
    ----------
    expected
        The expected digest; if an entry has another one, that one is returned.
    recorded
        The result of ``read_measured``.
    """
    return next(
        (recorded.get(name) for name in entries if recorded.get(name) != expected), expected
    )


def refuse_stale_metrics(
    verdict: Mapping[str, Any], recorded: Mapping[str, str], entries: Iterable[str]
) -> None:
    """Refuse metrics of a model other than the one that a verdict is about.

    Raises
    ------
    RefusedError
        If there are any; the message names the entries.
    """
    judged = verdict.get("digest")
    if stale := sorted(name for name in entries if recorded.get(name, judged) != judged):
        raise RefusedError(
            f"The gate has judged the model {str(judged)[:12]}, but the last complete run that "
            f"made {', '.join(stale)} had another one: a later run was interrupted. Nothing was "
            "registered. Run: kedro run"
        )
