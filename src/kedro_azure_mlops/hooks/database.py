"""The SQLite database of a project's runs: created by one process at a time, and portable.

MLflow stores absolute addresses of the files of runs and models. A project that was moved or copied
would write into the folder that it came from, so they are corrected when the database is opened.
"""

import logging
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from kedro_azure_mlops.hooks.server import ARTIFACTS, database_of, sqlite_address
from kedro_azure_mlops.locks import alone

logger = logging.getLogger(__name__)

_FOLDERS = (ARTIFACTS, "mlruns")  # where MLflow itself stores files
_LOCATIONS = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", ""),
    ("logged_models", "artifact_location", ""),
    ("model_versions", "source", ""),
    ("model_versions", "storage_location", ""),
    ("trace_tags", "value", "WHERE key = 'mlflow.artifactLocation'"),
)


def open_database(address: str) -> None:
    """Create the tables of a new database, and find the files of one that was moved or copied.

    Processes that open it at the same time wait for one another; a database that a killed process
    left unfinished is created again. A server is left alone.

    Raises
    ------
    sqlite3.Error
        If the file cannot be opened, or holds no database.
    """
    database = database_of(address)
    if database is None:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    logging.getLogger("alembic").setLevel(logging.WARNING)
    database.parent.mkdir(parents=True, exist_ok=True)
    # by default MLflow puts the current folder's path into SQL without escaping apostrophes
    files = (database.resolve().parent / ARTIFACTS).as_uri()
    lock = database.with_name(f"{database.name}.lock")
    with alone(lock) as is_alone, _without_unfinished(database, is_alone):
        with closing(sqlite3.connect(database)) as file:  # MLflow would retry for 100 seconds
            file.execute("PRAGMA schema_version")
        SqlAlchemyStore(address, files)
        _correct_addresses(database)


@contextmanager
def _without_unfinished(database: Path, is_alone: bool) -> Iterator[None]:
    """Remove an unfinished database: after an error here, or from a process that was killed."""
    unfinished = database.with_name(f"{database.name}.unfinished")
    if unfinished.exists() and is_alone:  # else another process may be creating it
        database.unlink(missing_ok=True)
    is_new = not (database.exists() and database.stat().st_size)
    if is_new:
        with suppress(OSError):  # without permission, creating the database fails too
            unfinished.touch()
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if is_new:
                database.unlink(missing_ok=True)
            unfinished.unlink(missing_ok=True)
        raise
    unfinished.unlink(missing_ok=True)


def _correct_addresses(database: Path) -> None:
    """Correct the addresses of files that moved with the database."""
    home = database.resolve().parent
    with closing(sqlite3.connect(database, timeout=20, isolation_level=None)) as store:
        former_homes = _former_homes(store, home, database.name)
        if not former_homes:
            return
        store.execute("BEGIN IMMEDIATE")
        with store:  # all or nothing
            for table, column, condition in _LOCATIONS:
                query = f"SELECT rowid, {column} FROM {table} {condition}"  # noqa: S608
                for row, location in list(store.execute(query)):
                    is_kept = table != "experiments"
                    corrected = _current_address(
                        location or "", former_homes, home, keep_if_only_there=is_kept
                    )
                    if corrected:
                        change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"  # noqa: S608
                        store.execute(change, (corrected, row))
    logger.info(
        "The tracking database was created in %s: its runs and models now refer to files in %s",
        *(", ".join(map(str, former_homes)), home),
    )


def _former_homes(store: sqlite3.Connection, home: Path, name: str) -> list[Path]:
    """List the folders that the database was in, the innermost first.

    An experiment's files are in one of ``_FOLDERS``, next to the database. If an address names
    another parent, the database came from there if that parent is missing, has a database of its
    own, or the files are here too. Otherwise a user has placed the files there on purpose.
    """
    found = set()
    for (location,) in store.execute("SELECT artifact_location FROM experiments"):
        path = _path_of(location or "")
        folder = path and next((one for one in path.parents if one.name in _FOLDERS), None)
        if path is None or folder is None or folder.parent == home:
            continue
        former = folder.parent
        current = home / path.relative_to(former)
        if not _exists(former) or _exists(former / name) or _exists(current):
            found.add(former)
    return sorted(found, key=lambda one: len(one.parts), reverse=True)


def _current_address(
    location: str, former_homes: list[Path], home: Path, *, keep_if_only_there: bool
) -> str | None:
    """Return the address of the same file next to the database; None if it has not changed."""
    path = _path_of(location)
    if path is None or any(path.is_relative_to(home / folder) for folder in _FOLDERS):
        return None
    former = next((one for one in former_homes if path.is_relative_to(one)), None)
    if former is None:
        return None
    current = home / path.relative_to(former)
    if keep_if_only_there and _exists(path) and not _exists(current):
        return None
    return current.as_uri()  # in a plain path MLflow would decode percent signs


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # this user may not read the folder
        return False


def _path_of(location: str) -> Path | None:
    from mlflow.utils.file_utils import local_file_uri_to_path

    is_address = location.startswith("file:")
    path = Path(local_file_uri_to_path(location) if is_address else location)
    return path if path.is_absolute() else None


if __name__ == "__main__":  # `make mlflow` does this before MLflow's own server opens the file
    open_database(sqlite_address(Path(sys.argv[1]).resolve()))
