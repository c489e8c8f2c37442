"""Find the shell scripts in the YAML of Azure Pipelines and GitHub Actions, and where they stand.

The providers replace their expressions before a shell sees the script. An expression is checked as
a word of the same length: a variable, or plain letters within single quotes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

# GitHub and Azure at compile time, and Azure's variables at run time: $(Build.SourceBranch)
GITHUB = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
AZURE = re.compile(r"\$\{\{.*?\}\}|\$\([A-Za-z_][\w.-]*\)", re.DOTALL)

# How the runners start them: GitHub stops at the first failure, Azure does not.
GITHUB_SHELLS = {"": "bash -e", "bash": "bash -e", "sh": "sh -e"}
OTHER = "no shell of ours"

QUOTES = re.compile(r"\\.|(?P<comment>(?:^|(?<=[\s;]))#[^\n]*)|['\"]|\n", re.DOTALL)


@dataclass(frozen=True)
class Script:
    """A script, the shell that runs it, and where its characters stand in the file."""

    shell: str
    text: str
    places: tuple[tuple[int, int], ...]

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Return line and column in the file of those in the script; all counted from one."""
        lines = self.text.split("\n")
        before = sum(len(text) + 1 for text in lines[: line - 1])
        wanted = min(before + column - 1, len(self.places) - 1)
        return self.places[max(wanted, 0)]


def scripts_in(source: str) -> Iterator[Script]:
    """Yield the shell scripts of a YAML file; those of PowerShell and Python are left alone."""
    for document in yaml.compose_all(source, Loader=yaml.SafeLoader):
        yield from _scripts_below(document, source, "")


def _scripts_below(node: Node | None, source: str, shell: str) -> Iterator[Script]:
    if isinstance(node, SequenceNode):
        for part in node.value:
            yield from _scripts_below(part, source, shell)
    if not isinstance(node, MappingNode):
        return
    fields = {key.value: value for key, value in node.value if isinstance(key, ScalarNode)}
    shell = _default_shell(fields, shell)
    for key, value in fields.items():
        if isinstance(value, ScalarNode):
            started = _shell(key, fields, shell)
            if started and value.value.strip():
                yield _script(value, source, started, GITHUB if key == "run" else AZURE)
        elif key == "inputs" and "task" in fields:
            yield from _scripts_below(value, source, _shell_of_task(fields, shell))
        else:
            yield from _scripts_below(value, source, shell)


def _text(node: Node | None) -> str:
    return node.value if isinstance(node, ScalarNode) else ""


def _fields(node: Node | None) -> dict[str, Node]:
    return {_text(key): value for key, value in node.value} if isinstance(node, MappingNode) else {}


def _default_shell(fields: dict[str, Node], shell: str) -> str:
    """Return the shell of a workflow or a job that names one, or whose machine is Windows."""
    named = _text(_fields(_fields(fields.get("defaults")).get("run")).get("shell"))
    if image := _text(_fields(fields.get("pool")).get("vmImage")):
        return OTHER if image.lower().startswith("win") else ""
    if _text(fields.get("runs-on")).lower().startswith("win"):
        return named or OTHER
    return named or shell


def _shell(key: str, fields: dict[str, Node], shell: str) -> str:
    """Return how the script of this key is started, nothing if it is no script for a shell."""
    if key == "run":
        name = _text(fields.get("shell")) or shell
        # bash -euo pipefail {0} and the like
        return GITHUB_SHELLS.get(name.split(" ")[0], "")
    if key == "bash":
        return "bash"
    if key in ("script", "inlineScript"):
        return "bash" if shell in ("", "bash") else ""
    return ""


def _shell_of_task(fields: dict[str, Node], shell: str) -> str:
    """Return the shell that a task of Azure Pipelines starts."""
    task = _text(fields.get("task")).split("@")[0].lower()
    if task == "azurecli":
        return "bash" if _text(_fields(fields.get("inputs")).get("scriptType")) == "bash" else OTHER
    return {"bash": "bash", "cmdline": shell, "shellscript": "bash"}.get(task, OTHER)


def _script(node: ScalarNode, source: str, shell: str, pattern: re.Pattern[str]) -> Script:
    places = tuple(_places(node, source))
    return Script(shell, _without_expressions(node.value, pattern), places)


def _without_expressions(text: str, pattern: re.Pattern[str]) -> str:
    def word(match: re.Match[str]) -> str:
        letters = "X" * len(match[0])
        return letters if _quoted(text[: match.start()]) else "${" + letters[3:] + "}"

    return pattern.sub(word, text)


def _quoted(before: str) -> bool:
    """Say whether a text ends within single quotes."""
    within = ""
    for mark in QUOTES.finditer(before):
        if within == "'":
            within = "" if mark[0] == "'" else within
        elif within:
            within = "" if mark[0] == within else within
        elif mark[0] in ("'", '"'):
            within = mark[0]
    return within == "'"


def _places(node: ScalarNode, source: str) -> Iterator[tuple[int, int]]:
    """Yield line and column of each character of a scalar, as it stands in the file.

    What a file holds and its value does not is indentation, quotes and backslashes: the next place
    where the character stands is its own.
    """
    at = node.start_mark.index
    if node.style in ("|", ">"):
        at = source.index("\n", at) + 1
    elif node.style:
        at += 1
    for character in node.value:
        if not character.isspace():
            at = max(source.find(character, at, node.end_mark.index), at)
        line = source.count("\n", 0, at)
        yield line + 1, at - source.rfind("\n", 0, at)
        at += source.startswith(character, at)
