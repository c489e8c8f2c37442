"""The interface that commands use, whichever service keeps the registry."""

import getpass
import os
import shutil
import socket
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from kedro_azure_mlops.contract import digest as digest_of
from kedro_azure_mlops.errors import OperationError

LOCK = "-promotion"  # after the model's name: the name of what holds the lock
_SHORTEST = 6  # characters of a digest that name a version
_ACTORS = ("GITHUB_ACTOR", "BUILD_REQUESTEDFOR")  # who has started a run of CI


@dataclass(frozen=True)
class Version:
    """A registered model: ``digest`` is that of its folder, ``tags`` all it carries."""

    name: str
    number: str
    digest: str
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} version {self.number} ({self.digest[:12]})"


class Registry(ABC):
    """The versions of one environment's model."""

    def __init__(self, env: str, name: str) -> None:
        self.env, self.name = env, name

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the models are kept, in words."""

    @abstractmethod
    def versions(self) -> list[Version]:
        """List all versions, the newest first."""

    @abstractmethod
    def champion(self) -> Version | None:
        """Return the version in service; None if there is none."""

    @abstractmethod
    def register(self, folder: Path, tags: Mapping[str, str]) -> Version:
        """Store a model folder as a version that carries these tags, ``digest`` among them."""

    @abstractmethod
    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version, replacing those of the same name."""

    @abstractmethod
    def make_champion(self, version: Version, how: str) -> None:
        """Make a version the only champion, and record since when and how."""

    @abstractmethod
    def locked(self, doing: str) -> AbstractContextManager["Lock"]:
        """Keep all other commands from changing this registry meanwhile.

        Raises
        ------
        LockedError
            If another process is changing this registry.
        """

    @abstractmethod
    def clear_lock(self) -> str | None:
        """Remove a lock that was left behind; return whose it was, None if there is none."""

    @abstractmethod
    def _download(self, version: Version, target: Path) -> None:
        """Write the files of a version into a folder that is not there yet."""

    def find(self, digest: str) -> Version | None:
        """Return the newest version that has these files; None without one."""
        return next((one for one in self.versions() if one.digest == digest), None)

    def version(self, name: str) -> Version:
        """Return a version by its number or the beginning of its digest.

        Raises
        ------
        OperationError
            If there is none, or several models have such a digest.
        """
        every = self.versions()
        by_number = [one for one in every if one.number == name]
        by_digest = [one for one in every if len(name) >= _SHORTEST and one.digest.startswith(name)]
        found = by_number or by_digest
        if len({one.digest for one in found}) == 1:
            return found[0]
        if found:
            raise OperationError(f"{self.name}: several models have a digest {name}...: write more")
        raise OperationError(
            f"{self.place} has no version {name} of {self.name}. To see which there are, type: "
            f"kedro mlops champion --env {self.env} --history"
        )

    def fetch(self, version: Version, target: Path) -> Path:
        """Download the files of a version into a folder, complete and as they were registered.

        Raises
        ------
        OperationError
            If the files cannot be downloaded, or are not those that were registered.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix="part-") as part:
            folder = Path(part) / "model"
            self._download(version, folder)
            found = digest_of(folder)
            if found != version.digest:
                raise OperationError(
                    f"{version} of {self.place} is not what was registered: its files have the "
                    f"digest {found[:12]}. They were changed; register the model again."
                )
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
        return target


class Lock(ABC):
    """The right to change a registry, held by this process alone."""

    @abstractmethod
    def check(self) -> None:
        """Refuse to go on if the lock was cleared.

        Raises
        ------
        LockedError
            If it is no longer held by this process.
        """


class LockedError(OperationError):
    """Another process is changing the registry: the message names it and what to do."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, since when and for what."""

    token: str
    who: str
    since: str
    doing: str

    @classmethod
    def me(cls, doing: str) -> "Holder":
        """Describe this process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(uuid.uuid4().hex, f"{_user()} on {socket.gethostname()}", now, doing)

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> "Holder":
        """Read a holder from the tags of what holds the lock."""
        return cls(**{name: tags.get(f"lock.{name}", "unknown") for name in cls.__annotations__})

    def tags(self) -> dict[str, str]:
        """Return the holder as tags."""
        return {f"lock.{name}": text for name, text in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.who}, since {self.since}, for {self.doing}"


def locked_by(holder: Holder, name: str, env: str) -> LockedError:
    """Return the error that names the lock's holder, and what to do about a dead one."""
    return LockedError(
        f"{name} is being changed by {holder}. Nothing was changed. Try again when that is done; "
        f"if that process has died, type: kedro mlops promote --env {env} --clear-lock"
    )


def lost(name: str) -> LockedError:
    """Return the error that our own lock was cleared."""
    return LockedError(
        f"{name}: the lock of this process was cleared: it stops here, and the champion stays. "
        "Find out who changes it, then try again."
    )


def _user() -> str:
    actor = next((os.environ[name] for name in _ACTORS if os.environ.get(name)), None)
    try:
        return actor or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "someone"
