"""Guess a file's separator, decimal sign, header and times, for a helpful message.

Nothing here decides how a file is read: it only suggests options to set.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from kedro_azure_mlops.values import read_number, read_time

SEPARATORS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma"}
_DATE = re.compile(
    r"(\d{1,4}[-./]\d{1,2}[-./]\d{1,4}|\d{1,2}[-. ][A-Za-z]{3}[-. ]\d{2,4})"
    r"([T ]+\d{1,2}(:\d\d){1,2}([.,]\d+)?( ?[AaPp][Mm])?( ?(Z|[A-Z]{3,4}|[+-]\d\d:?\d\d))?)?",
    re.ASCII,
)
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp][Mm])?", re.ASCII)
_COLON = re.compile(":")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_FORMATS = (
    *("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%y %H:%M:%S", "%d.%m.%y %H:%M"),
    *("%m/%d/%y %I:%M:%S %p", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%m/%d/%y %I:%M %p"),
    *("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M"),
    *("%d/%m/%y %H:%M:%S", "%d/%m/%y %H:%M", "%m/%d/%y %H:%M:%S", "%m/%d/%y %H:%M"),
    *("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y.%m.%d %H:%M:%S", "%Y.%m.%d %H:%M"),
    *("%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M"),
)
_COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class Layout(NamedTuple):
    """The layout of the first lines of a file.

    ``kinds`` is the content of each column: times, dates, clocks (times of day), numbers, counts
    (1, 2, 3 ...) or texts; ``formats`` are all formats that fit the times.
    """

    separator: str
    decimal: str
    skip_rows: int
    header: list[str] | None
    rows: list[list[str]]
    kinds: list[str]
    formats: list[str]

    def columns(self, kind: str) -> list[int]:
        """Return the positions of the columns of a kind."""
        return [place for place, other in enumerate(self.kinds) if other == kind]

    def name(self, place: int) -> str | int:
        """Return a column's header, else its number, as accepted by ``reader.columns``."""
        if self.header and self.header[place] and self.header.count(self.header[place]) == 1:
            return self.header[place]
        return place + 1

    def in_words(self) -> str:
        """Describe the layout in a sentence."""
        width = f"{len(self.kinds)} columns separated by {SEPARATORS[self.separator]}"
        sign = ", decimal commas" if self.decimal == "," else ""
        where = f"line {self.skip_rows + 1}"
        head = (
            f"header in {where}: {self.separator.join(self.header)}"
            if self.header
            else (f"no header, the first row in {where}: {self.separator.join(self.rows[0])}")
        )
        return f"{width}{sign}; {head}"


def is_header(cells: Sequence[str], known: Sequence[str] = ()) -> bool:
    """Return whether cells are names of columns: none looks like a time or a number.

    Numbers are allowed next to known names.
    """
    if any(is_time_like(cell) for cell in cells):
        return False
    return any(cell.strip() in known for cell in cells) or not any(map(is_number_like, cells))


def is_time_like(text: str) -> bool:
    """Return whether a text looks like a date or a time of day, in any form."""
    stripped = text.strip()
    return bool(_DATE.fullmatch(stripped) or _CLOCK.fullmatch(stripped))


def is_number_like(text: str) -> bool:
    """Return whether a text is a number, with a decimal point or comma."""
    return any(_fits(read_number, text.strip(), sign) for sign in ".,")


def layout_of(lines: Sequence[str]) -> Layout | None:
    """Return the layout of a file's first lines; None if they are not a table of values."""
    layouts = [layout for separator in SEPARATORS if (layout := _cut_by(separator, lines))]
    if not layouts:
        return None
    # decimal commas split all lines too, so the comma comes last
    return max(layouts, key=lambda layout: len(layout.rows))


def _cut_by(separator: str, lines: Sequence[str]) -> Layout | None:
    cut = [_cells(line, separator) for line in lines]
    widths = Counter(len(cells) for cells in cut if any(_is_value(cell) for cell in cells))
    widths.pop(1, None)
    if not widths:
        return None
    width, _ = widths.most_common(1)[0]
    start = next(
        n for n, cells in enumerate(cut) if len(cells) == width and any(map(_is_value, cells))
    )
    rows = [cells for cells in cut[start:] if len(cells) == width]
    before = next((n for n in range(start - 1, -1, -1) if lines[n].strip()), None)
    has_header = before is not None and len(cut[before]) == width and is_header(cut[before])
    header = cut[before] if before is not None and has_header else None
    kinds = [_kind([row[place] for row in rows]) for place in range(width)]
    values = [row[place] for row in rows for place in range(width) if kinds[place] == "number"]
    is_comma = separator != "," and any(map(_DECIMAL_COMMA.fullmatch, values))
    skip = before if has_header and before is not None else start
    sign = "," if is_comma else "."
    return Layout(separator, sign, skip, header, rows, kinds, _formats(rows, kinds))


def _cells(line: str, separator: str) -> list[str]:
    try:
        cut = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cut]


def _is_value(cell: str) -> bool:
    return is_time_like(cell) or is_number_like(cell)


def _kind(cells: list[str]) -> str:
    filled = [cell for cell in cells if cell]
    if filled and all(map(is_time_like, filled)):
        has_clock, has_date = (any(map(form.search, filled)) for form in (_COLON, _DATE))
        return "time" if has_clock and has_date else "date" if has_date else "clock"
    numbers = [cell for cell in filled if is_number_like(cell)]
    if not filled or 2 * len(numbers) < len(filled):
        return "text"
    if len(numbers) == len(filled) and all(map(str.isdigit, filled)):
        if _compact_format(filled):
            return "time"
        steps = {int(later) - int(cell) for cell, later in pairwise(filled)}
        if steps == {1}:
            return "count"
    return "number"


def _compact_format(cells: list[str]) -> str | None:
    wanted = _COMPACT.get(len(cells[0]))
    if wanted and len({*map(len, cells)}) == 1 and all(c[:2] in {"19", "20"} for c in cells):
        return wanted if all(_fits(datetime.strptime, cell, wanted) for cell in cells) else None
    return None


def _formats(rows: list[list[str]], kinds: list[str]) -> list[str]:
    """Find the formats that fit all times; none if they are ISO 8601."""
    places = [place for place, kind in enumerate(kinds) if kind in {"time", "date", "clock"}]
    if "time" in kinds:
        places = [kinds.index("time")]
    texts = [" ".join(row[place] for place in places) for row in rows] if places else []
    texts = [text for text in texts if text.strip()]
    if not texts or all(_fits(read_time, text) for text in texts):
        return []
    if compact := _compact_format(texts):
        return [compact]
    return [
        wanted for wanted in _FORMATS if all(_fits(datetime.strptime, t, wanted) for t in texts)
    ]


def _fits(read: Any, *arguments: Any) -> bool:
    try:
        read(*arguments)
    except ValueError:
        return False
    return True
