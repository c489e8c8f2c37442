"""What the hashed locks pin: name, version and a hash of every package, whatever its marker."""

from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from operation.azureml.locks import requirements


@dataclass(frozen=True)
class Pin:
    """A pinned package, and one of its hashes."""

    name: str
    version: str
    hash: str


def pins(lock: Path) -> list[Pin]:
    """Read the pins of a lock, each release once and also those for other machines.

    Raises
    ------
    ValueError
        If a line pins no version or has no hash.
    """
    return list(dict.fromkeys(_pin(line) for line in requirements(lock)))


def _pin(line: str) -> Pin:
    named, *hashes = line.split(" --hash=")
    requirement = Requirement(named)
    versions = [one.version for one in requirement.specifier if one.operator == "=="]
    if len(versions) != 1 or not hashes:
        raise ValueError(f"a lock pins versions with hashes, this line does not: {named}")
    return Pin(canonicalize_name(requirement.name), versions[0], hashes[0].split()[0])
