"""``... | head -3``: a command that loses its reader ends quietly, with the status of SIGPIPE."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click
import pytest

from kedro_azure_mlops.cli import Command, exits_quietly_on_broken_pipe, main
from kedro_azure_mlops.cli.run import run as kedro_run
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.safety import protect_output
from tests.plugin.helpers import new_shell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows pipes behave differently")

SIGPIPE = 141


@contextmanager
def unread() -> Iterator[TextIO]:
    """Replace the standard output by a pipe without a reader."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        for name in ("stderr", "excepthook"):  # restored afterwards
            patch.setattr(sys, name, getattr(sys, name))
        yield stream


def script(work: Callable[[], int | None]) -> click.Command:
    """Return a command like the operation scripts of a project."""
    return Command("script", callback=work)


def status_of_script(work: Callable[[], int | None], *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        script(work).main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def print_text(text: str = "word\n") -> None:
    click.echo(text)


def test_a_script_that_loses_its_reader_ends_with_sigpipe(capfd: pytest.CaptureFixture) -> None:
    with unread() as stream:
        assert status_of_script(print_text) == SIGPIPE
        stream.write("more")
        stream.flush()  # as at interpreter exit: the text is discarded
    assert capfd.readouterr().err == ""


def test_unflushed_output_that_loses_its_reader_ends_with_sigpipe() -> None:
    def work() -> None:
        sys.stdout.write("a line of a table\n")

    with unread():
        assert status_of_script(work) == SIGPIPE
    with unread():
        protect_output()
        assert status_of_script(work) == SIGPIPE


@pytest.mark.parametrize("arguments", [["--help"], [], ["champion", "--help"]])
def test_help_that_loses_its_reader_ends_quietly(
    arguments: list[str], capfd: pytest.CaptureFixture
) -> None:
    with unread():
        status = main(arguments)
    assert status == (SIGPIPE if arguments else 2)  # without a command the help is an error
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_keeps_its_message_and_status_without_an_output_reader(
    capfd: pytest.CaptureFixture,
) -> None:
    def work() -> None:
        sys.stdout.write("a table\n")
        raise RefusedError("the answer is no")

    with unread():
        assert status_of_script(work) == 1
    assert capfd.readouterr().err == "script: the answer is no\n"


def test_a_rich_console_that_loses_its_reader_ends_with_sigpipe() -> None:
    from rich.console import Console

    with unread():
        console = Console(file=sys.stdout)
        assert status_of_script(lambda: console.print("word")) == SIGPIPE


def test_a_run_that_loses_its_reader_ends_with_sigpipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_azure_mlops.cli.run._run_and_report", lambda _: print_text())
    with unread(), pytest.raises(SystemExit) as ended:
        kedro_run.main([])
    assert ended.value.code == SIGPIPE


def test_a_broken_connection_is_an_error() -> None:
    """Only a broken pipe of the output is ignored."""

    def work() -> None:
        raise BrokenPipeError("the connection to Azure")

    with pytest.raises(BrokenPipeError, match="Azure"), exits_quietly_on_broken_pipe():
        work()


def test_output_with_a_reader_is_unchanged(capfd: pytest.CaptureFixture) -> None:
    assert status_of_script(print_text) == 0
    assert main(["--help"]) == 0
    assert capfd.readouterr().out.startswith("word\n\nUsage: ")


@pytest.mark.parametrize("errors", [True, False], ids=["both_streams", "output"])
def test_a_process_ends_quietly(errors: bool) -> None:
    """The interpreter flushes the remaining output at exit, which must be quiet too."""
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "kedro_azure_mlops", "champion", "--help"],
        env=new_shell(),
        stdout=write,
        stderr=write if errors else subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (result.returncode, result.stderr) == (SIGPIPE, None if errors else b"")
