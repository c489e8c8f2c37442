"""Parse delimited text into tables indexed by line number; errors name the faulty line.

Lines that are rows of plain fields are read by pyarrow, all others (quotes, blank lines, rows of
other widths, numbers in other forms) by pandas, with the same result. Lines are counted one by one
only if fields have line breaks.
"""

import codecs
import csv
import io
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd

from kedro_azure_mlops.tables.layout import is_header
from kedro_azure_mlops.tables.text import Text, count_lines
from kedro_azure_mlops.validation import BadDataError, NoRowsError

Open = Callable[[], IO[bytes]]

SHARE = "share"  # table attribute: the share of the file that has been read so far
EXACT = 2**53  # from here on, floats cannot hold all whole numbers

_ROWS_AT_ONCE = 500_000  # parsed together if a file is read whole, to limit the text in memory
_HEAD = 4096  # bytes from which the encoding is detected
_BLANK = " \t\r\n"
_LEADING_ZERO = r"[ \t]*[+-]?0\d"  # matches text such as 007, which pandas would read as 7


class FormError(BadDataError):
    """The file does not have the configured format, but may have another one."""


class Form(NamedTuple):
    """The format of a text file: encoding, separator, lines to skip before the table."""

    separator: str = ","
    encoding: str = "utf-8"
    skip_rows: int = 0
    is_pair: bool = False  # two columns; commas after the first one are decimal signs


class Header(NamedTuple):
    """The column names and the line of the header; without one, the names are ``column 1``, ..."""

    names: list[str]
    line: int | None


