"""Bind catalog entries to paths from variables, so that the steps of a job can share them.

``BIND__features=/outputs/features/features.parquet kedro run`` reads and writes the entry
``features`` there instead of at its path in the catalog. Without such a variable nothing changes.
An entry only needs a ``filepath`` or ``path``: ordinary, factory, versioned, partitioned and
transcoded entries are bound in the same way. A dataset without an entry is stored according to its
type, see ``job.carried``.
"""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from kedro.framework.project import pipelines
from kedro.io import CatalogConfigResolver

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import BINDING as PREFIX

__all__ = [
    "PREFIX",
    "base_of",
    "bind",
    "bind_context",
    "entry_of",
    "is_in_memory",
    "is_parameter",
    "moved",
    "place_of",
    "port_of",
    "refuse_unknown_entry",
]

CARRIED = "kedro_azure_mlops.job.carried.CarriedDataset"
_IN_MEMORY = ("MemoryDataset", "SharedMemoryDataset")
_PATH_KEYS = ("filepath", "path")
# Options of a remote store, which do not apply to a folder.
_REMOTE = ("credentials", "fs_args")


def bind_context(context: Any) -> None:
    """Bind entries in the catalog's configuration, before Kedro builds the catalog from it.

    Raises
    ------
    OperationError
        See ``bind``.
    """
    places = {k.removeprefix(PREFIX): v for k, v in os.environ.items() if k.startswith(PREFIX)}
    loader = context.config_loader
    loader["catalog"] = bind(loader["catalog"], places)


def bind(catalog: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """Return the catalog's configuration with some entries moved.

    Parameters
    ----------
    catalog
        Entries and factory patterns, as in ``catalog.yml``.
    places
        The new path of each port; see ``port_of``.

    Raises
    ------
    OperationError
        If no dataset has such a port, or its entry has no path to replace.
    """
    bound = dict(catalog)
    known = sorted(set(_datasets()).union(name for name in catalog if "{" not in name))
    for port, place in places.items():
        names = [name for name in known if port_of(name) == port and not is_parameter(name)]
        if not names:
            raise OperationError(f"{PREFIX}{port}: no dataset of this project has that name.")
        entries = {name: entry_of(catalog, name) or {"type": "MemoryDataset"} for name in names}
        stored = {name: entry for name, entry in entries.items() if not is_in_memory(entry)}
        bound |= {name: moved(name, entry, place) for name, entry in stored.items()}
        if not stored:  # no entry sets a format, so the type of the data decides
            bound |= {name: {"type": CARRIED, "path": place} for name in names}
    return bound


def is_in_memory(entry: Mapping[str, Any]) -> bool:
    """Return whether a catalog entry keeps its data in memory only."""
    return str(entry.get("type", "")).rsplit(".", maxsplit=1)[-1] in _IN_MEMORY


def port_of(name: str) -> str:
    """Return a dataset's name in letters, digits and ``_``, without its transcoding."""
    return re.sub(r"\W", "__", base_of(name))


def base_of(name: str) -> str:
    """Return a dataset's name without its transcoding: ``x@pandas`` and ``x@spark`` are one."""
    return name.split("@", maxsplit=1)[0]


def is_parameter(name: str) -> bool:
    """Return whether a node's input is a parameter and not data."""
    return name == "parameters" or name.startswith("params:")


def entry_of(catalog: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the configuration of a dataset, from its entry or a factory; None if it has none."""
    if name in catalog:
        return dict(catalog[name])
    bare = {key: _without_credentials(entry) for key, entry in catalog.items()}
    resolver = CatalogConfigResolver(bare, default_runtime_patterns={})
    pattern = resolver.match_dataset_pattern(name) or resolver.match_user_catch_all_pattern(name)
    return resolver.resolve_pattern(name) if pattern else None


def refuse_unknown_entry(catalog: Any, name: str | None, key: str) -> None:
    """Refuse a name in ``mlops.yml`` that no catalog entry has; None: the key is not set.

    Raises
    ------
    OperationError
        If there is no such entry; the message names the key and the most similar entry, if any.
    """
    if name is None or name in catalog:
        return
    close = get_close_matches(name, list(catalog.keys()), n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise OperationError(f"mlops.yml: {key}: there is no catalog entry {name}.{hint}")


def place_of(entry: Mapping[str, Any]) -> str | None:
    """Return the path of an entry, or of the dataset it wraps; None if it has none."""
    for key in _PATH_KEYS:
        if key in entry:
            return None if entry[key] is None else str(entry[key])
    inner = entry.get("dataset")
    return place_of(inner) if isinstance(inner, Mapping) else None


def moved(name: str, entry: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return an entry with its path replaced.

    Raises
    ------
    OperationError
        If it has no path.
    """
    for key in _PATH_KEYS:
        if key in entry:
            is_remote = "://" in str(entry[key]) and entry[key] != place
            kept = _without_remote(entry) if is_remote else dict(entry)
            return kept | {key: place}
    if isinstance(entry.get("dataset"), Mapping):
        return {**entry, "dataset": moved(name, entry["dataset"], place)}
    raise OperationError(f"The catalog entry {name} has no filepath or path and cannot be bound.")


def _without_remote(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the options of a remote store, including those of a wrapped dataset."""
    kept = {key: value for key, value in entry.items() if key not in _REMOTE}
    if isinstance(kept.get("dataset"), Mapping):
        kept["dataset"] = _without_remote(kept["dataset"])
    return kept


def _datasets() -> Iterator[str]:
    for pipeline in pipelines.values():
        yield from pipeline.datasets()


def _without_credentials(entry: Any) -> Any:
    """Drop the names of credentials: they are looked up later, and a factory needs none."""
    if not isinstance(entry, Mapping):
        return entry
    return {k: _without_credentials(v) for k, v in entry.items() if k != "credentials"}
