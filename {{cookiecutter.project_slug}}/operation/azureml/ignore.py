"""The rules of ``.amlignore`` (without it ``.gitignore``), read as Azure ML reads them."""

import re
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from operation.errors import OperationError

_FILES = (".amlignore", ".gitignore")
# Azure ML adds this to every file of rules.
_ALWAYS = "__pycache__"
# What git and Azure ML understand differently: [^a], an open [ (below), and a lone !/ or /**/
_TWO_MEANINGS = re.compile(r"(?<!\\)\[\^|^!?/(\*\*/)+$|^!/$")


@dataclass(frozen=True)
class Rule:
    """One line: which paths it is about, and whether they are left out or brought back."""

    text: str
    pattern: GitIgnoreSpecPattern

    @property
    def brings_back(self) -> bool:
        """Whether it begins with ``!``."""
        return self.pattern.include is False

    def is_about(self, path: str) -> bool:
        """Say whether a path is meant, by itself or because of a folder above it."""
        return self.pattern.match_file(path) is not None

    def may_be_about_something_in(self, folder: str) -> bool:
        """Say no only if no path below a folder can be meant."""
        text = self.text.removeprefix("!")
        if "/" not in text.rstrip("/") or "[" in text:
            return True
        segments, parts = text.strip("/").split("/"), folder.split("/")
        depth = min(len(segments), len(parts))
        if "**" in segments[:depth]:
            return True
        begin = GitIgnoreSpecPattern("/" + "/".join(segments[:depth]))
        return begin.match_file("/".join(parts[:depth])) is not None


class Rules:
    """All rules of a folder; the last one that is about a path decides.

    Raises
    ------
    OperationError
        If a line is no pattern, or one that git and Azure ML understand differently.
    """

    def __init__(self, root: Path) -> None:
        file = next((root / name for name in _FILES if (root / name).exists()), None)
        lines = file.read_text(encoding="utf-8-sig").splitlines() if file else []
        rules = [_rule(file, number, line) for number, line in enumerate([*lines, _ALWAYS], 1)]
        self._rules = [rule for rule in rules if rule is not None]

    def leave_out(self, path: str) -> bool:
        """Say whether a file is left out; its path is relative to the folder of the rules."""
        about = (not rule.brings_back for rule in reversed(self._rules) if rule.is_about(path))
        return next(about, False)

    def leave_out_all_of(self, folder: str) -> bool:
        """Say whether everything below a folder is left out, so that nobody needs to look."""
        for rule in reversed(self._rules):
            if rule.brings_back:
                if rule.may_be_about_something_in(folder):
                    return False
            # a rule that ends with this folder is about all that is in it
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
    if pattern is None or pattern.include is None or _TWO_MEANINGS.search(text):
        raise OperationError(
            f"{file.name if file else ''} line {number}: git and Azure ML do not both understand "
            f"{text!r}: write it in another way."
        )
    return Rule(text, pattern)