class Kinds(NamedTuple):
    """The columns whose values are needed; other columns keep only their names.

    ``texts`` are read as text, and missing if empty; ``numbers`` are read as numbers, and missing
    if their text is in ``missing``. ``is_text`` keeps numbers as text, too.
    """

    texts: Sequence[str]
    numbers: Sequence[str]
    missing: Sequence[str]
    is_text: bool = False

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``pandas.read_csv``."""
        return {
            "dtype": dict.fromkeys([*self.texts, *(self.numbers if self.is_text else [])], str),
            "keep_default_na": False,
            "na_values": {name: [""] for name in self.texts}
            | dict.fromkeys(self.numbers, self.missing),
        }


class Record(NamedTuple):
    """A parsed row: its first line, its cells, its text and its number of lines."""

    line: int
    cells: list[str]
    text: str
    lines: int


class Lines:
    """The lines of the table in a file, and its header.

    Parameters
    ----------
    open_file
        Opens the file in binary mode; called again to locate a fault.
    source
        The name of the file in messages.
    known
        Names of columns that identify a header even next to cells that look like values.
    header
        Whether the table has a header; None detects it.

    Raises
    ------
    BadDataError
        If the file is empty, or its bytes are not valid in the encoding.
    """

    def __init__(
        self,
        open_file: Open,
        source: str,
        form: Form,
        known: Sequence[str] = (),
        header: bool | None = None,
    ) -> None:
        self.source, self.form = source, form
        self.taken = 0  # lines of the file that were read
        self._infers = False  # whether pandas infers the types of columns
        self._wholes: Collection[str] = ()
        self._zero_padded: set[str] = set()  # the columns that hold text such as 007
        self._open = open_file
        self._file: Any = open_file()
        try:
            self._refuse_other_encoding()
            # UTF-8 may begin with a byte order mark
            name = "utf-8-sig" if _is_utf_8(form.encoding) else form.encoding
            self._text = Text(self._file, name, form.is_pair)
            if form.is_pair:
                self.form = form._replace(separator=";")
            for _ in range(form.skip_rows):
                self.taken += bool(self._line())
            self.header = self._read_header(known, header)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def refuse_repeated_names(self) -> None:
        """Refuse two columns with the same name, because it is unclear which one is meant.

        Raises
        ------
        BadDataError
            If two columns share a name; the message gives their numbers.
        """
        names = self.header.names
        refuse_repeated_names(names, self.source)
        names[:] = [name or f"column {number}" for number, name in enumerate(names, 1)]

    def tables(
        self,
        rows: int | None,
        kinds: Kinds | None = None,
        texts: Collection[str] = (),
        wholes: Collection[str] = (),
        **options: Any,
    ) -> Iterator[pd.DataFrame]:
        """Read the rows as tables of at most ``rows`` each; None reads all into one.

        Parameters
        ----------
        kinds
            The columns to read; None reads all columns as pandas does, but text such as ``007``
            stays text if no ``dtype`` is given.
        texts
            Columns to read as text if no ``dtype`` is given: pandas would read 1.10 as 1.1.
        wholes
            Columns of whole numbers: kept as text where floats would round them.
        options
            Further arguments of ``pandas.read_csv``.
        """
        if rows is None:
            parts = list(self.tables(_ROWS_AT_ONCE, kinds, texts, wholes, **options))
            if parts:
                whole = parts[0] if len(parts) == 1 else pd.concat(parts)
                whole.attrs.pop(SHARE, None)
                yield whole
            return
        self._infers, self._wholes = kinds is None, wholes
        if kinds:
            options = kinds.options()
        elif (types := _types(options)) is not None:
            untyped = {name: str for name in texts if name not in _typed(options)}
            options = options | {"dtype": {**types, **untyped}}
        while lines := self._take(rows):
            table = self._parse_plain_lines(lines, kinds) if kinds else None
            if table is None:
                table = self._parse_single_lines(lines, options)
            if table is None:
                self._text.put_back(lines)
                table = self._parse_records(rows, options)
            else:
                self.taken += count_lines(lines)
            if len(table):
                if size := getattr(self._file, "size", None):
                    table.attrs[SHARE] = min(self._text.bytes / size, 1.0)
                yield table

    def head(self, rows: int) -> list[Record]:
        """Return the first rows without consuming them."""
        records = list(islice(self._records(), rows))
        self._text.put_back("".join(record.text for record in records).encode())
        return [record for record in records if record.cells]

    def _take(self, count: int) -> bytes:
        try:
            lines = self._text.take(count)
        except UnicodeError as error:
            raise self._bad_text(error) from error
        if (at := lines.find(0)) >= 0:
            before = lines.count(b"\n", 0, at)
            self._refuse_nul(self.taken + 1 + before, lines.split(b"\n")[before].decode())
        return lines

    def _line(self) -> str:
        try:
            line = self._text.line()
        except UnicodeError as error:
            raise self._bad_text(error) from error
        if "\0" in line:
            self._refuse_nul(self.taken + 1, line)
        return line

    def _records(self) -> Iterator[Record]:
        """Cut the lines into rows one by one; a blank line has no cells."""
        taken: list[str] = []
        blank = _BLANK.replace(self.form.separator, "")

        def feed() -> Iterator[str]:
            while line := self._line():
                taken.append(line)
                yield line

        reader = csv.reader(feed(), delimiter=self.form.separator, skipinitialspace=True)
        first = self.taken + 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise BadDataError(
                    f"{self.source}: not a CSV table: line {first}: {error}. A quote that opens "
                    "there may be unclosed."
                ) from error
            text, count = "".join(taken), len(taken)
            taken.clear()
            yield Record(first, cells if text.strip(blank) else [], text, count)
            first += count

    def _parse_plain_lines(self, lines: bytes, kinds: Kinds) -> pd.DataFrame | None:
        """Read lines that are all rows of plain fields; None if they are not."""
        plain = _as_plain_lines(lines, self.form.separator)
        table = _read_plain(plain, self.form.separator, self.header.names, kinds) if plain else None
        if table is None or len(table) != count_lines(lines):
            return None
        table.index = pd.RangeIndex(self.taken + 1, self.taken + 1 + len(table))
        return table

    def _parse_single_lines(self, lines: bytes, options: dict[str, Any]) -> pd.DataFrame | None:
        """Read lines that are all either rows or blank; None if they are not."""
        table = self._parse(lines, options)
        if table is None:
            return None
        first, count = self.taken + 1, count_lines(lines)
        if len(table) == count:
            table.index = pd.RangeIndex(first, first + count)
            return table
        if b'"' in lines:
            return None
        blank = _BLANK.replace(self.form.separator, "").encode()
        numbers = [n for n, line in enumerate(lines.split(b"\n"), first) if line.strip(blank)]
        if len(numbers) != len(table):
            return None
        table.index = pd.Index(numbers, dtype="int64")
        return table

    def _parse_records(self, rows: int, options: dict[str, Any]) -> pd.DataFrame:
        """Read rows that may have line breaks in their quoted fields."""
        numbers, texts, first = [], [], self.taken + 1
        for record in self._records():
            self.taken += record.lines
            if record.cells:
                self._refuse_other_width(record)
                numbers.append(record.line)
                texts.append(self._cut_to_width(record))
            if len(numbers) == rows:
                break
        table = self._parse("".join(texts).encode(), options)
        if table is None or len(table) != len(numbers):
            raise BadDataError(
                f"{self.source}: not a CSV table: lines {first} to {self.taken} cannot be cut into "
                "rows: a quote may be unclosed."
            )
        table.index = pd.Index(numbers, dtype="int64")
        return table

    def _cut_to_width(self, record: Record) -> str:
        """Drop empty cells beyond the header, which pandas accepts in all rows or in none."""
        width = len(self.header.names)
        if len(record.cells) <= width:
            return record.text
        text = io.StringIO()
        csv.writer(text, delimiter=self.form.separator).writerow(record.cells[:width])
        return text.getvalue()

    def _parse(self, text: bytes, options: dict[str, Any]) -> pd.DataFrame | None:
        if not text.strip(_BLANK.encode()):
            return pd.DataFrame(columns=self.header.names)
        arguments = {
            "skipinitialspace": True,
            "float_precision": "round_trip",  # as JSON parsers do
            "low_memory": False,
            **options,
            "sep": self.form.separator,
            "header": None,
            "names": self.header.names,
            "index_col": False,
            "encoding": "utf-8",
        }
        with warnings.catch_warnings():
            # pandas would cut off cells beyond the header and only warn
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                table = pd.read_csv(io.BytesIO(text), **arguments)
            except (pd.errors.ParserError, pd.errors.ParserWarning):
                return None
            return self._keep_exact(table, text, arguments) if self._infers else table

    def _keep_exact(
        self, table: pd.DataFrame, text: bytes, arguments: dict[str, Any]
    ) -> pd.DataFrame:
        """Read columns again as text if pandas dropped leading zeros or rounded whole numbers."""
        types = _types(arguments)
        if types is None:
            return table
        typed = _typed(arguments)

        def read_as_text(names: Iterable[str]) -> pd.DataFrame:
            kept: dict[str, Any] = arguments | {"dtype": {**types, **dict.fromkeys(names, str)}}
            return pd.read_csv(io.BytesIO(text), **kept)

        whole = [
            str(name)
            for name, values in table.select_dtypes("number").items()
            if name not in typed and (values.isna() | (values % 1 == 0)).all()
        ]
        mark = re.escape(self.form.separator) if len(self.form.separator) == 1 else ""
        begins = f'(?:^|[\n"{mark}])' if mark else ""
        if whole and re.search(f"{begins}{_LEADING_ZERO}".encode(), text):
            texts = read_as_text(whole)
            self._zero_padded |= {
                name for name in whole if texts[name].str.match(_LEADING_ZERO).any()
            }
        rounded = {
            str(name)
            for name, values in table.select_dtypes("float").items()
            if name in self._wholes and name not in typed and (values.abs() >= EXACT).any()
        }
        inexact = rounded | self._zero_padded.intersection(whole)
        return read_as_text(inexact) if inexact else table

    def _read_header(self, known: Sequence[str], has_header: bool | None) -> Header:
        """Read the names of the columns; put back a first line that is not a header."""
        for record in self._records():
            if not record.cells:
                self.taken += record.lines
                continue
            if is_header(record.cells, known) if has_header is None else has_header:
                self.taken += record.lines
                return Header([cell.strip() for cell in record.cells], record.line)
            self._text.put_back(record.text.encode())
            names = [f"column {number}" for number in range(1, len(record.cells) + 1)]
            return Header(names, None)
        raise NoRowsError(f"{self.source}: the file is empty: it has no rows.")

    def _refuse_nul(self, line: int, text: str) -> None:
        raise BadDataError(
            f"{self.source}: not a CSV table: line {line} holds a NUL byte, {text.strip()[:80]!r}, "
            "and a number around it would be cut off. The file was damaged when it was written or "
            "copied: copy it again, or correct that line."
        )

    def _refuse_other_width(self, record: Record) -> None:
        width = len(self.header.names)
        if any(cell.strip() for cell in record.cells[width:]):
            line = self.header.line
            raise FormError(
                f"{self.source}: not a CSV table: line {record.line} has {len(record.cells)} "
                f"fields, {f'the header in line {line}' if line else 'the first row'} has {width}: "
                f"{record.text.strip()[:80]}"
            )

    def _refuse_other_encoding(self) -> None:
        """Refuse UTF-16 and UTF-32 unless configured: they would be read as text full of NULs."""
        head = self._file.read(_HEAD)
        self._file.seek(0)
        encoding = _wide_encoding(head)
        if encoding and _is_utf_8(self.form.encoding):
            raise BadDataError(
                f"{self.source}: not a CSV table: {_looks_like(encoding, self.source)}"
            )

    def _bad_text(self, fault: UnicodeError) -> BadDataError:
        """Return an error with the byte that cannot be decoded, its line and a likely encoding."""
        with self._open() as file:
            content = file.read()
        hint = "Set reader.encoding to the encoding of the file."
        why = f"{fault}. {hint}"
        try:
            content.decode(self.form.encoding)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            start = content.rfind(b"\n", 0, error.start) + 1
            shown = content[start : error.start + 20].split(b"\n")[0].strip()
            why = f"byte 0x{content[error.start]:02x} in line {line} is not {self.form.encoding}. "
            is_binary = any(byte < 9 for byte in content[:_HEAD])
            if _is_utf_8(self.form.encoding) and not is_binary:
                as_text = shown.decode("cp1252", "replace")
                why += f"Read as cp1252 it is {as_text!r}: {_looks_like('cp1252', self.source)}"
            elif not is_binary:
                why += hint
        return BadDataError(f"{self.source}: not a CSV table: {why}")


def refuse_repeated_names(names: Sequence[str], source: str) -> None:
    """Refuse two columns with the same name, because it is unclear which one is meant.

    Raises
    ------
    BadDataError
        If two columns share a name that is not empty; the message gives their numbers.
    """
    for name in names:
        if name and names.count(name) > 1:
            places = " and ".join(str(n) for n, one in enumerate(names, 1) if one == name)
            raise BadDataError(f"{source}: columns {places} are both called {name}.")


def read_text(open_file: Open, source: str) -> pd.DataFrame:
    """Read a whole comma-separated file with a header as text; no value counts as missing.

    Raises
    ------
    BadDataError
        If it is empty or not a table.
    """
    with closing(Lines(open_file, source, Form(), header=True)) as lines:
        lines.refuse_repeated_names()
        empty = pd.DataFrame(columns=lines.header.names, dtype=object)
        return next(lines.tables(None, dtype=str, keep_default_na=False), empty)


def _types(options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the configured types by column; None if one type applies to all columns."""
    types = options.get("dtype") or {}
    return types if isinstance(types, Mapping) else None


