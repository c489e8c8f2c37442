"""Pages executed as a reader would type them: each block in order, in one shell.

On a page (Markdown, as MyST reads it) these fenced blocks count:

* ``bash``: commands. The first failure ends the page. A command that should fail comes last in its
  block, with a comment: ``# exit status 1``.
* ``text`` after commands: their output, on both streams; ``...`` matches anything.
* ``{code-block} python`` (or another language) with ``:caption: PATH``: the whole file PATH.
* ``diff``: an edit, applied by ``git apply``.

Other blocks are ignored.
"""

import contextlib
import doctest
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.helpers import ROOT, clean_environment, tool

# The only differences from a reader's shell: the template is the one under test, the port is free,
# `uv` links the environments of these tests instead of creating new ones, and Python finds the
# project's package in `src`, since nothing is installed in editable mode.
TEMPLATE, PORT = "gh:org/cookiecutter-azure-mlops", "5001"
UV = f"""\
for last; do :; done
case "$1" in
python) echo '{tool("python")}' ;;
venv) ln -sfn '{ROOT}'/"$last" "$last" ;;
pip) ;;
*) echo "uv $*: the tests do not replace this" >&2 && exit 2 ;;
esac
"""
INSTALLED = {"PYTHONPATH": "src", "PATH": f"{tool('x').parent}{os.pathsep}{os.environ['PATH']}"}

_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<kind>[^`\n]*)\n(?P<text>.*?)^(?P=fence)$", re.M | re.S)
_OPTIONS = re.compile(r"(?:^:[\w-]+:.*\n)+\n?", re.M)
_CAPTION = re.compile(r"^:caption: (\S+)$", re.M)
_STATUS = re.compile(r"# exit status (\d+)\s*\Z")


class PageError(AssertionError):
    """A page does not match its results; the message starts with the page and the line."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its first line on the page, its kind and its text."""

    line: int
    kind: str  # the language, or `file`
    text: str
    file: str = ""


def read_blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for match in _FENCE.finditer(page):
        line, kind, text = page.count("\n", 0, match.start()) + 1, match["kind"], match["text"]
        options = _OPTIONS.match(text) if kind.startswith("{code-block}") else None
        if options and (caption := _CAPTION.search(options[0])):
            yield Block(line, "file", text[options.end() :], caption[1])
        else:
            yield Block(line, kind.strip(), text)


class Shell:
    """A bash shell to type into; it and its processes end after ``seconds`` at the latest."""

    def __init__(self, folder: Path, seconds: float, **environment: str) -> None:
        self._token, self._seconds, self._is_late = secrets.token_hex(8), seconds, False
        self._scratch = tempfile.TemporaryDirectory()
        uv, self._typed = (Path(self._scratch.name) / name for name in ("uv", "typed"))
        uv.write_text(UV, encoding="utf-8")
        variables = {"MAKEFLAGS": f"UV=sh\\ {uv}"} | INSTALLED | environment
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-eE"],
            cwd=folder,
            env=clean_environment(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._timer = threading.Timer(seconds, self._give_up)
        self._timer.start()
        self._send("trap 'line=$LINENO' ERR")
        # A background job inherits the trap, and runs it if it is killed before it has started.
        ended = f'printf "\\n{self._token} %d %d\\n" $code $line'
        self._send(f"trap 'code=$?; [ ${{BASHPID:-$$}} != $$ ] || {ended}' EXIT")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._kill()
        self._process.communicate()
        self._scratch.cleanup()

    def type(self, commands: str, *, may_fail: bool = False) -> tuple[str, int, int]:
        """Return the output of some lines, the last status, and the number of a failed line.

        The shell exits at the first failure, unless ``may_fail``. After the time limit, it raises
        ``TimeoutError`` with the output so far.
        """
        self._typed.write_text(commands, encoding="utf-8")
        with contextlib.suppress(BrokenPipeError):  # the shell has exited
            self._send(f"set {'+' if may_fail else '-'}e; line=0")
            self._send(f"source {shlex.quote(str(self._typed))} </dev/null; status=$?; set -e")
            self._send(f'printf "\\n%s %d %d\\n" {self._token} $status $line')
        printed = ""
        for line in self._process.stdout or ():
            if not line.startswith(self._token):
                printed += line
            elif not self._is_late:  # ignore the status of a killed shell
                status, failed = line.split()[1:]
                return printed.removesuffix("\n"), int(status), int(failed)
        raise TimeoutError(f"not done after {self._seconds:g} s:\n{printed}")

    def _send(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _give_up(self) -> None:
        self._is_late = True
        self._kill()

    def _kill(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)


def execute_page(
    page: Path, folder: Path, seconds: float = 900, template: Path = ROOT, **environment: str
) -> None:
    """Execute a page in a folder; raise a ``PageError`` at the first difference."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        replacements = {TEMPLATE: shlex.quote(str(template)), PORT: str(free.getsockname()[1])}
    printed: str | None = None
    with Shell(folder, seconds, **environment) as shell:
        for block in read_blocks(page.read_text(encoding="utf-8")):
            try:
                if block.kind == "text":
                    compare(page, block, printed)
                if block.kind in {"bash", "diff", "file", "text"}:
                    printed = _run_block(shell, page, block, replacements)
            except TimeoutError as error:
                raise PageError(f"{page.name}:{block.line}: {error}") from None


def compare(page: Path, shown: Block, printed: str | None) -> None:
    """Compare the output on a page with the real one, ignoring trailing spaces."""
    where = f"{page.name}:{shown.line}"
    if printed is None:
        raise PageError(f"{where}: this output does not follow a block of commands")
    lines = (map(str.rstrip, text.strip("\n").splitlines()) for text in (shown.text, printed))
    want, got = ("\n".join(part) + "\n" for part in lines)
    if not doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS):
        raise PageError(f"{where}: the output differs; it is:\n{got}")


def _run_block(shell: Shell, page: Path, block: Block, replacements: dict[str, str]) -> str | None:
    """Return the output of a block of commands; None for other blocks."""
    if block.kind == "text":
        return None
    if block.kind == "bash":
        wanted = _STATUS.search(block.text)
        expected, commands = int(wanted[1]) if wanted else 0, block.text
        for shown, real in replacements.items():
            commands = commands.replace(shown, real)
        printed, status, failed = shell.type(commands, may_fail=bool(expected))
        if status == expected:
            return printed
        number = max(failed, 1)
        why = f"`{block.text.splitlines()[number - 1]}` ended with status {status}, not {expected}"
        raise PageError(f"{page.name}:{block.line + number}: {why}:\n{printed}")
    path, text = shlex.quote(block.file), f"<<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"
    write = f'mkdir -p "$(dirname {path})" && cat >{path} {text}'
    printed, status, _ = shell.type(f"git apply - {text}" if block.kind == "diff" else write)
    if status:
        problem = "edit does not apply" if block.kind == "diff" else "file cannot be written"
        raise PageError(f"{page.name}:{block.line}: this {problem}:\n{printed}")
    return None
