"""Commands in CI: values for later steps, warnings, and a clean end when a signal arrives.

Azure Pipelines reads output variables from the log, GitHub from the file that ``GITHUB_OUTPUT``
names. Elsewhere nothing is reported. If a value is reported twice, the last one counts.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

from kedro_azure_mlops.errors import OperationError

INTERRUPTED = 130  # the exit status that shells use

# As the Azure Pipelines agent decodes them. The percent sign comes first: the others contain it.
_ESCAPES = {"%": "%AZP25", "\r": "%0D", "\n": "%0A", ";": "%3B", "]": "%5D"}
_DELIMITER = "END_OF_VALUE"
_TERMINATION = ("SIGTERM", "SIGHUP", "SIGQUIT")


def in_ci() -> bool:
    """Return whether this command is a step of a CI run."""
    return _in_azure_pipelines() or any(
        os.environ.get(name, "").lower() in {"true", "1"} for name in ("GITHUB_ACTIONS", "CI")
    )


def report_outputs(**values: str | bool) -> None:
    """Report values to the later steps of a CI run; do nothing elsewhere.

    Raises
    ------
    OperationError
        If the file that ``GITHUB_OUTPUT`` names cannot be written.
    """
    texts = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in values.items()
    }
    if _in_azure_pipelines():
        for name, text in texts.items():
            command = f"##vso[task.setvariable variable={name};isOutput=true]"
            sys.stdout.write(f"{command}{_escaped(text)}\n")
        sys.stdout.flush()
    if file := os.environ.get("GITHUB_OUTPUT"):
        _append(Path(file), "".join(_github_entry(name, text) for name, text in texts.items()))


def annotate(texts: Iterable[str], *, kind: Literal["warning", "error"] = "warning") -> None:
    """Show warnings or errors, one line each, on the page of a CI run; do nothing elsewhere."""
    for text in texts:
        if _in_azure_pipelines():
            sys.stdout.write(f"##vso[task.logissue type={kind}]{_escaped(text)}\n")
        elif os.environ.get("GITHUB_ACTIONS", "").lower() == "true":
            line = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
            sys.stdout.write(f"::{kind}::{line}\n")
    sys.stdout.flush()


def without_ci_commands(text: str) -> str:
    """Return the output of another program with the commands to a CI system disabled.

    GitHub also interprets ``::``, but only at the start of a line, where callers add a prefix.
    """
    return text.replace("##vso[", "##-vso[").replace("##[", "##-[")


def run_until_interrupted(work: Callable[[], int], message: str) -> int:
    """Return the exit status of ``work``; if a signal ends it, print a message and return 130."""
    try:
        with termination_as_interrupt():
            return work()
    except KeyboardInterrupt:
        sys.stderr.write(f"{message}\n")
        return INTERRUPTED


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt when CI or a closed terminal ends the process, too.

    A signal that is ignored stays ignored, as under ``nohup``.
    """

    def interrupt(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    with _signals_handled(_TERMINATION, interrupt):
        yield


@contextmanager
def shielded_from_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C and termination during a short clean-up: CI sends one signal after another."""
    with _signals_handled(("SIGINT", *_TERMINATION), signal.SIG_IGN):
        yield


@contextmanager
def _signals_handled(names: tuple[str, ...], handler: Callable[..., Any] | int) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return
    numbers = [number for name in names if (number := getattr(signal, name, None))]
    before = {
        number: signal.signal(number, handler)
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _in_azure_pipelines() -> bool:
    return bool(os.environ.get("TF_BUILD"))


def _escaped(text: str) -> str:
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _github_entry(name: str, text: str) -> str:
    """Return an entry for GitHub's file; a multi-line value is enclosed in a delimiter."""
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
