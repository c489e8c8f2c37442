"""Lock files. The operating system releases a lock when its process ends, for any reason."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    _BYTE = 1 << 30  # past the text: locked bytes cannot be read

    def lock(file: IO[Any], *, shared: bool, wait: bool) -> bool:
        """Lock a file and return True; if another process holds it, wait or return False."""
        while True:
            at = file.tell()
            try:
                file.seek(_BYTE)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                time.sleep(0.1)
            else:
                return True
            finally:
                file.seek(at)

    def unlock(file: IO[Any]) -> None:
        """Release a lock, even if a forked process has the file open too."""
        file.seek(_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def lock(file: IO[Any], *, shared: bool, wait: bool) -> bool:
        """Lock a file and return True; if another process holds it, wait or return False."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(file: IO[Any]) -> None:
        """Release a lock, even if a forked process has the file open too."""
        fcntl.flock(file, fcntl.LOCK_UN)


def open_alone(path: Path) -> IO[Any]:
    """Open a file exclusively, after waiting for its holder, which may remove the file.

    Raises
    ------
    OSError
        If the file cannot be created, or its file system has no locks.
    """
    while True:
        file = path.open("w", encoding="utf-8")
        try:
            lock(file, shared=False, wait=True)
            with suppress(FileNotFoundError):  # its last holder removed it in the meantime
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Admit one process at a time; yield whether that is guaranteed.

    If the folder cannot be written, or has no locks, yield False without waiting.
    """
    try:
        file = open_alone(path)
    except OSError:
        file = None
    if file is None:
        yield False
        return
    with file:
        try:
            yield True
        finally:
            with suppress(OSError):  # on Windows, which keeps the file
                path.unlink()
            unlock(file)
