"""The template's repository: its releases, and its files at one of them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import git
from .errors import RefusedError

PEELED = "^{commit}"
RELEASE = re.compile(r"v?(\d+(?:\.\d+)*)")


def newest(tags: list[str]) -> str | None:
    """Return the tag of the highest release; what has a suffix, as 1.0rc1, is none."""
    releases = {tag: found for tag in tags if (found := RELEASE.fullmatch(tag))}
    return max(
        releases,
        key=lambda tag: [int(number) for number in releases[tag][1].split(".")],
        default=None,
    )


def newest_of(url: str, cwd: Path) -> tuple[str, str] | None:
    """Ask a repository for its newest release; return tag and commit.

    Raises
    ------
    RefusedError
        If the repository does not answer.
    """
    asked = git.run("ls-remote", "--tags", url, cwd=cwd)
    if asked.returncode:
        raise RefusedError(unreachable(url, asked.stderr))
    lines = (line.split("\t") for line in asked.stdout.decode().splitlines())
    commits = {name.removeprefix("refs/tags/"): commit for commit, name in lines}
    tag = newest(list(commits))
    return (tag, commits.get(tag + "^{}", commits[tag])) if tag else None


def unreachable(url: str, said: bytes) -> str:
    """Return what to say of a repository that does not answer."""
    return (
        f"the template's repository {url} could not be read:\n"
        f"{said.decode(errors='replace').strip()}\n"
        "Is the network there, and may you read that repository (git ls-remote)?"
    )


@dataclass(frozen=True)
class Template:
    """A copy of the template's repository, with all its history."""

    url: str
    folder: Path

    @classmethod
    def clone(cls, url: str, folder: Path) -> "Template":
        """Copy a repository.

        Raises
        ------
        RefusedError
            If it cannot be read.
        """
        folder.mkdir(parents=True)
        cloned = git.run("clone", "--quiet", "--bare", "--", url, folder / "git", cwd=folder)
        if cloned.returncode:
            raise RefusedError(unreachable(url, cloned.stderr))
        return cls(url, folder)

    def run(self, *arguments: str | Path) -> str | None:
        """Run git in the copy; return what it printed, None if it failed."""
        process = git.run(f"--git-dir={self.folder / 'git'}", *arguments, cwd=self.folder)
        return None if process.returncode else os.fsdecode(process.stdout).strip()

    @property
    def tags(self) -> list[str]:
        """Names of all tags."""
        return (self.run("tag", "--list") or "").splitlines()

    def find(self, name: str) -> str:
        """Return the commit of a tag, a branch or a commit's name.

        Raises
        ------
        RefusedError
            If there is no such thing.
        """
        for reference in (f"refs/tags/{name}", f"refs/heads/{name}", name):
            commit = self.run("rev-parse", "--verify", "--quiet", reference + PEELED)
            if commit:
                return commit
        known = ", ".join(self.tags[-8:]) or "none"
        message = f"the template has no tag, branch or commit {name} (tags: {known})"
        raise RefusedError(message)

    def require(self, commit: str) -> None:
        """Make sure that the commit a project was rendered from is there.

        Raises
        ------
        RefusedError
            If the repository does not have it any more.
        """
        probe = ("cat-file", "-e", commit + PEELED)
        if self.run(*probe) is not None:
            return
        self.run("fetch", "--quiet", self.url, commit)
        if self.run(*probe) is None:
            message = (
                f"the commit {commit} that this project was rendered from is not in {self.url}.\n"
                "Was the template's history rewritten, or is `template` in .cruft.json another "
                "repository? Mend .cruft.json: the commit of the release you began with."
            )
            raise RefusedError(message)

    def contains(self, commit: str, older: str) -> bool:
        """Say whether one commit was made on top of another."""
        return self.run("merge-base", "--is-ancestor", older, commit) is not None

    def checkout(self, commit: str, name: str, directory: str | None) -> Path:
        """Write the files of a commit and return the folder that holds the template."""
        target = self.folder / name
        target.mkdir()
        index = {"GIT_INDEX_FILE": str(self.folder / f"{name}.index")}
        plain = ("-c", "core.autocrlf=false", "-c", "core.eol=lf")
        places = (f"--git-dir={self.folder / 'git'}", f"--work-tree={target}")
        checkout = ("checkout", "--quiet", "--force", commit, "--", ".")
        git.must(*plain, *places, *checkout, cwd=self.folder, settings=index)
        return target / directory if directory else target
