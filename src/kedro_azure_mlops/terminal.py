"""Print a command's output: a header, lines and tables that fit the width, errors in parts.

Results go to the standard output; the header, notes and errors to the standard error. A pipe or a
log gets the same text without line breaks, colours or animation. It needs only click, because
``update`` does; tables of rich would also break paths and commands in two.
"""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from kedro_azure_mlops.ci import in_ci
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.safety import redact

_WIDEST = 100  # columns; longer lines are hard to read
_NARROWEST = 30
_SHORTEST = 8  # characters of a cut cell

# A command stays in one piece: from the name of a program to the end of the sentence.
_COMMAND = re.compile(
    r"(?:(?<=: )|(?<=`)|(?<=^  ))(?:kedro|make|uvx?|git|az|docker|python|pip|export|gh|sh) "
    r"[^;`()\n]*?(?=[;`()]|, |[.,:]?(?: {2}|$)|[.:] )"
)
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?!Did you )(?=[A-Z`'\"-])")
_ADVICE = re.compile(
    r"(?:Add|Ask|Change|Check|Choose|Copy|Correct|Create|Define|Delete|Deploy|End|Fetch|Give|Install"
    r"|Leave|Let|Lock|Make|Move|Name|Record|Register|Remove|Rename|Repeat|Restore|Run|See|Set|Sort"
    r"|Start|Store|Take|Train|Try|Undo|Unset|Use|Wait|Write|For|To)\b"
)
_RUN = re.compile(r"Run: ")
_LABEL = re.compile(r"(?m)^  (?:where|next):")
# text before the last column of a list, or before the line of a log
_COLUMN = re.compile(r"(?<=\S) {2,}(?=\S)|^\S+ \| ")
# Kedro's line about a node, in a step's log
_NODE = re.compile(r"^(\S+ \| .*Running node: [^:]+): .*")
_COLORS = {
    "green": ("ok", "PASSED", "passed", "champion", "enabled"),
    "red": ("PROBLEM", "NO", "REFUSED", "refused", "ALARM", "warning"),
    "yellow": ("disabled", "not judged"),
}
_STATES = {state: color for color, states in _COLORS.items() for state in states}
_STATE = re.compile(rf"(?<=  )(?:{'|'.join(_STATES)})(?=:|  |$)|(?<=: )(?:PASSED|REFUSED|ALARM)$")


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal that can move its cursor."""
    return _is_tty(stream) and os.environ.get("TERM") not in {"dumb", "unknown"}


def has_colors(stream: Any) -> bool:
    """Return whether a stream gets colours: in a terminal, or if ``FORCE_COLOR`` is set.

    ``NO_COLOR`` takes precedence (https://no-color.org, https://force-color.org).
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal(stream)


def width_of(stream: Any) -> int | None:
    """Return the width of a terminal in columns, at most 100; None for a pipe or a file."""
    if not _is_tty(stream):
        return None
    columns = shutil.get_terminal_size().columns
    if not os.environ.get("COLUMNS"):
        with suppress(AttributeError, OSError, ValueError):  # no file, or none with a size
            columns = os.get_terminal_size(stream.fileno()).columns or columns
    return max(_NARROWEST, min(columns, _WIDEST))


def fit(text: str, width: int | None) -> str:
    """Break lines at spaces so that they fit a width; paths and commands stay in one piece.

    Continuation lines align with the last column of a list, else they are indented by two.
    """
    if width is None:
        return text
    return "\n".join(_fit(line, width) for line in text.split("\n"))


def shorten(text: str) -> str:
    """Cut a text to the width of the terminal; return all of it for a pipe or a file."""
    width = width_of(sys.stdout)
    return text if width is None else _cut(text, width)


def show(text: str) -> None:
    """Print a result."""
    _write(sys.stdout, _colored(fit(redact(text), width_of(sys.stdout)), sys.stdout))


def show_log(line: str) -> None:
    """Print a line of a step's log; a terminal shows the name of a node without its inputs."""
    is_cut = width_of(sys.stdout) is not None
    show(_NODE.sub(r"\1", line) if is_cut else line)


def prefixed_printer(command: str) -> Callable[[str], None]:
    """Return a function that prints a command's lines, with its name before unindented ones."""
    name = f"{command}:"

    def say(text: str) -> None:
        line = text if text.startswith(" ") else f"{name} {text}"
        line = _colored(fit(redact(line), width_of(sys.stdout)), sys.stdout)
        if has_colors(sys.stdout) and line.startswith(name):
            line = click.style(name, dim=True) + line.removeprefix(name)
        _write(sys.stdout, line)

    return say


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as their cells; a terminal wraps those of the last column."""
    cells = [[redact(cell) for cell in row] for row in rows]
    for line in _rows(cells, width_of(sys.stdout)):
        _write(sys.stdout, _colored(f"  {line}".rstrip(), sys.stdout))


def shows_header() -> bool:
    """Return whether commands begin with a header: in a terminal and in the log of a CI run."""
    return _is_tty(sys.stderr) or in_ci()


def show_header(command: str, *facts: str | None) -> None:
    """Print the command, its environment and project, and the locations that it uses."""
    dot = or_ascii(" · ", " - ", "·", sys.stderr)
    whole = (fact.replace(" ", "\0") for fact in facts if fact)
    line = fit(redact(dot.join((command, *whole))), width_of(sys.stderr)).replace("\0", " ")
    if has_colors(sys.stderr):
        line = click.style(command, bold=True) + click.style(line.removeprefix(command), dim=True)
    _write(sys.stderr, line)


def project_name(root: Path) -> str:
    """Return the name of a project: that of its package, else of its folder."""
    import tomllib  # not needed for an update

    with suppress(OSError, ValueError, KeyError, TypeError):
        read = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        return str(read["project"]["name"])
    return root.name


def show_note(command: str, text: str) -> None:
    """Print a line to the standard error that is not part of the result."""
    line = fit(redact(f"{command}: {text}"), width_of(sys.stderr))
    _write(sys.stderr, _colored(line, sys.stderr))


def show_next(command: str) -> None:
    """Print the next command to run, to a terminal."""
    if _is_tty(sys.stderr):
        label = click.style("next:", bold=True) if has_colors(sys.stderr) else "next:"
        _write(sys.stderr, f"  {label} {command}")


def show_error(command: str, error: BaseException | str) -> None:
    """Print an error as one block: what, where, and what to do next."""
    width = width_of(sys.stderr)
    what, *details = parts_of(error)
    block = [f"{command}: {what}", *(f"  {detail}" for detail in details)]
    text = "\n".join(fit(redact(line), width) for line in block)
    if has_colors(sys.stderr):
        name = f"{command}:"
        text = click.style(name, fg="red", bold=True) + text.removeprefix(name)
        text = _LABEL.sub(lambda match: click.style(match[0], bold=True), text)
    _write(sys.stderr, text)


def parts_of(error: BaseException | str) -> list[str]:
    """Split an error into what happened, where, what else is known, and what to do next.

    In a message without parts, the first sentence is what happened, and the first imperative one is
    what to do next; the other lines stay unchanged.
    """
    where = advice = None
    text = str(error)
    if isinstance(error, OperationError | RefusedError):
        text, where, advice = error.what, error.where, error.next
    first, *lines = text.strip().split("\n")
    what, *sentences = _SENTENCE_END.split(first)
    details = [f"where: {where}"] if where else []
    for line in (*sentences, *filter(str.strip, lines)):
        if advice is None and _ADVICE.match(line):
            advice = ""
            details.append(f"next: {_RUN.sub('', line, count=1)}")
        else:
            details.append(line)
    return [what, *details, *([f"next: {advice}"] if advice else [])]


def or_ascii(good: str, instead: str, symbol: str, stream: Any) -> str:
    """Return the first text if a stream's encoding has a symbol, else the second."""
    try:
        symbol.encode(getattr(stream, "encoding", None) or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return instead
    return good


def escape_unencodable(stream: Any) -> None:
    """Make a stream escape the characters that its encoding lacks."""
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace")


def _rows(cells: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Lay out a table; in a terminal, all columns but the last are cut to two thirds of it."""
    *others, _ = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while width and sum(others) + 2 * len(others) > width * 2 // 3 and max(others) > _SHORTEST:
        others[others.index(max(others))] -= 1
    begin = sum(others) + 2 * len(others)
    rows = []
    for *row, end in cells:
        cut = [f"{_cut(cell, wide):{wide}}  " for cell, wide in zip(row, others, strict=True)]
        line = "".join((*cut, end)).rstrip()
        rows += (_fit(line, width - 2, begin) if width else line).split("\n")
    return rows


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    dots = or_ascii("…", "...", "…", sys.stdout)
    return text[: width - len(dots)].rstrip() + dots


def _fit(line: str, width: int, indent: int | None = None) -> str:
    if len(line) <= width or line.endswith("\\"):  # a command that continues below
        return line
    whole = _COMMAND.sub(lambda match: match[0].replace(" ", "\0"), line)
    least = len(line) - len(line.lstrip()) + 2
    if indent is None:
        columns = [match.end() for match in _COLUMN.finditer(line)]
        indent = max((end for end in columns if end <= width * 2 // 3), default=least)
    if max(map(len, whole.split())) > width - indent:  # a long path
        indent = least
    broken = textwrap.wrap(
        whole,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return "\n".join(broken).replace("\0", " ")


def _colored(text: str, stream: Any) -> str:
    if not has_colors(stream):
        return text
    return _STATE.sub(lambda match: click.style(match[0], fg=_STATES[match[0]]), text)


def _write(stream: Any, text: str) -> None:
    """Print and flush a line; escape the characters that the stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(shown, file=stream, color=has_colors(stream))


def _is_tty(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # none, or closed
        return False
