"""The snapshot of a code folder: exactly the files that Azure ML's client would upload."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from kedro_azure_mlops.errors import OperationError

_FILES = (".amlignore", ".gitignore")
# Azure ML adds this to every ignore file.
_ALWAYS = "__pycache__"
# Patterns that git and Azure ML read differently: [^a], an open [ (below), and a lone !/ or /**/
_AMBIGUOUS = re.compile(r"(?<!\\)\[\^|^!?/(\*\*/)+$|^!/$")


@dataclass(frozen=True)
class Rule:
    """A line of an ignore file: the paths it matches, and whether it excludes or includes them."""

    text: str
    pattern: GitIgnoreSpecPattern

    @property
    def brings_back(self) -> bool:
        """True if it begins with ``!``."""
        return self.pattern.include is False

    def is_about(self, path: str) -> bool:
        """Return whether the pattern matches a path or one of its parent folders."""
        return self.pattern.match_file(path) is not None

    def may_be_about_something_in(self, folder: str) -> bool:
        """Return False only if no path below a folder can match."""
        text = self.text.removeprefix("!")
        if "/" not in text.rstrip("/") or "[" in text:
            return True
        segments, parts = text.strip("/").split("/"), folder.split("/")
        fixed = segments.index("**") if "**" in segments else len(segments)
        depth = min(fixed, len(parts))
        if depth == 0:
            return True
        prefix = GitIgnoreSpecPattern("/" + "/".join(segments[:depth]))
        return prefix.match_file("/".join(parts[:depth])) is not None


class Rules:
    """All rules of a folder; the last rule that matches a path decides.

    Raises
    ------
    OperationError
        If a line is not a pattern, or one that git and Azure ML understand differently.
    """

    def __init__(self, root: Path) -> None:
        file = rules_file(root)
        lines = file.read_text(encoding="utf-8-sig").splitlines() if file else []
        rules = [_rule(file, number, line) for number, line in enumerate([*lines, _ALWAYS], 1)]
        self._rules = [rule for rule in rules if rule is not None]

    def leave_out(self, path: str) -> bool:
        """Return whether a file is left out; its path is relative to the folder of the rules."""
        about = (not rule.brings_back for rule in reversed(self._rules) if rule.is_about(path))
        return next(about, False)

    def leave_out_all_of(self, folder: str) -> bool:
        """Return whether everything below a folder is left out, so that it need not be searched."""
        for rule in reversed(self._rules):
            if rule.brings_back:
                if rule.may_be_about_something_in(folder):
                    return False
            # a rule that matches the folder applies to everything in it
            elif rule.is_about(f"{folder}/") and rule.is_about(f"{folder}/\x01"):
                return True
        return False


def _rule(file: Path | None, number: int, line: str) -> Rule | None:
    text = line.strip()
    if not text or text.startswith("#") or text == "/":
        return None
    try:
        pattern = GitIgnoreSpecPattern(text)
    except GitIgnorePatternError:
        pattern = None
    if pattern is None or pattern.include is None or _AMBIGUOUS.search(text):
        raise OperationError(
            f"{file.name if file else ''} line {number}: {text!r} is not a pattern that git and "
            "Azure ML read in the same way: rewrite it."
        )
    return Rule(text, pattern)


def rules_file(root: Path) -> Path | None:
    """Return the file with the rules of a folder; None if there is none."""
    return next((root / name for name in _FILES if (root / name).exists()), None)


def files_to_upload(root: Path) -> list[Path]:
    """List the files, relative to the folder and sorted; linked files are listed by link name.

    As in Azure ML, empty folders are omitted, rules apply to the real path of a linked folder, and
    only the folder's own ``.amlignore`` counts, or its ``.gitignore`` if there is none. Folders
    that are left out as a whole are not searched.

    Raises
    ------
    OperationError
        If a rule cannot be read, or a link points to a folder that contains the link.
    """
    root = root.resolve()
    return sorted(_files(root, root, Rules(root)), key=Path.as_posix)


def files_left_out(root: Path, files: Iterable[Path]) -> list[Path]:
    """Return those of some files, relative to the folder, that ``files_to_upload`` omits.

    Raises
    ------
    OperationError
        If a rule cannot be read.
    """
    rules, root = Rules(root), root.resolve()
    folders = {file: (root / file.parent).resolve() for file in files}  # see ``_files``
    return [file for file in folders if rules.leave_out(_relative(folders[file] / file.name, root))]


def refuse_links_that_leave(root: Path, files: Iterable[Path]) -> None:
    """Refuse files that Azure ML would upload from outside the folder.

    Raises
    ------
    OperationError
        If a file is reached through a link that points out of the folder, or to nothing.
    """
    root = root.resolve()
    for file in files:
        if _is_inside(root, file) and (root / file).exists():
            continue
        prefixes = [file, *file.parents][-2::-1]
        links = [path for path in prefixes if (root / path).is_symlink()]
        link = next((path for path in links if not _is_inside(root, path)), links[-1])
        destination = "out of the project" if (root / file).exists() else "to nothing"
        raise OperationError(
            f"{link.as_posix()} is a link that points {destination}: {(root / link).readlink()}. "
            "Azure ML would upload the target. Copy it into the project, or remove the link."
        )


def copy_snapshot(root: Path, target: Path) -> Path:
    """Copy the files to a folder, creating it if necessary, and return it.

    Raises
    ------
    OperationError
        If there are none, or a link points out of the folder.
    """
    files = files_to_upload(root)
    refuse_links_that_leave(root, files)
    if not files:
        raise OperationError(f"Nothing in {root} would be uploaded: check its .amlignore.")
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, target / file)  # blobs have no permissions
    return target


def snapshot_digest(root: Path) -> str:
    """Return the SHA-256 of the names and bytes of the files."""
    return digest_of_files(root, files_to_upload(root))


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of the names and bytes of all files in a folder."""
    if path.is_file():
        return _sha256(path).hexdigest()
    files = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    return digest_of_files(path, sorted(files, key=Path.as_posix))


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 of the names and bytes of files."""
    hasher = hashlib.sha256()
    for file in files:
        # names contain no zero byte and digests have a fixed length, so this encoding is unique
        hasher.update(file.as_posix().encode() + b"\0" + _sha256(root / file).digest())
    return hasher.hexdigest()


def _sha256(path: Path) -> "hashlib._Hash":
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _files(root: Path, folder: Path, rules: Rules) -> Iterator[Path]:
    """Yield the files in a folder by their visible paths, which may lead through links."""
    # Azure ML resolves a folder, but not a file, before it looks at the rules.
    real = folder.resolve()
    for path in folder.iterdir():
        if not path.is_dir():
            if not rules.leave_out(_relative(real / path.name, root)):
                yield path.relative_to(root)
            continue
        inner = path.resolve()
        if real.is_relative_to(inner):
            raise OperationError(
                f"{path.relative_to(root).as_posix()} is a link to a folder that contains it, so "
                "Azure ML would search it endlessly: remove the link."
            )
        if not rules.leave_out_all_of(_relative(inner, root)):
            yield from _files(root, path, rules)


def _is_inside(root: Path, file: Path) -> bool:
    return Path(os.path.realpath(root / file)).is_relative_to(root)


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()
