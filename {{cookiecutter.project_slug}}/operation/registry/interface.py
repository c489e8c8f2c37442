"""What the verbs ask of a registry, whichever service keeps it."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from {{ cookiecutter.package_name }}.scoring.digest import digest as digest_of

from operation.errors import OperationError, RefusedError

__all__ = ["Lock", "LockedError", "RefusedError", "Registry", "Version"]

_SHORTEST = 6  # characters of a digest that name a version


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
        """Say where the models are kept."""

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
        """Set tags of a version, those of the same name anew."""

    @abstractmethod
    def make_champion(self, version: Version, how: str) -> None:
        """Let a version be the champion and no other, and record since when and how."""

    @abstractmethod
    def locked(self, doing: str) -> AbstractContextManager["Lock"]:
        """Keep all other changes by verbs away while this one is made.

        Raises
        ------
        LockedError
            If somebody else is changing this registry.
        """

    @abstractmethod
    def clear_lock(self) -> str | None:
        """Take away a lock that was left behind; say whose it was, None if there is none."""

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
            f"python -m operation.execution champion --env {self.env} --history"
        )

    def fetch(self, version: Version, target: Path) -> Path:
        """Bring the files of a version into a folder, which is then whole and as registered.

        Raises
        ------
        OperationError
            If the files cannot be had, or are not those that were registered.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix="part-") as part:
            folder = Path(part) / "model"
            self._download(version, folder)
            found = digest_of(folder)
            if found != version.digest:
                raise OperationError(
                    f"{version} of {self.place} is not what was registered: its files have the "
                    f"digest {found[:12]}. Somebody has changed them; register the model again."
                )
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
        return target


class Lock(ABC):
    """A registry that nobody else may change."""

    @abstractmethod
    def check(self) -> None:
        """Refuse to go on if somebody has cleared the lock.

        Raises
        ------
        LockedError
            If it is not ours any more.
        """


class LockedError(OperationError):
    """Somebody else is changing the registry: the message says who and what to do."""
