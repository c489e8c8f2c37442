"""Cut the serving lock down to the packages that a device or a plain container installs."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from kedro_azure_mlops.errors import OperationError

LOCK = Path("requirements/serve.txt")
PLAIN = ("gunicorn", "prometheus-client")
"""Packages that the plain application needs in addition to the model's."""
SCORER = ("numpy",)
"""Packages that every scorer needs."""
STORED = ("numpy", "pandas", "scikit-learn", "skops")
"""Packages that a stored model needs if the project names no scorer."""


def lock_of(root: Path, imported: Iterable[str], more: Iterable[str] = ()) -> str:
    """Return the part of a project's serving lock that scoring needs, with its dependencies.

    Imported packages that are not locked are left out: not everything imported is needed.

    Parameters
    ----------
    imported
        Names of imported distributions.
    more
        Names of distributions that must be in the lock.

    Raises
    ------
    OperationError
        If there is no lock, or it lacks one of ``more``.
    """
    try:
        pins = _pins((root / LOCK).read_text(encoding="utf-8"))
    except OSError as error:
        raise OperationError(
            f"{LOCK.as_posix()} cannot be read ({error.strerror}): it locks the packages for "
            "serving, with hashes, as `uv pip compile --universal --generate-hashes` writes it"
        ) from error
    if missing := sorted({canonicalize_name(name) for name in more} - set(pins)):
        raise OperationError(
            f"{LOCK.as_posix()} does not name {', '.join(missing)}: add it to "
            f"{LOCK.with_suffix('.in').as_posix()} and lock again"
        )
    wanted: set[str] = set()
    left = [canonicalize_name(name) for name in (*imported, *more)]
    while left:
        name = left.pop()
        if name in pins and name not in wanted:
            wanted.add(name)
            left += _needed(name)
    return "".join(pins[name] for name in sorted(wanted))


def names_of(lock: str) -> set[str]:
    """Return the names of the distributions in a lock."""
    return set(_pins(lock))


def _pins(lock: str) -> dict[str, str]:
    return {
        canonicalize_name(re.split(r"[=\s;\[]", pin, maxsplit=1)[0]): pin
        for pin in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
        if re.match("[A-Za-z0-9]", pin)
    }


def _needed(name: str) -> list[NormalizedName]:
    """Return the dependencies of a distribution; none if it is not installed here."""
    try:
        requirements = [Requirement(text) for text in requires(name) or ()]
    except PackageNotFoundError:
        return []
    return [
        canonicalize_name(one.name)
        for one in requirements
        if one.marker is None or one.marker.evaluate({"extra": ""})
    ]
