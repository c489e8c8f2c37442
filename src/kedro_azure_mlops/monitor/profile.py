"""The profile of a model's training data, in its folder: the reference for all monitoring.

``profile.json`` has at most 200 KB, regardless of the number of keys. With more keys, it holds a
coarser weekly course and fewer bins; with even more, it describes only the largest keys separately
and all others together, and records that. Numbers are rounded and there is no timestamp, so the
same rows give the same bytes.
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
"""The name of the profile in a model folder."""
MOST_BYTES = 200_000
VERSION = 1
DIGEST = 6  # characters in the digest of a key's name


@dataclass(frozen=True)
class Profile:
    """A reference profile for ``compare_rows``.

    ``columns`` names the profiled columns, ``keys`` the series that are profiled separately,
    ``window`` is the length of the windows, ``by`` and ``time`` are the columns of keys and times
    (None if there are none), ``rows``, ``start`` and ``end`` describe the training rows.
    ``limits`` states how limits were set (``how``: calibrated or fixed) and why. ``content`` is the
    whole file.
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
        """Build a profile from the result of ``reference_profile``.

        Raises
        ------
        OperationError
            If the content is not a profile, or has another version.
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
        """Return whether a key had training rows."""
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
        If the folder has no profile, or it cannot be read.
    """
    content = read_content(folder)
    if content is None:
        raise OperationError(
            f"{folder} has no {PROFILE}, which describes the training data: there is nothing to "
            "compare with. Train the model again: kedro run."
        )
    return Profile.from_dict(content)


def reference_profile(
    rows: pd.DataFrame, schema: Schema, *, window: str = "24h", seed: int = 0
) -> dict[str, Any]:
    """Describe training rows, and calibrate limits for ordinary windows from them.

    Numeric columns are compared after subtracting each key's usual course of day and week: nights
    do not count as drift, and a shift shows within hours. See ``limits.py`` for the calibration of
    limits. Times are the ``order`` of the schema's history, else its only datetime input, else the
    index of the rows; without times, or with fewer than 14 whole windows, limits are fixed.

    Parameters
    ----------
    rows
        The columns of ``schema.inputs`` and, where known, of ``schema.outputs``; any order.
    window
        Length of the windows to compare.
    seed
        Seed of the bootstrap.

    Returns
    -------
    The content of ``profile.json``, as JSON values.

    Raises
    ------
    OperationError
        If there are no rows, or columns of the schema's inputs are missing.
    """
    from kedro_azure_mlops.monitor.reference import describe

    return describe(rows, schema, window, seed)


def read_content(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``profile.json``; None if there is no such file.

    Raises
    ------
    OperationError
        If the file cannot be read.
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
    """Write a profile into a model folder; the same content gives the same bytes."""
    (folder / PROFILE).write_bytes(as_json(content) + b"\n")


def as_json(content: dict[str, Any]) -> bytes:
    """Return a profile's content as JSON."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def profile_of(model: Any) -> dict[str, Any] | None:
    """Return the ``profile`` attribute of a model; None if it is not a profile."""
    found = vars(model).get("profile") if hasattr(model, "__dict__") else None
    return found if _is_content(found) else None


def _is_content(found: Any) -> bool:
    return isinstance(found, dict) and {"version", "series", "columns", "limits"} <= found.keys()


def key_digest(key: str) -> str:
    """Return a short digest of a key's name, for profiles with too many keys."""
    return sha256(key.encode()).hexdigest()[:DIGEST]
