"""The interface of registries, independent of the service that stores the models."""

import getpass
import logging
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from kedro_azure_mlops.contract import UnusableModelError, refuse_changed_files
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.locks import alone
from kedro_azure_mlops.processes import UNKNOWN, Process
from kedro_azure_mlops.registry.facts import DIGEST

logger = logging.getLogger(__name__)

LOCK = "-promotion"  # suffix of the model's name, for the entity that serves as the lock
_LOCK_TAG = "lock."
_SHORTEST = 6  # characters of a digest that can identify a version
_ACTORS = ("GITHUB_ACTOR", "BUILD_REQUESTEDFOR")  # the user who started a CI run


@dataclass(frozen=True)
class Version:
    """A registered model: the ``digest`` of its folder, and all of its ``tags``."""

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
        """The location of the models, for messages."""

    @abstractmethod
    def versions(self) -> list[Version]:
        """List all versions, the newest first."""

    @abstractmethod
    def champion(self) -> Version | None:
        """Return the version in service; None if there is none."""

    def register(self, folder: Path, tags: Mapping[str, str]) -> Version:
        """Store a model folder as a version with these tags, which include ``digest``.

        Raises
        ------
        OperationError
            If the folder's files were changed since they were saved or have another digest, or the
            registry fails.
        """
        try:
            refuse_changed_files(folder, tags[DIGEST])
        except UnusableModelError as error:
            raise OperationError(f"The model cannot be registered: {error}.") from error
        return self._store(folder, tags)

    @abstractmethod
    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version, replacing those of the same name."""

    @abstractmethod
    def make_champion(self, version: Version, how: str) -> None:
        """Make a version the only champion, and record since when and how."""

    @abstractmethod
    def locked(self, doing: str) -> AbstractContextManager["Lock"]:
        """Prevent other commands from changing this registry while the context is open.

        Raises
        ------
        LockedError
            If another process is changing this registry.
        """

    @abstractmethod
    def clear_lock(self) -> str | None:
        """Remove a leftover lock; return its holder, None if there is no lock."""

    @abstractmethod
    def _store(self, folder: Path, tags: Mapping[str, str]) -> Version:
        """Store a model folder that has been checked."""

    @abstractmethod
    def _download(self, version: Version, target: Path) -> None:
        """Write the files of a version into a folder that does not exist yet."""

    def find(self, digest: str) -> Version | None:
        """Return the newest version that has these files; None if there is none."""
        return next((one for one in self.versions() if one.digest == digest), None)

    def version(self, name: str) -> Version:
        """Return a version by its number or the beginning of its digest.

        Raises
        ------
        OperationError
            If there is no such version, or several digests begin with ``name``.
        """
        every = self.versions()
        by_number = [one for one in every if one.number == name]
        by_digest = [one for one in every if len(name) >= _SHORTEST and one.digest.startswith(name)]
        found = by_number or by_digest
        if len({one.digest for one in found}) == 1:
            return found[0]
        if found:
            raise OperationError(f"{self.name}: several digests begin with {name}: give more of it")
        raise OperationError(
            f"{self.place} has no version {name} of {self.name}. To list the versions, run: "
            f"kedro mlops champion --env {self.env} --history"
        )

    def fetch(self, version: Version, target: Path) -> Path:
        """Download the files of a version, and check that they are complete and unchanged.

        Raises
        ------
        OperationError
            If the files cannot be downloaded, or are not those that were registered.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix="part-") as part:
            folder = Path(part) / "model"
            self._download(version, folder)
            try:
                refuse_changed_files(folder, version.digest)
            except UnusableModelError as error:
                raise OperationError(
                    f"{version} of {self.place} is not what was registered: {error}, and register "
                    "it again."
                ) from error
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
        return target


class Lock(ABC):
    """The right to change a registry, held by this process alone."""

    @abstractmethod
    def check(self) -> None:
        """Refuse to continue if the lock was cleared.

        Raises
        ------
        LockedError
            If this process no longer holds the lock.
        """


class LockedError(OperationError):
    """Another process is changing the registry; the message names it and what to do."""


@dataclass(frozen=True)
class Holder:
    """The holder of a lock: the user and process, the start and the operation."""

    token: str
    who: str
    since: str
    doing: str
    process: Process

    @classmethod
    def me(cls, doing: str) -> "Holder":
        """Describe this process."""
        now, process = datetime.now(UTC).isoformat(timespec="seconds"), Process.me()
        return cls(uuid.uuid4().hex, f"{_user()} on {process.host}", now, doing, process)

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> "Holder":
        """Read a holder from the tags of the lock."""
        named = {name: tags.get(_LOCK_TAG + name, UNKNOWN) for name in cls._texts()}
        return cls(**named, process=Process.read(tags, _LOCK_TAG))

    def tags(self) -> dict[str, str]:
        """Return the holder as tags."""
        named = {_LOCK_TAG + name: str(getattr(self, name)) for name in self._texts()}
        return named | self.process.tags(_LOCK_TAG)

    @classmethod
    def _texts(cls) -> list[str]:
        return [name for name in cls.__annotations__ if name != "process"]

    def __str__(self) -> str:
        return f"{self.who}, since {self.since}, for {self.doing}"


def locked_by(holder: Holder, name: str, env: str) -> LockedError:
    """Return the error that names the lock's holder and how to clear the lock if it has died."""
    return LockedError(
        f"{name} is being changed by {holder}. Nothing was changed. Try again when that is done; "
        f"if that process has died, run: kedro mlops promote --env {env} --clear-lock"
    )


@contextmanager
def taking_over(holder: Holder, lock: str) -> Iterator[None]:
    """Take over the lock of a dead process on this machine, and log a warning.

    Only processes on the same machine can detect that it is dead. They check and remove the lock
    one at a time, so that none removes a lock that another has just taken.
    """
    name = sha256(lock.encode()).hexdigest()[:16]
    with alone(Path(gettempdir()) / f"kedro-mlops-{name}.lock"):
        yield
    logger.warning("The lock left by %s is taken over: its process has ended.", holder)


def lost(name: str) -> LockedError:
    """Return the error to raise if the lock of this process was cleared."""
    return LockedError(
        f"{name}: the lock of this process was cleared, so it stops; the champion is unchanged. "
        "Check who is changing it, then try again."
    )


def _user() -> str:
    actor = next((os.environ[name] for name in _ACTORS if os.environ.get(name)), None)
    try:
        return actor or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "someone"
