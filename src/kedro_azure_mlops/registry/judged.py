"""Tie a verdict to its model: the gate's decision names the digest, and counts for no other.

A file beside the model folder, which each run writes when it ends, names the model that the metrics
were measured on. A project without a decision node is judged by these.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kedro_azure_mlops.contract import UnusableModelError, digest, refuse_changed_files
from kedro_azure_mlops.errors import OperationError, RefusedError

_RECORD = ".measured.json"  # after the name of the model folder


def refuse_other_model(folder: Path, verdict: Mapping[str, Any]) -> None:
    """Refuse a model folder that is not the one that a verdict is about.

    Raises
    ------
    OperationError
        If there is no model, or the verdict does not name its model.
    RefusedError
        If it is another one, naming the files that were changed or the two digests.
    """
    if not (folder / "MLmodel").is_file():
        raise OperationError(
            f"{folder} holds no model: no run has made one here. Type: kedro run. One of its nodes "
            "must return the entry that mlops.yml names as tracking.model"
        )
    judged = verdict.get("digest")
    if not judged:
        raise OperationError(
            "The gate has judged an unknown model: its decision does not name the model's digest. "
            "The plugin's hooks add that at the end of a run. Run the nodes that measure and judge "
            "the model again: kedro run"
        )
    there = digest(folder)
    if there == judged:
        return
    try:
        refuse_changed_files(folder)
        why = f"its digest is {there[:12]}, and {judged[:12]} was judged"
    except UnusableModelError as error:
        why = str(error)
    raise RefusedError(
        f"The model in {folder.name} is not the one that the gate has judged: {why}. No verdict on "
        "it is known and nothing was registered. Let the gate judge it: kedro run"
    )


def identity(folder: Path, measured: Path | None) -> dict[str, str]:
    """Return the ``digest`` of a model that a verdict is about.

    Where it is a refit of the model that was measured, ``judged`` is the digest of that one.
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
    """Return the digest of the model that each entry was made with, where it is known."""
    try:
        found = json.loads(folder.with_name(f"{folder.name}{_RECORD}").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # then the model of no entry is known
        return {}
    return found if isinstance(found, dict) else {}


def measured_digest(there: str, recorded: Mapping[str, str], entries: Iterable[str]) -> str | None:
    """Return the digest of the model that entries were made with; None if it is not known.

    Parameters
    ----------
    there
        The digest that is expected; if an entry has another one, that is returned.
    recorded
        As from ``read_measured``.
    """
    return next((recorded.get(name) for name in entries if recorded.get(name) != there), there)


def refuse_stale_metrics(
    verdict: Mapping[str, Any], recorded: Mapping[str, str], entries: Iterable[str]
) -> None:
    """Refuse metrics of a model other than the one that a verdict is about.

    Raises
    ------
    RefusedError
        Naming the entries.
    """
    judged = verdict.get("digest")
    if stale := sorted(name for name in entries if recorded.get(name, judged) != judged):
        raise RefusedError(
            f"The gate has judged the model {str(judged)[:12]}, but the last complete run that "
            f"made {', '.join(stale)} had another one: a later run was interrupted. Nothing was "
            "registered. Type: kedro run"
        )
