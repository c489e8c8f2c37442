"""Track the active runs of a project: runs that write the same paths never overlap.

Each run writes a record into ``build/runs`` of its project, a file that it keeps locked while it
runs. The operating system releases the lock when the process ends for any reason, so a killed run
needs no manual clean-up. The last run to end removes the folder.
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
_PATH_ATTRIBUTES = ("_filepath", "filepath", "_path", "path", "_folder")  # attributes of datasets
_LOCAL = ("file", "local", "")
_FALSE = ("0", "no", "false")


class BusyError(OperationError):
    """Another run uses the same paths (exit status 2): the message names it."""


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
        """Return a sentence about a path that both runs use; None if they do not conflict."""
        for doing, theirs, mine, ours in (
            ("writes", other.writes, self.writes, "that this run writes too"),
            ("writes", other.writes, self.reads, "that this run reads"),
            ("reads", other.reads, self.writes, "that this run writes"),
        ):
            if common := [path for path in mine if any(_overlap(path, one) for one in theirs)]:
                first = common[0].removeprefix(f"{_normalise(root)}/")
                more = f" and {len(common) - 1} more" if len(common) > 1 else ""
                return f"It {doing} {first}{more} {ours}."
        return None


class Claim:
    """The paths of a run, reserved until they are released or the process ends."""

    def __init__(self, file: IO[Any] | None = None) -> None:
        self._file = file
        self._within = os.environ.get(_WITHIN)
        if file is not None:  # processes that this run starts must not wait for it
            os.environ[_WITHIN] = f"{self._within or ''} {os.getpid()}".strip()

    def release(self) -> None:
        """Release the paths; later calls do nothing."""
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
        _remove_record(record.parent, record)

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
    """Prevent other runs in this project from writing the paths that this run uses.

    Nothing is claimed if the project's folder cannot be written or its file system has no locks.

    Parameters
    ----------
    writes, reads
        Paths or addresses; a folder includes its content. Runs that only read the same paths
        do not conflict.
    records
        The folder with the records of runs that could conflict.
    wait
        Whether to wait until the others have ended; None: wait, unless the environment variable
        ``KEDRO_MLOPS_WAIT`` is 0 or the other run is waiting for this one.
    say
        Called with a sentence that names the run it waits for.

    Raises
    ------
    BusyError
        If this run does not wait; the message names the other run.
    OutOfSpaceError
        If there is no space for the record, and so none for results.
    """
    own = _describe(*(tuple(sorted({_normalise(one) for one in some})) for some in (reads, writes)))
    if not own.reads and not own.writes:
        return Claim()
    setting = os.environ.get(WAIT, "").lower()
    if wait is None and setting:
        wait = setting not in _FALSE
    while True:
        try:
            outcome = _try_claim(root, records, own)
        except OSError as error:
            _remove_record(root / records)
            if own.writes and (full := out_of_space(error, [root], "a run")):
                raise full from error
            return Claim()
        if isinstance(outcome, Claim):
            return outcome
        file, pid, sentence = outcome
        with file:
            can_wait = pid not in _ancestor_runs()
            if not (can_wait if wait is None else wait):
                again = "Run the command again when it has ended." if can_wait else ""
                raise BusyError(
                    f"Another run is using the same paths: {sentence} Nothing was run. "
                    f"{again}".strip()
                )
            say(f"Waiting for another run: {sentence} Ctrl-C to stop; {WAIT}=0 never waits.")
            lock(file, shared=True, wait=True)


def place_of(dataset: Any) -> str | None:
    """Return the absolute path or address of a dataset; None if it is not stored."""
    for name in _PATH_ATTRIBUTES:
        path = getattr(dataset, name, None)
        if isinstance(path, str | PurePath):
            protocol = getattr(dataset, "_protocol", "file")
            is_address = "://" in str(path) or protocol in _LOCAL
            return _normalise(str(path) if is_address else f"{protocol}://{path}")
    inner = getattr(dataset, "_dataset", None)  # of a dataset that wraps another one
    return None if inner is None else place_of(inner)


def _normalise(location: str | Path) -> str:
    """Return an absolute path with slashes, or a remote address unchanged."""
    protocol, mark, path = str(location).partition("://")
    if mark and protocol not in _LOCAL:
        return str(location)
    return Path(os.path.realpath(path if mark else location)).as_posix()


def _ancestor_runs() -> set[int]:
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


def _try_claim(root: Path, records: Path, own: Record) -> Claim | tuple[IO[Any], int, str]:
    """Write a record, or return that of a conflicting run with its process and a sentence."""
    folder = root / records
    with _locked_records(folder):
        if not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        for path in sorted(folder.glob("*.json")):
            file = path.open("rb")
            if lock(file, shared=True, wait=False):  # free, because its run was killed
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
        content = json.loads(file.read())
        return Record(**content | {name: tuple(content[name]) for name in ("reads", "writes")})
    except (ValueError, TypeError, AttributeError, KeyError):  # written by a newer release
        return None


def _remove_record(folder: Path, record: Path | None = None) -> None:
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
    """Create the folder and lock its records; return the lock file."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the last run has just removed it
            return open_alone(folder / "lock")
