"""Track the active runs of a project: two that write the same places never run at once.

Each run writes a record into ``build/runs`` of its project, a file that it keeps locked while it
runs. The operating system releases the lock however the process ends, so a killed run leaves
nothing to clean up by hand. The last run to end removes the folder.
"""

import contextlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import IO, Any

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.locks import lock, open_alone, unlock
from kedro_azure_mlops.safety import redact
from kedro_azure_mlops.writing import out_of_space

FOLDER = Path("build/runs")
WAIT = "KEDRO_MLOPS_WAIT"  # environment variable: 0 refuses instead of waiting for another run
_WITHIN = "KEDRO_MLOPS_WITHIN"  # environment variable: the runs that have started this process
_PLACES = ("_filepath", "filepath", "_path", "path", "_folder")  # attributes of datasets
_LOCAL = ("file", "local", "")
_OFF = ("0", "no", "false")


class BusyError(OperationError):
    """Another run is at work on the same places (exit status 2): the message names it."""


@dataclass(frozen=True)
class Record:
    """The record that a run leaves while it is active."""

    command: str
    pid: int
    host: str
    since: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def conflict(self, other: "Record", root: Path) -> str | None:
        """Return a sentence about a place of this run that another one is using; None if none."""
        for doing, theirs, mine, ours in (
            ("writes", other.writes, self.writes, "that this run writes too"),
            ("writes", other.writes, self.reads, "that this run reads"),
            ("reads", other.reads, self.writes, "that this run writes"),
        ):
            if common := [place for place in mine if any(_overlap(place, one) for one in theirs)]:
                first = common[0].removeprefix(f"{_normal(root)}/")
                more = f" and {len(common) - 1} more" if len(common) > 1 else ""
                return f"It {doing} {first}{more} {ours}."
        return None


class Claim:
    """The places of a run, reserved until they are released or the process ends."""

    def __init__(self, file: IO[Any] | None = None) -> None:
        self._file = file
        self._within = os.environ.get(_WITHIN)
        if file is not None:  # processes that this run starts must not wait for it
            os.environ[_WITHIN] = f"{self._within or ''} {os.getpid()}".strip()

    def release(self) -> None:
        """Release the places; does nothing the second time."""
        file, self._file = self._file, None
        if file is None:
            return
        if self._within is None:
            os.environ.pop(_WITHIN, None)
        else:
            os.environ[_WITHIN] = self._within
        record = Path(file.name)
        unlock(file)  # forked processes have the file open too
        file.close()
        _leave(record.parent, record)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def claim(
    root: Path,
    *,
    writes: Iterable[str],
    reads: Iterable[str] = (),
    records: Path = FOLDER,
    wait: bool | None = None,
    say: Callable[[str], object] = print,
) -> Claim:
    """Keep other runs in this project from writing what this one reads or writes.

    Nothing is claimed if the project's folder cannot be written or its file system has no locks.

    Parameters
    ----------
    writes, reads
        Paths or addresses; a folder includes its content. Runs that only read the same places
        do not conflict.
    records
        The folder with the records of runs that could conflict.
    wait
        Whether to wait until the others have ended; None: unless the environment variable
        ``KEDRO_MLOPS_WAIT`` is 0, or it would be waiting for a run that waits for this one.
    say
        Called with a sentence that names the run it waits for.

    Raises
    ------
    BusyError
        Naming the other run, if this one does not wait.
    OutOfSpaceError
        If there is no space for the record: there would be none for results either.
    """
    own = _describe(*(tuple(sorted({_normal(one) for one in some})) for some in (reads, writes)))
    if not own.reads and not own.writes:
        return Claim()
    given = os.environ.get(WAIT, "").lower()
    if wait is None and given:
        wait = given not in _OFF
    while True:
        try:
            found = _enter(root, records, own)
        except OSError as error:
            _leave(root / records)
            if own.writes and (full := out_of_space(error, [root], "a run")):
                raise full from error
            return Claim()
        if isinstance(found, Claim):
            return found
        file, pid, sentence = found
        with file:
            would_end = pid not in _started_by()
            if not (would_end if wait is None else wait):
                again = "Type the command again when it has ended." if would_end else ""
                raise BusyError(
                    f"Another run is at work here: {sentence} Nothing was run. {again}".strip()
                )
            say(f"Waiting for another run: {sentence} Ctrl-C to stop; {WAIT}=0 never waits.")
            lock(file, shared=True, wait=True)


