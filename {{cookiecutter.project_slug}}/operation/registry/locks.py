"""Who keeps a registry to himself while he changes it."""

import getpass
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from operation.registry.interface import LockedError

LOCK = "-promotion"  # after the model's name: what holds the lock is called so
_ACTORS = ("GITHUB_ACTOR", "BUILD_REQUESTEDFOR")  # who has started a run of CI


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, since when and for what."""

    token: str
    who: str
    since: str
    doing: str

    @classmethod
    def me(cls, doing: str) -> "Holder":
        """Name this process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(uuid.uuid4().hex, f"{_user()} on {socket.gethostname()}", now, doing)

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> "Holder":
        """Read it from the tags of what holds the lock."""
        return cls(**{name: tags.get(f"lock.{name}", "unknown") for name in cls.__annotations__})

    def tags(self) -> dict[str, str]:
        """Write it as tags."""
        return {f"lock.{name}": text for name, text in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.who}, since {self.since}, for {self.doing}"


def locked_by(holder: Holder, name: str, env: str) -> LockedError:
    """Say who is at it, and what to do if that is no longer so."""
    return LockedError(
        f"{name} is being changed by {holder}. Nothing was changed. Try again when that is done; "
        "if that process has died, type: python -m operation.execution promote "
        f"--env {env} --clear-lock"
    )


def lost(name: str) -> LockedError:
    """Say that somebody has cleared our lock."""
    return LockedError(
        f"{name}: somebody has cleared the lock of this process: it stops here, and the champion "
        "stays. Look who changes it, then try again."
    )


def _user() -> str:
    actor = next((os.environ[name] for name in _ACTORS if os.environ.get(name)), None)
    try:
        return actor or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "somebody"
