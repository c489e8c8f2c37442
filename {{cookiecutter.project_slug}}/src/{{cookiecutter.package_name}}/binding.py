"""Bind catalog entries to places that the environment names, so that steps of a job can share them.

``BIND__features=/outputs/features/features.parquet kedro run`` reads and writes the entry
``features`` there instead of where the catalog says. Without such a variable nothing changes. All
an entry needs is a ``filepath`` or ``path``: ordinary, factory, versioned, partitioned and
transcoded entries are bound alike.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogConfigResolver, CatalogProtocol, MemoryDataset
from kedro.pipeline import Pipeline

from .errors import ProjectError
from .ranks import rank

logger = logging.getLogger(__name__)

PREFIX = "BIND__"
_PLACES = ("filepath", "path")
# What opens a remote store makes no sense in a folder.
_REMOTE = ("credentials", "fs_args")


class Binding:
    """Kedro hook: moves the entries that ``BIND__<port>`` variables name."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Change the catalog's configuration before the catalog is made of it."""
        if str(context.project_path) not in sys.path:
            # Kedro knows src/ only; an entry may name a class of operation/, as its path may.
            sys.path.append(str(context.project_path))
        places = {k.removeprefix(PREFIX): v for k, v in os.environ.items() if k.startswith(PREFIX)}
        if places:
            loader = context.config_loader
            loader["catalog"] = bind(loader["catalog"], places)

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Let only the first process of a distributed step write; the others keep what they make.

        They all run the same nodes, and would overwrite each other's files.
        """
        if rank() > 0:
            logger.info("Process %d of a distributed step: nothing is stored by it", rank())
            for name in pipeline.all_outputs():
                catalog[name] = MemoryDataset(copy_mode="assign")


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
    ProjectError
        If no dataset has such a port, or its entry has no path that could be moved.
    """
    bound = dict(catalog)
    known = sorted(set(_datasets()).union(name for name in catalog if "{" not in name))
    for port, place in places.items():
        names = [name for name in known if port_of(name) == port]
        entries = {name: entry for name in names if (entry := entry_of(catalog, name))}
        if not entries:
            raise ProjectError(f"{PREFIX}{port}: no catalog entry of this project has that name.")
        bound |= {name: moved(name, entry, place) for name, entry in entries.items()}
    return bound


def port_of(name: str) -> str:
    """Name a dataset in letters, digits and ``_``; ``x@pandas`` and ``x@spark`` alike."""
    return re.sub(r"\W", "__", base_of(name))


def base_of(name: str) -> str:
    """Leave out how a dataset is transcoded: ``x@pandas`` and ``x@spark`` are one."""
    return name.split("@", maxsplit=1)[0]


def is_parameter(name: str) -> bool:
    """Say whether a node's input is a parameter and not data."""
    return name == "parameters" or name.startswith("params:")


def entry_of(catalog: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the configuration of a dataset, from its entry or a factory; None without either."""
    if name in catalog:
        return dict(catalog[name])
    bare = {key: _without_credentials(entry) for key, entry in catalog.items()}
    resolver = CatalogConfigResolver(bare, default_runtime_patterns={})
    pattern = resolver.match_dataset_pattern(name) or resolver.match_user_catch_all_pattern(name)
    return resolver.resolve_pattern(name) if pattern else None


def place_of(entry: Mapping[str, Any]) -> str | None:
    """Return the path of an entry, also one wrapped in another; None if it has none."""
    for key in _PLACES:
        if key in entry:
            return entry[key]
    inner = entry.get("dataset")
    return place_of(inner) if isinstance(inner, Mapping) else None


def moved(name: str, entry: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return an entry with another path.

    Raises
    ------
    ProjectError
        If it has none.
    """
    for key in _PLACES:
        if key in entry:
            kept = _without_remote(entry) if "://" in str(entry[key]) else dict(entry)
            return kept | {key: place}
    if isinstance(entry.get("dataset"), Mapping):
        return {**entry, "dataset": moved(name, entry["dataset"], place)}
    raise ProjectError(f"The catalog entry {name} has no filepath or path and cannot be bound.")


def _without_remote(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what opens a remote store, of a wrapped dataset too."""
    kept = {key: value for key, value in entry.items() if key not in _REMOTE}
    if isinstance(kept.get("dataset"), Mapping):
        kept["dataset"] = _without_remote(kept["dataset"])
    return kept


def _datasets() -> Iterator[str]:
    for pipeline in pipelines.values():
        yield from pipeline.datasets()


def _without_credentials(entry: Any) -> Any:
    """Leave out names of credentials: they are looked up later, and a factory needs none."""
    if not isinstance(entry, Mapping):
        return entry
    return {k: _without_credentials(v) for k, v in entry.items() if k != "credentials"}
