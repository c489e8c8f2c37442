"""Identify a process, so that another process can find out whether it has ended.

A process ID alone is not enough: IDs are reused, and the same ID identifies another process
in a container or on another machine. So its machine and start time are recorded, too.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

UNKNOWN = "unknown"
_PREFIX = "process."
_ENDED = ("Z", "X")  # states of a process that has ended but was not reaped by its parent
_AFTER_NAME = 2  # in /proc/<pid>/stat the name in parentheses may hold spaces
_STATE, _START = 0, 19  # fields after it, see proc_pid_stat(5)


@dataclass(frozen=True)
class Process:
    """A process on a machine: ``machine`` distinguishes containers and hosts of the same name."""

    host: str = UNKNOWN
    machine: str = UNKNOWN
    pid: str = UNKNOWN
    started: str = UNKNOWN

    @classmethod
    def here(cls, pid: int) -> "Process":
        """Describe a process on this machine."""
        return cls(platform.node(), _machine(), str(pid), _started(pid) or UNKNOWN)

    @classmethod
    def me(cls) -> "Process":
        """Describe this process."""
        return cls.here(os.getpid())

    @classmethod
    def read(cls, tags: Mapping[str, str], prefix: str = _PREFIX) -> "Process":
        """Read a process from tags; missing ones are unknown."""
        return cls(**{name: tags.get(prefix + name, UNKNOWN) for name in cls.__annotations__})

    def tags(self, prefix: str = _PREFIX) -> dict[str, str]:
        """Return the process as tags."""
        return {prefix + name: text for name, text in asdict(self).items()}

    def is_gone(self) -> bool:
        """Return whether it was a process on this machine and has ended; False if in doubt."""
        if (self.host, self.machine) != (platform.node(), _machine()) or not self.pid.isdecimal():
            return False
        now = _started(int(self.pid))
        return now is None or (UNKNOWN not in (now, self.started) and now != self.started)


def _started(pid: int) -> str | None:
    """Return a text unique among processes with this ID; None if the process does not exist."""
    if sys.platform == "win32":  # where os.kill would end it
        return UNKNOWN
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # it belongs to another user
        pass
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[_AFTER_NAME].split()
        return None if fields[_STATE] in _ENDED else f"{fields[_START]} ticks after {boot}"
    return _started_by_ps(pid)


def _started_by_ps(pid: int) -> str | None:
    words = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    neutral = {"LC_ALL": "C", "TZ": "UTC"}
    try:
        process = subprocess.run(
            words, env=os.environ | neutral, capture_output=True, text=True, check=False
        )
    except OSError:
        return UNKNOWN
    state, _, started = process.stdout.strip().partition(" ")
    if state.startswith(_ENDED):
        return None
    return started.strip() or UNKNOWN


@cache
def _machine() -> str:
    parts = []
    with suppress(OSError):
        parts.append(Path("/etc/machine-id").read_text(encoding="utf-8"))
    with suppress(OSError):  # each container counts its processes from 1
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    import hashlib  # slow to import, and only needed here

    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
