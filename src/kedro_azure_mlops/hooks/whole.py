"""Write results completely or not at all; Kedro's own datasets write in place.

Each save goes to a hidden file next to the target, and the finished file is moved into place.
Concurrent readers, and a run after a killed one, see either the old or the new content.
"""

import logging
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, CatalogProtocol

from kedro_azure_mlops.running import place_of
from kedro_azure_mlops.writing import clean_up, put_in_place, remove

logger = logging.getLogger(__name__)

_REDIRECTED = "_get_save_path"  # returns the path that a Kedro dataset writes to
_KEDROS_OWN = "kedro_datasets."
_TABLES = "kedro_datasets.spark."  # a Spark table is a folder of files
_OPTIONS = ("_fs_open_args_save", "_save_args", "_writer_args")
_NEW_CONTENT = {"w", "wb", "wt", "overwrite"}  # modes that replace a file; others append


@dataclass(frozen=True)
class _Save:
    """A save in progress: into ``new``, or in place if that is None."""

    place: Path
    new: Path | None
    existed: bool
    cleans_up: bool  # whether the dataset removes its partial files itself


class WholeFiles:
    """Moves the files that one run's datasets save into place once they are complete."""

    def __init__(self, catalog: CatalogProtocol) -> None:
        self._catalog = catalog
        self._begun: dict[str, _Save] = {}
        self._saved: set[Path] = set()

    def begin(self, name: str) -> None:
        """Redirect a save that is about to begin, if one of Kedro's own datasets writes a file."""
        dataset = self._catalog.get(name)
        path = place_of(dataset)
        if path is None or "://" in path:
            return
        place = Path(path)
        new = hidden_beside(place) if is_written_whole(dataset, place) else None
        self._begun[name] = _Save(place, new, place.exists(), hasattr(dataset, "clean_up"))
        if new is not None:
            remove(new)
            redirected = PurePosixPath(new.as_posix())
            setattr(dataset, _REDIRECTED, lambda: redirected)

    def end(self, name: str) -> None:
        """Move a finished save into place."""
        save = self._pop_save(name)
        if save is None:
            return
        self._saved.add(save.place)
        if save.new is None or not save.new.exists():
            return
        if save.existed:
            with suppress(OSError):
                shutil.copymode(save.place, save.new)
        if save.new.is_dir():
            put_in_place(save.new, save.place)
            return
        try:
            save.new.replace(save.place)
        except OSError:  # a file mounted on its own can be overwritten, but not replaced
            shutil.copyfile(save.new, save.place)
            remove(save.new)

    def discard(self) -> dict[str, Path]:
        """Remove partial files; return the paths of the unfinished saves.

        A file that existed before and was changed in place is not ours to remove: a warning
        names it.
        """
        saves = {name: save for name in [*self._begun] if (save := self._pop_save(name))}
        for name, save in saves.items():
            if save.new is not None:
                remove(save.new)
            elif not save.existed and not any(save.place in one.parents for one in self._saved):
                remove(save.place)
            elif not save.cleans_up:
                logger.warning("The entry %s may be incomplete: %s", name, save.place)
        return {name: save.place for name, save in saves.items()}

    def _pop_save(self, name: str) -> _Save | None:
        save = self._begun.pop(name, None)
        if save is not None and save.new is not None:
            with suppress(AttributeError):
                delattr(self._catalog.get(name), _REDIRECTED)
        return save


def clean_up_after_killed_runs(catalog: CatalogProtocol, names: Iterable[str]) -> None:
    """Remove the partial files of these entries that a killed run left behind."""
    for name in names:
        dataset = catalog.get(name)
        if hasattr(dataset, "clean_up"):
            dataset.clean_up()
        elif (path := place_of(dataset)) and "://" not in path:
            with suppress(OSError):
                remove(hidden_beside(Path(path)))
                if _is_table(dataset):
                    clean_up(Path(path))


def is_written_whole(dataset: Any, place: Path) -> bool:
    """Return whether a dataset writes one local file or table, at the path that Kedro sets."""
    if not isinstance(dataset, AbstractVersionedDataset) or dataset._version is not None:
        return False
    if getattr(dataset, "_protocol", None) != "file":
        return False
    if not type(dataset).save.__module__.startswith(_KEDROS_OWN):
        return False  # a project's own code may write more than this file
    options = [getattr(dataset, name, None) or {} for name in _OPTIONS]
    modes = [str(one["mode"]) for one in options if isinstance(one, dict) and one.get("mode")]
    if not _NEW_CONTENT.issuperset(modes):
        return False
    if place.exists():
        is_whole = place.is_file() or (place.is_dir() and _is_table(dataset))
        return is_whole and os.access(place, os.W_OK) and os.access(place.parent, os.W_OK)
    return True


def _is_table(dataset: Any) -> bool:
    return type(dataset).__module__.startswith(_TABLES)


def hidden_beside(place: Path) -> Path:
    """Return the temporary path of a file; it keeps the suffixes, which may select the format."""
    name, dot, suffixes = place.name.partition(".")
    return place.with_name(f".{name}.new{dot}{suffixes}")
