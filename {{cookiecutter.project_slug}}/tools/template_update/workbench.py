"""A place for git to work that is none of the user's: renders become trees, trees are compared."""

import os
import subprocess
from pathlib import Path

from .git import Entries, Repository, index_lines, must, parse_entries, run, words


class Workbench:
    """A git directory of its own: no index, no work tree and no settings of the project's.

    What it makes is stored with the project's objects, where nothing refers to it.
    """

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.folder = folder
        self.repository = repository
        self.indexes = 0
        self.trees: dict[bytes, str] = {}
        self.renamed: dict[tuple[str, str], dict[str, str]] = {}
        self.settings = {
            "GIT_DIR": str(folder),
            "GIT_OBJECT_DIRECTORY": str(repository.objects),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
        }
        for role in ("AUTHOR", "COMMITTER"):
            self.settings |= {
                f"GIT_{role}_NAME": "template",
                f"GIT_{role}_EMAIL": "template@localhost",
                f"GIT_{role}_DATE": "2000-01-01T00:00:00Z",
            }
        folder.mkdir(parents=True)
        options = ("--quiet", "--bare", "--template=", f"--object-format={repository.hashes}")
        must("init", *options, folder, cwd=folder)

    def run(self, *arguments: str | Path, **options: str) -> subprocess.CompletedProcess[bytes]:
        """Run git here, with more variables, whatever its exit status."""
        plain = ("-c", f"core.attributesFile={os.devnull}", "-c", "core.autocrlf=false")
        return run(*plain, *arguments, cwd=self.folder, settings=self.settings | options)

    def must(self, *arguments: str | Path, stdin: bytes | None = None, **options: str) -> bytes:
        """Run git here, with more variables."""
        plain = ("-c", f"core.attributesFile={os.devnull}", "-c", "core.autocrlf=false")
        settings = self.settings | options
        return must(*plain, *arguments, cwd=self.folder, stdin=stdin, settings=settings)

    def new_index(self) -> dict[str, str]:
        """Return the variable that names an index nothing else uses."""
        self.indexes += 1
        return {"GIT_INDEX_FILE": str(self.folder / f"index-{self.indexes}")}

    def store_folder(self, folder: Path) -> Entries:
        """Store the files of a folder, and their tree, as `git add` in that folder would."""
        index = self.new_index()
        place = index | {"GIT_WORK_TREE": str(folder)}
        self.must("add", "--all", "--force", ".", **place)
        entries = parse_entries(self.must("ls-files", "--stage", "-z", **index))
        self.trees[listing(entries)] = self.must("write-tree", **index).decode().strip()
        return entries

    def store_blob(self, content: bytes) -> str:
        """Store some bytes and return their name."""
        return self.must("hash-object", "-w", "--stdin", stdin=content).decode().strip()

    def store_tree(self, entries: Entries) -> str:
        """Store a tree of these files and return its name."""
        lines = listing(entries)
        if lines not in self.trees:
            index = self.new_index()
            self.must("update-index", "-z", "--index-info", stdin=lines, **index)
            self.trees[lines] = self.must("write-tree", **index).decode().strip()
        return self.trees[lines]

    def export(self, entries: Entries, folder: Path) -> None:
        """Write files into a new folder."""
        folder.mkdir(parents=True)
        place = self.new_index() | {"GIT_WORK_TREE": str(folder)}
        self.must("update-index", "-z", "--index-info", stdin=index_lines(entries), **place)
        self.must("checkout-index", "--all", "--force", f"--prefix={folder}/", **place)

    def commit(self, tree: str, *parents: str) -> str:
        """Store a commit that nothing refers to."""
        options = [word for parent in parents for word in ("-p", parent)]
        return self.must("commit-tree", tree, *options, "-m", "update").decode().strip()

    def renames(self, before: str, after: str) -> dict[str, str]:
        """Return which files of one tree have another name in the other, as git sees it."""
        if (before, after) not in self.renamed:
            options = ("-r", "-z", "--find-renames", "-l0", "--diff-filter=R", "--name-status")
            parts = words(self.must("diff-tree", *options, before, after))
            self.renamed[before, after] = dict(zip(parts[1::3], parts[2::3], strict=True))
        return self.renamed[before, after]


def listing(entries: Entries) -> bytes:
    """Return what tells these files from others."""
    return index_lines(dict(sorted(entries.items())))
