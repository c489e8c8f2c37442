"""Which commit the code of a run is."""

import subprocess
from pathlib import Path


def code_version(root: Path) -> dict[str, str]:
    """Name the git commit of a folder and whether its files differ from it; empty without git."""
    # The copy that a job runs from lies below the project, and is not what is committed there.
    if _git(root, "check-ignore", ".") is not None:
        return {}
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    dirty = bool(_git(root, "status", "--porcelain", "--", "."))
    return {"git.commit": commit, "git.dirty": str(dirty).lower()}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
