"""``... | head -3``: what loses its reader ends quietly, with the status of SIGPIPE."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click
import pytest

from kedro_azure_mlops.cli import Command, ends_with_its_reader, main
from kedro_azure_mlops.cli.run import run as kedro_run
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.safety import protect_output
from tests.plugin.helpers import new_shell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of Windows end otherwise")

SIGPIPE = 141


@contextmanager
def unread() -> Iterator[TextIO]:
    """Give the block a standard output whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        for name in ("stderr", "excepthook"):  # back as they were
            patch.setattr(sys, name, getattr(sys, name))
        yield stream


def script(work: Callable[[], int | None]) -> click.Command:
    """Return a command as the ops scripts of a project are."""
    return Command("script", callback=work)


def status_of_script(work: Callable[[], int | None], *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        script(work).main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def say(text: str = "word\n") -> None:
    click.echo(text)


def test_a_script_ends_as_its_reader_does(capfd: pytest.CaptureFixture) -> None:
    with unread() as stream:
        assert status_of_script(say) == SIGPIPE
        stream.write("more")
        stream.flush()  # what the interpreter does at its end goes nowhere
    assert capfd.readouterr().err == ""


def test_what_was_printed_and_not_flushed_counts_too() -> None:
    def work() -> None:
        sys.stdout.write("a line of a table\n")

    with unread():
        assert status_of_script(work) == SIGPIPE
    with unread():
        protect_output()
        assert status_of_script(work) == SIGPIPE


@pytest.mark.parametrize("arguments", [["--help"], [], ["champion", "--help"]])
def test_help_that_nobody_reads_ends_quietly(
    arguments: list[str], capfd: pytest.CaptureFixture
) -> None:
    with unread():
        status = main(arguments)
    assert status == (SIGPIPE if arguments else 2)  # without a command the help is an error
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_that_is_read_keeps_its_message_and_status(capfd: pytest.CaptureFixture) -> None:
    def work() -> None:
        sys.stdout.write("a table\n")
        raise RefusedError("the answer is no")

    with unread():
        assert status_of_script(work) == 1
    assert capfd.readouterr().err == "script: the answer is no\n"


def test_a_log_of_rich_counts_too() -> None:
    from rich.console import Console

    with unread():
        console = Console(file=sys.stdout)
        assert status_of_script(lambda: console.print("word")) == SIGPIPE


def test_a_run_ends_as_its_reader_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_azure_mlops.cli.run._run_and_report", lambda _: say())
    with unread(), pytest.raises(SystemExit) as ended:
        kedro_run.main([])
    assert ended.value.code == SIGPIPE


def test_a_connection_that_breaks_is_an_error() -> None:
    """The output has its reader: what broke is something else, and must be seen."""

    def work() -> None:
        raise BrokenPipeError("the connection to Azure")

    with pytest.raises(BrokenPipeError, match="Azure"), ends_with_its_reader():
        work()


def test_with_a_reader_all_is_as_ever(capfd: pytest.CaptureFixture) -> None:
    assert status_of_script(say) == 0
    assert main(["--help"]) == 0
    assert capfd.readouterr().out.startswith("word\n\nUsage: ")


@pytest.mark.parametrize("errors", [True, False], ids=["both_streams", "output"])
def test_a_process_ends_quietly(errors: bool) -> None:
    """Also at the end of the interpreter, which flushes what is left."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "kedro_azure_mlops", "champion", "--help"],
        env=new_shell(),
        stdout=write,
        stderr=write if errors else subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (SIGPIPE, None if errors else b"")
