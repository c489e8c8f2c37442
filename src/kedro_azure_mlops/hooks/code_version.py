"""Which commit the code of a run is."""

import subprocess
from pathlib import Path


def code_version(root: Path) -> dict[str, str]:
    """Name the git commit of a folder and whether its files differ from it; empty without git."""
    # The copy that a job runs from lies below the project, and is not what is committed there.
    if ask_git(root, "check-ignore", ".") is not None:
        return {}
    commit = ask_git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    dirty = bool(ask_git(root, "status", "--porcelain", "--", "."))
    return {"git.commit": commit, "git.dirty": str(dirty).lower()}


def ask_git(root: Path, *arguments: str) -> str | None:
    """Return what git answers about a folder; None if it refuses or is not there."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
