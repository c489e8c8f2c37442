"""Write files and folders completely or not at all, with clear errors for full disks."""

import contextlib
import errno
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from kedro_azure_mlops.errors import OperationError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNITS = ("bytes", "kB", "MB", "GB")
_THOUSAND = 1000
_NEARLY_FULL = 64_000_000  # bytes: a disk with more free space is not the full one


class OutOfSpaceError(OperationError):
    """A disk is full (exit status 2): the message names the folder and its free space."""


def out_of_space(
    error: BaseException, places: Iterable[Path | str], what: str = "The output"
) -> OperationError | None:
    """Return an error about the full disk that caused another error; None for other causes.

    An ``OperationError`` that was raised from such an error is returned unchanged.

    Call it after removing partial files, so that the reported free space was too little.

    Parameters
    ----------
    places
        The files or folders that were written when the error occurred. Of these, and of those that
        the error names, the one on the fullest disk is the cause.
    what
        The content to write, as the subject of a sentence.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, OutOfSpaceError):
            return error if isinstance(error, OperationError) else cause
    full = next((cause for cause in causes if _is_full(cause)), None)
    if full is None:
        return None
    named = [getattr(full, name, None) for name in ("filename", "filename2")]  # a copy names both
    involved = [Path(os.fsdecode(one)) for one in (*places, *named) if isinstance(one, str | Path)]
    possible = [*(involved or [Path()]), _temporary_folder()]
    free_on: dict[int, int] = {}  # read once a disk: others write to it meanwhile

    def free_beside(path: Path) -> int:
        return free_on.setdefault(path.stat().st_dev, shutil.disk_usage(path).free)

    folder = min(map(_nearest_folder, possible), key=free_beside)
    if not involved and shutil.disk_usage(folder).free > _NEARLY_FULL:
        return OutOfSpaceError(f"No space left on the disk that {what} goes to.")
    if getattr(full, "errno", None) == errno.EDQUOT:
        message = f"Your quota for {folder} is used up: {what} does not fit into it."
    elif _has_no_inodes(folder):
        message = (
            f"No space left in {folder}: its disk cannot hold more files. Remove some files there."
        )
    else:
        free = shown_size(shutil.disk_usage(folder).free)
        message = (
            f"No space left in {folder}: {what} needs more than the {free} that are free there."
        )
    return OutOfSpaceError(f"{message} Free some space and run the same command again.")


def full_disk_in(output: str) -> OSError | None:
    """Return the error of a full disk if the output of a program reports one; else None."""
    is_full = os.strerror(errno.ENOSPC) in output
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if is_full else None


@contextlib.contextmanager
def naming_a_full_disk(*places: Path | str, what: str) -> Iterator[None]:
    """Raise ``OutOfSpaceError`` in place of an error caused by a full disk."""
    try:
        yield
    except Exception as error:
        full = out_of_space(error, places, what)
        if full is None or full is error:
            raise
        raise full from error


def name_full_disks_of_logs() -> None:
    """Make logs on a full disk report it once, instead of for each line."""
    known = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in known:
        for handler in getattr(logger, "handlers", []):
            if "handleError" not in vars(handler):
                handler.handleError = _FullDiskReporter(handler)


class _FullDiskReporter:
    """Error handler of a logging handler."""

    def __init__(self, handler: logging.Handler) -> None:
        self._before = handler.handleError
        file = getattr(handler, "baseFilename", None)
        self._places = [file] if file else []
        self._was_reported = False

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        full = out_of_space(error, self._places, "the log") if error else None
        if full is None:
            self._before(record)
        elif not self._was_reported:
            self._was_reported = True
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{full} The log has a gap from here on; the run continues.\n")


def shown_size(count: float) -> str:
    """Format a number of bytes: ``1.2 MB``."""
    for unit in _UNITS:
        if count < _THOUSAND or unit == _UNITS[-1]:
            break
        count /= _THOUSAND
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def new_beside(folder: Path) -> Path:
    """Return the path at which the next content of a folder is prepared."""
    return folder.with_name(f"{folder.name}.new")


def linked(path: Path) -> Path:
    """Return the path that a symbolic link leads to, so that the link is not replaced."""
    return path.resolve() if path.is_symlink() else path


def put_in_place(new: Path, folder: Path) -> None:
    """Replace a folder with another; a killed process leaves one of them intact."""
    old = _backup_path(folder)
    if folder.exists():  # else an earlier process was killed here, and only `old` exists
        remove(old)
        folder.rename(old)
    new.rename(folder)
    remove(old)


def clean_up(folder: Path) -> None:
    """Remove the leftovers of a process killed while writing a folder, and restore the old one."""
    old = _backup_path(folder)
    remove(new_beside(folder))
    if folder.exists():
        remove(old)
    elif old.exists():
        old.rename(folder)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _backup_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes; SQLAlchemy keeps its cause in a separate attribute."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [getattr(one, "orig", None), one.__cause__, one.__context__]


def _is_full(error: BaseException) -> bool:
    if type(error).__module__ == "sqlite3":  # not imported: every kedro command would pay for it
        return getattr(error, "sqlite_errorname", None) == "SQLITE_FULL"
    if isinstance(error, shutil.Error):  # from copying a tree: it has only texts
        return os.strerror(errno.ENOSPC) in str(error)
    return isinstance(error, OSError) and error.errno in _FULL


def _nearest_folder(path: Path) -> Path:
    """Return the nearest folder that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _temporary_folder() -> Path:
    """Return the folder for temporary files; on a full disk, even searching for it fails."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path.cwd()


def _has_no_inodes(folder: Path) -> bool:
    if not hasattr(os, "statvfs"):  # Windows
        return False
    stats = os.statvfs(folder)
    return stats.f_files > 0 and stats.f_favail == 0
