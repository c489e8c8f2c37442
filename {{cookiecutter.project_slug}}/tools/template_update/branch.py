"""Push an update to a branch of its own, without a branch or a work tree for it here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import RefusedError
from .git import must, run
from .hosting import Host

MARK = "Template-Update-Tree"
"""Trailer of our commits: another tree under it means that somebody has amended one."""
NOBODY = {"NAME": "template-update", "EMAIL": "template-update@localhost"}


@dataclass(frozen=True)
class Update:
    """An update that is staged."""

    name: str
    report: str
    conflicts: bool
    tree: str
    """What is staged, as git names it."""

    @property
    def branch(self) -> str:
        """Where it is pushed to."""
        return f"template-update/{self.name}"

    @property
    def title(self) -> str:
        """What it is called."""
        return f"Update the template to {self.name}"

    @property
    def mark(self) -> str:
        """The line by which its commit and its pull request are known."""
        return f"{MARK}: {self.tree}"


def push(root: Path, host: Host, found: Update, say: Callable[[str], None]) -> bool:
    """Push what is staged to the branch of the update; False if that is somebody else's by now."""
    tree, settings = found.tree, host.settings()
    reference = f"refs/heads/{found.branch}"
    listed = must("ls-remote", "origin", reference, cwd=root, settings=settings).decode().split()
    there = listed[0] if listed else ""
    if there:
        must("fetch", "--quiet", "--no-tags", "origin", reference, cwd=root, settings=settings)
        message = must("log", "-1", "--format=%T%n%B", there, cwd=root).decode()
        tree_there, _, body = message.partition("\n")
        if f"{MARK}: {tree_there}" not in body.splitlines():
            say(f"somebody has worked on {found.branch} of origin: it is left to them")
            return False
        if tree_there == tree:
            say(f"{found.branch} of origin holds this update already")
            return True
    message = f"{found.title}\n\n{found.report}\n\n{found.mark}\n"
    commit = must(
        *("commit-tree", tree, "-p", "HEAD"),
        cwd=root,
        stdin=message.encode(),
        settings=identity(root),
    )
    # only what was looked at is replaced
    lease = f"--force-with-lease={reference}:{there}"
    target = f"{commit.decode().strip()}:{reference}"
    pushed = run("push", "--quiet", lease, "origin", target, cwd=root, settings=settings)
    if pushed.returncode:
        raise RefusedError(not_pushed(found, pushed.stderr.decode(errors="replace").strip()))
    say(f"pushed {found.branch}")
    return True


def not_pushed(found: Update, said: str) -> str:
    """Say why, and what to do."""
    message = f"{found.branch} could not be pushed to origin: {said}"
    if "workflow" in said:
        message += (
            "\nThe update changes files in .github/workflows, which GITHUB_TOKEN may never: give "
            "the step, as GH_TOKEN, the token of an app or a person that may write workflows."
        )
    return message


def identity(root: Path) -> dict[str, str]:
    """Return the variables that name an author, where git knows none."""
    settings = {}
    for role in ("AUTHOR", "COMMITTER"):
        known = run("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT", cwd=root)
        if known.returncode:
            settings |= {f"GIT_{role}_{key}": value for key, value in NOBODY.items()}
    return settings
