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

_FOLDERS = (ARTIFACTS, "mlruns")  # where MLflow itself keeps files
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

    Processes that open it at once wait for one another; a database that a killed process left
    unfinished is created again. A server is left alone.

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
    # by default MLflow puts the current folder's path into SQL unescaped, apostrophes and all
    files = (database.resolve().parent / ARTIFACTS).as_uri()
    lock = database.with_name(f"{database.name}.lock")
    with alone(lock) as is_alone, _without_unfinished(database, is_alone):
        with closing(sqlite3.connect(database)) as file:  # MLflow would retry for 100 seconds
            file.execute("PRAGMA schema_version")
        SqlAlchemyStore(address, files)
        _find_files(database)


@contextmanager
def _without_unfinished(database: Path, is_alone: bool) -> Iterator[None]:
    """Remove an unfinished database: after an error here, or from a process that was killed."""
    unfinished = database.with_name(f"{database.name}.unfinished")
    if unfinished.exists() and is_alone:  # else another process may be making it
        database.unlink(missing_ok=True)
    is_new = not (database.exists() and database.stat().st_size)
    if is_new:
        with suppress(OSError):  # if this is forbidden, so is the database
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


def _find_files(database: Path) -> None:
    """Correct the addresses of files that moved with the database."""
    home = database.resolve().parent
    with closing(sqlite3.connect(database, timeout=20, isolation_level=None)) as store:
        before = _former_homes(store, home, database.name)
        if not before:
            return
        store.execute("BEGIN IMMEDIATE")
        with store:  # all or nothing
            for table, column, which in _LOCATIONS:
                query = f"SELECT rowid, {column} FROM {table} {which}"  # noqa: S608
                for row, location in list(store.execute(query)):
                    stays = table != "experiments"
                    found = _address_now(location or "", before, home, stays_if_only_there=stays)
                    if found:
                        change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"  # noqa: S608
                        store.execute(change, (found, row))
    logger.info(
        "The tracking database was created in %s: its runs and models now refer to files in %s",
        *(", ".join(map(str, before)), home),
    )


def _former_homes(store: sqlite3.Connection, home: Path, name: str) -> list[Path]:
    """List the folders that the database was in, the innermost first.

    An experiment's files are in a folder of a certain name beside the database. If they are not
    beside this one, it came from there if the other place is gone, has its own database, or its
    files came along. Otherwise the files were put there on purpose.
    """
    found = set()
    for (location,) in store.execute("SELECT artifact_location FROM experiments"):
        path = _path_of(location or "")
        folder = path and next((one for one in path.parents if one.name in _FOLDERS), None)
        if path is None or folder is None or folder.parent == home:
            continue
        there = folder.parent
        here = home / path.relative_to(there)
        if not _is_there(there) or _is_there(there / name) or _is_there(here):
            found.add(there)
    return sorted(found, key=lambda one: len(one.parts), reverse=True)


def _address_now(
    location: str, before: list[Path], home: Path, *, stays_if_only_there: bool
) -> str | None:
    """Return the address of the same file beside the database; None if it has not changed."""
    path = _path_of(location)
    if path is None or any(path.is_relative_to(home / folder) for folder in _FOLDERS):
        return None
    there = next((one for one in before if path.is_relative_to(one)), None)
    if there is None:
        return None
    here = home / path.relative_to(there)
    if stays_if_only_there and _is_there(path) and not _is_there(here):
        return None
    return here.as_uri()  # in a plain path MLflow would decode percent signs


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in someone else's folder
        return False


def _path_of(location: str) -> Path | None:
    from mlflow.utils.file_utils import local_file_uri_to_path

    is_address = location.startswith("file:")
    path = Path(local_file_uri_to_path(location) if is_address else location)
    return path if path.is_absolute() else None


if __name__ == "__main__":  # `make mlflow` does this before MLflow's own server opens the file
    open_database(sqlite_address(Path(sys.argv[1]).resolve()))
