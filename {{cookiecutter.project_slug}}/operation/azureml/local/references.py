"""References of a job file, such as inputs and outputs in a command, and what they stand for."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operation.errors import OperationError

_REFERENCE = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
# what is quoted in a command, from its quote to the next one
_QUOTED = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)


@dataclass(frozen=True)
class Value:
    """A literal."""

    text: str


@dataclass(frozen=True)
class Data:
    """A file or folder, as the job file names it."""

    path: str


@dataclass(frozen=True)
class FromJob:
    """An input of the job."""

    name: str


@dataclass(frozen=True)
class FromStep:
    """An output of another step."""

    step: str
    port: str


Source = Value | Data | FromJob | FromStep


def source_of(where: str, raw: Any) -> Source:
    """Read what an input is given.

    Raises
    ------
    OperationError
        If that is nothing, or a reference to something that no input can be.
    """
    text = raw.get("path") if isinstance(raw, Mapping) else raw
    if text is None:
        raise OperationError(f"{where} has neither a value nor a path.")
    match (_only_reference(text) or "").split("."):
        case ["parent", "inputs", name]:
            return FromJob(name)
        case ["parent", "jobs", step, "outputs", port]:
            return FromStep(step, port)
    if references_in(str(text)):
        raise OperationError(
            f"{where} is {text}: that is no input of the job and no step's output."
        )
    return Data(str(text)) if isinstance(raw, Mapping) else Value(str(text))


def job_output_of(output: Any) -> str | None:
    """Name the output of the job that an output of a step is; None if it is none."""
    text = output.get("path") if isinstance(output, Mapping) else output
    found = _only_reference(text)
    return found.removeprefix("parent.outputs.") if found else None


def references_in(text: str) -> list[str]:
    """Name what a text refers to."""
    return _REFERENCE.findall(text)


def fill_in(command: str, values: Mapping[str, str | Path]) -> str:
    """Put values in the place of references: text as it is, as Azure ML does; paths quoted."""

    def value(match: re.Match[str]) -> str:
        found = values[match[1]]
        return found if isinstance(found, str) else _quoted(command[: match.start()], str(found))

    return _REFERENCE.sub(value, command)


def _only_reference(text: Any) -> str | None:
    found = _REFERENCE.fullmatch(str(text).strip())
    return found[1] if found else None


def _quoted(before: str, path: str) -> str:
    """Quote a path for the place where it stands: within quotes or outside of them."""
    open_quote = re.search("[\"']", _QUOTED.sub("", before))
    if open_quote is None:
        return shlex.quote(path)
    if open_quote[0] == "'":
        return path.replace("'", "'\\''")
    return re.sub(r'(["$`\\])', r"\\\1", path)