def place_of(dataset: Any) -> str | None:
    """Return where a dataset is stored: an absolute path or an address; None if nowhere."""
    for name in _PLACES:
        found = getattr(dataset, name, None)
        if isinstance(found, str | PurePath):
            protocol = getattr(dataset, "_protocol", "file")
            is_address = "://" in str(found) or protocol in _LOCAL
            return _normal(str(found) if is_address else f"{protocol}://{found}")
    inner = getattr(dataset, "_dataset", None)  # of a dataset that wraps another one
    return None if inner is None else place_of(inner)


def _normal(place: str | Path) -> str:
    """Return an absolute path with slashes; return a remote address unchanged."""
    protocol, mark, path = str(place).partition("://")
    if mark and protocol not in _LOCAL:
        return str(place)
    return Path(os.path.realpath(path if mark else place)).as_posix()


def _started_by() -> set[int]:
    """Return the IDs of this process and of those whose runs have started it."""
    return {os.getpid(), *map(int, os.environ.get(_WITHIN, "").split())}


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _describe(reads: tuple[str, ...], writes: tuple[str, ...]) -> Record:
    program = Path(sys.argv[0])
    name = program.name if program.name != "__main__.py" else f"python -m {program.parent.name}"
    command = redact(" ".join([name, shlex.join(sys.argv[1:])]).strip())
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return Record(command, os.getpid(), platform.node(), since, reads, writes)


def _enter(root: Path, records: Path, own: Record) -> Claim | tuple[IO[Any], int, str]:
    """Write a record; or return that of a conflicting run, its process and a sentence about it."""
    folder = root / records
    with _locked_records(folder):
        if not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        for path in sorted(folder.glob("*.json")):
            file = path.open("rb")
            if lock(file, shared=True, wait=False):  # its run was killed
                file.close()
                path.unlink(missing_ok=True)
                continue
            other = _read(file)
            why = other and own.conflict(other, root)
            if other and why:
                who = f"`{other.command}`, process {other.pid} on {other.host}"
                return file, other.pid, f"{who}, since {other.since}. {why}"
            file.close()
        return Claim(_write(folder, own))


def _write(folder: Path, own: Record) -> IO[Any]:
    path = folder / f"{own.pid}-{time.time_ns()}.json"
    file = path.open("w", encoding="utf-8")
    try:
        lock(file, shared=False, wait=False)
        file.write(json.dumps(vars(own)))
        file.flush()
    except OSError:
        with contextlib.suppress(OSError):
            file.close()
        path.unlink(missing_ok=True)
        raise
    return file


def _read(file: IO[Any]) -> Record | None:
    try:
        found = json.loads(file.read())
        return Record(**found | {name: tuple(found[name]) for name in ("reads", "writes")})
    except (ValueError, TypeError, AttributeError, KeyError):  # written by a newer release
        return None


def _leave(folder: Path, record: Path | None = None) -> None:
    """Remove a record, and the folder if it was the last one."""
    with contextlib.suppress(OSError), open_alone(folder / "lock"):
        if record:
            record.unlink(missing_ok=True)
        if not any(folder.glob("*.json")):
            for left in ("lock", ".gitignore"):
                (folder / left).unlink(missing_ok=True)
            folder.rmdir()
            folder.parent.rmdir()


def _locked_records(folder: Path) -> IO[Any]:
    """Create the folder; return its lock file, whose holder alone may change the records."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the last run has removed it meanwhile
            return open_alone(folder / "lock")
