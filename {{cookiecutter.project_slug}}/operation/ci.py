"""What a verb hands to the later steps of a CI run: job, version, whether traffic moved.

Azure Pipelines reads output variables from the log, GitHub from the file of ``GITHUB_OUTPUT``.
Elsewhere nothing is handed on. A value that is told twice counts as it was told last.
"""

import os
import sys
from pathlib import Path

from operation.errors import OperationError

# as the agent of Azure Pipelines reads them back; the percent sign first, it begins the others
_ESCAPES = {"%": "%AZP25", "\r": "%0D", "\n": "%0A", ";": "%3B", "]": "%5D"}
_DELIMITER = "END_OF_VALUE"


def in_ci() -> bool:
    """Say whether nobody sits at this verb: it is a step of a CI run."""
    return _in_azure_pipelines() or any(
        os.environ.get(name, "").lower() in {"true", "1"} for name in ("GITHUB_ACTIONS", "CI")
    )


def tell(**values: str | bool) -> None:
    """Hand values to the later steps of this CI run; elsewhere do nothing.

    Raises
    ------
    OperationError
        If the file that GitHub names cannot be written.
    """
    texts = {name: _text(value) for name, value in values.items()}
    if _in_azure_pipelines():
        for name, text in texts.items():
            command = f"##vso[task.setvariable variable={name};isOutput=true]"
            sys.stdout.write(f"{command}{_escaped(text)}\n")
        sys.stdout.flush()
    if file := os.environ.get("GITHUB_OUTPUT"):
        _append(Path(file), "".join(_entry(name, text) for name, text in texts.items()))


def disarmed(text: str) -> str:
    """Take the force from what Azure Pipelines or GitHub would obey, in text that is not ours.

    GitHub obeys ``::`` too, but only where a line begins with it.
    """
    return text.replace("##vso[", "##-vso[").replace("##[", "##-[")


def _in_azure_pipelines() -> bool:
    return bool(os.environ.get("TF_BUILD"))


def _text(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _escaped(text: str) -> str:
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _entry(name: str, text: str) -> str:
    """Write a value as GitHub reads it; one of several lines ends where its delimiter stands."""
    if not {"\r", "\n"}.intersection(text):
        return f"{name}={text}\n"
    delimiter = _DELIMITER
    while delimiter in text:
        delimiter += "_"
    return f"{name}<<{delimiter}\n{text}\n{delimiter}\n"


def _append(file: Path, text: str) -> None:
    try:
        with file.open("a", encoding="utf-8", newline="") as output:
            output.write(text)
    except OSError as error:
        raise OperationError(
            f"GITHUB_OUTPUT names a file that cannot be written: {error}. Unset it outside of "
            "GitHub Actions."
        ) from error