def _typed(options: Mapping[str, Any]) -> set[str]:
    """Return the columns with a configured type or converter."""
    return {*(options.get("dtype") or {}), *(options.get("converters") or {})}


def _as_plain_lines(lines: bytes, separator: str) -> bytes | None:
    """Remove blanks after separators; None if there are other blanks, quotes or empty lines."""
    mark = separator.encode()
    if len(mark) > 1 or mark in b' "' or b'"' in lines or b"\n\n" in lines or lines[:1] == b"\n":
        return None
    blanks = b" \t".replace(mark, b"")
    if not any(blank in lines for blank in (blanks[:1], blanks[1:]) if blank):
        return lines
    while mark + b" " in lines:
        lines = lines.replace(mark + b" ", mark)
    cells = np.frombuffer(b"\n" + lines + b"\n", np.uint8)
    is_blank = (cells == blanks[0]) | (cells == blanks[-1])
    at = np.flatnonzero(is_blank)
    around = np.concatenate([cells[at - 1], cells[at + 1]])
    return None if np.isin(around, [mark[0], ord("\n")]).any() else lines


def _read_plain(
    lines: bytes, separator: str, names: list[str], kinds: Kinds
) -> pd.DataFrame | None:
    """Read plain fields with pyarrow as pandas would; None if the results could differ.

    The numbers and missing values of a returned table are those that pandas would read.
    """
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.csv

    numbers = set() if kinds.is_text else {*kinds.numbers} - {*kinds.texts}

    def read(wanted: list[str], number: Any) -> pa.Table:
        types = {name: number if name in numbers else pa.string() for name in names}
        return pyarrow.csv.read_csv(
            pa.py_buffer(lines),
            pyarrow.csv.ReadOptions(use_threads=False, column_names=names),
            pyarrow.csv.ParseOptions(
                delimiter=separator, quote_char=False, ignore_empty_lines=False
            ),
            pyarrow.csv.ConvertOptions(
                check_utf8=False,
                column_types=types,
                include_columns=wanted,
                null_values=kinds.missing,
            ),
        )

    def text(column: pa.ChunkedArray, missing: Sequence[str]) -> pd.Series:
        is_missing = pyarrow.compute.is_in(column, pa.array(missing, pa.string()))
        found = column.to_pandas()
        return (
            found.mask(is_missing.to_numpy()) if pyarrow.compute.any(is_missing).as_py() else found
        )

    found: dict[str, Any] = {}
    try:
        table = read(names, pa.float64())
        for name, column in zip(names, table.columns, strict=True):
            if name in numbers:
                found[name] = values = column.to_numpy()
                known = values[np.isfinite(values)]
                if len(known) != len(values) - column.null_count:
                    return None  # infinite, or a text that only pyarrow reads as NaN
                if (known == np.rint(known)).all():
                    if not column.null_count:
                        with suppress(pa.ArrowInvalid):  # 20.0 is not written as a whole number
                            found[name] = read([name], pa.int64())[name].to_numpy()
                    # pandas reads +5 as a whole number, and -0 next to a missing value as 0
                    is_other = (abs(known) >= 2**63) | ((known == 0) & np.signbit(known))
                    if found[name] is values and (b"+" in lines or is_other.any()):
                        return None
            elif name in kinds.texts or name in kinds.numbers:
                found[name] = text(column, kinds.missing if name in kinds.numbers else [""])
            else:
                found[name] = pd.array(column, dtype=pd.ArrowDtype(pa.string()))
    except pa.ArrowInvalid:
        return None
    return pd.DataFrame(found)


def _is_utf_8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}


def _wide_encoding(head: bytes) -> str | None:
    marks = (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    )
    for mark, name in marks:
        if head.startswith(mark):
            return name
    half = max(len(head) // 2, 1)
    if head[1::2].count(0) > 0.7 * half:
        return "utf-16-le"
    if head[0::2].count(0) > 0.7 * half:
        return "utf-16-be"
    return None


def _looks_like(encoding: str, source: str) -> str:
    return (
        f"the file looks like {encoding}. Set reader.encoding: {encoding}, or convert it:\n"
        f"  iconv -f {encoding} -t utf-8 {source} > new.csv"
    )
