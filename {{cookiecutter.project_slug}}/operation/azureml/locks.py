"""The lock files of ``requirements/``, as pip reads them."""

from pathlib import Path


def requirements(*files: Path) -> list[str]:
    """List the pins of locks with their hashes, each once and on one line."""
    texts = [file.read_text(encoding="utf-8") for file in files]
    joined = "\n".join(texts).replace("\\\n", " ")
    lines = (" ".join(line.split()) for line in joined.splitlines())
    return sorted({line for line in lines if line and not line.startswith("#")})


def pins(file: Path) -> dict[str, str]:
    """Return the packages that a lock names for this machine, and their versions."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (Requirement(line.split(" --hash=")[0]) for line in requirements(file))
    return {
        canonicalize_name(line.name): next(iter(line.specifier)).version
        for line in lines
        if line.marker is None or line.marker.evaluate()
    }
