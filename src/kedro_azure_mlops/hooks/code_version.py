"""Find the git commit of a run's code."""

import subprocess
from pathlib import Path


def code_version(root: Path) -> dict[str, str]:
    """Return the git commit of a folder and whether its files differ; empty without git."""
    # A local job runs in an ignored copy inside the project, to which the commit does not apply.
    if ask_git(root, "check-ignore", ".") is not None:
        return {}
    commit = ask_git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    dirty = bool(ask_git(root, "status", "--porcelain", "--", "."))
    return {"git.commit": commit, "git.dirty": str(dirty).lower()}


def ask_git(root: Path, *arguments: str) -> str | None:
    """Return git's answer about a folder; None if it fails or is not installed."""
    try:
        process = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stdout.strip()
