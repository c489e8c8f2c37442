"""What a model was trained on, in a file of its folder: the reference of all monitoring.

``profile.json`` has at most 200 KB whatever the number of keys: with more keys it holds a coarser
course of the week and fewer bins, then only the keys with most rows by themselves and all others
together, and it says so. It holds no time of writing and rounded numbers, so the same rows give the
same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.contract import Schema
from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MOST_BYTES", "PROFILE", "Profile", "read_profile", "reference_profile"]

PROFILE = "profile.json"
"""The file in a model folder."""
MOST_BYTES = 200_000
VERSION = 1
DIGEST = 6  # characters, of the name of a key


@dataclass(frozen=True)
class Profile:
    """A reference profile as ``compare_rows`` reads it.

    ``columns`` names what is profiled, ``keys`` the series that are profiled by themselves,
    ``window`` is the length of the windows, ``by`` and ``time`` are the columns of keys and times
    (None where there are none), ``rows``, ``start`` and ``end`` describe the training rows.
    ``limits`` says how the limits were found (``how``: calibrated or fixed) and why so. ``content``
    is the whole file.
    """

    content: dict[str, Any]
    columns: list[str]
    keys: list[str]
    limits: dict[str, Any]
    window: pd.Timedelta
    by: str | None
    time: str | None
    rows: int
    start: pd.Timestamp
    end: pd.Timestamp

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Profile:
        """Read what ``reference_profile`` returned.

        Raises
        ------
        OperationError
            If it is something else, or of another version.
        """
        import pandas as pd

        try:
            if content["version"] != VERSION:
                raise ValueError(f"it has version {content['version']!r}, not {VERSION}")
            return cls(
                content=content,
                columns=list(content["columns"]),
                keys=[one["key"] for one in content["series"] if one["key"] is not None],
                limits=dict(content["limits"]),
                window=pd.Timedelta(content["window"]),
                by=content["by"],
                time=content["time"],
                rows=int(content["rows"]),
                start=pd.Timestamp(content["start"]),
                end=pd.Timestamp(content["end"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise OperationError(
                f"The reference profile cannot be read ({error!r}): it was written by another "
                "version of kedro-azure-mlops. Train the model again."
            ) from error

    def knows(self, key: str) -> bool:
        """Return whether the training had rows of a key."""
        return key in self._known or key_digest(key) in self._hidden

    @cached_property
    def _known(self) -> set[str]:
        return {*self.keys, *self.content["other_keys"]}

    @cached_property
    def _hidden(self) -> set[str]:
        return set(self.content["other_key_digests"])


def read_profile(folder: Path) -> Profile:
    """Read the profile of a model folder.

    Raises
    ------
    OperationError
        If there is none, or it cannot be read.
    """
    content = read_content(folder)
    if content is None:
        raise OperationError(
            f"{folder} has no {PROFILE}: nothing says what the model was trained on, so nothing "
            "can be compared with it. Train the model again: kedro run."
        )
    return Profile.from_dict(content)


def reference_profile(
    rows: pd.DataFrame, schema: Schema, *, window: str = "24h", seed: int = 0
) -> dict[str, Any]:
    """Describe training rows, and calibrate from them what ordinary windows look like.

    A column of numbers is compared after its usual course of day and week, of each key, is taken
    off: a night is then no drift, and a shift shows in a few hours. How limits are found says
    ``limits.py``. Times are the ``order`` of the schema's history, else its only input of times,
    else the index of the rows; without any, and with fewer than 14 whole windows, limits are fixed.

    Parameters
    ----------
    rows
        The columns of ``schema.inputs`` and, where known, of ``schema.outputs``; any order.
    window
        How long a time one comparison is about.
    seed
        Of the bootstrap.

    Returns
    -------
    What ``profile.json`` holds, plain values only.

    Raises
    ------
    OperationError
        If there are no rows, or columns of the schema's inputs are missing.
    """
    from kedro_azure_mlops.monitor.reference import describe

    return describe(rows, schema, window, seed)


def read_content(folder: Path) -> dict[str, Any] | None:
    """Read what ``profile.json`` holds; None where there is none.

    Raises
    ------
    OperationError
        If it cannot be read.
    """
    file = folder / PROFILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not _is_content(found):
            raise ValueError("it holds no reference profile")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OperationError(f"{file} cannot be read: {error}. Train the model again.") from error
    return dict(found)


def write_profile(folder: Path, content: dict[str, Any]) -> None:
    """Write a profile into a model folder: the same content, the same bytes."""
    (folder / PROFILE).write_bytes(as_json(content) + b"\n")


def as_json(content: dict[str, Any]) -> bytes:
    """Write a profile's content as text."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def profile_of(model: Any) -> dict[str, Any] | None:
    """Return the profile that a model has as an attribute; None where it is something else."""
    found = vars(model).get("profile") if hasattr(model, "__dict__") else None
    return found if _is_content(found) else None


def _is_content(found: Any) -> bool:
    return isinstance(found, dict) and {"version", "series", "columns", "limits"} <= found.keys()


def key_digest(key: str) -> str:
    """Shorten the name of a key, of which a profile holds too many."""
    return sha256(key.encode()).hexdigest()[:DIGEST]
