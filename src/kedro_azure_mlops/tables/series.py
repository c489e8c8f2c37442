"""Read long tables of series: rows of a time, a name and one or more numbers, in many formats.

A project sets ``ReaderOptions`` (``reader:`` in its ``parameters.yml``); ``SeriesReader`` reads a
file accordingly. All content of a file is used, named in a note, or refused: none is dropped
silently.
"""

import codecs
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.parameters import Parameters, explain
from kedro_azure_mlops.tables.delimited import (
    SHARE,
    Form,
    FormError,
    Kinds,
    Lines,
    Open,
    Record,
)
from kedro_azure_mlops.tables.layout import Layout, is_number_like, is_time_like, layout_of
from kedro_azure_mlops.tables.local_time import Clock, zone_of
from kedro_azure_mlops.validation import BadDataError, first_rows, refuse_mixed_offsets
from kedro_azure_mlops.values import Times, read_numbers, read_times

logger = logging.getLogger(__name__)

NOTES = "notes"  # attribute of a table: notes on content that was not used
_MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
_SIGNS = {"comma": ",", "point": ".", "dot": "."}
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|", "pipe": "|"}
_HEAD, _HEAD_LINES = 20_000, 60  # bytes and lines of a file from which its layout is guessed
_SHOWN = 5  # values of a column that a message names
_MOST_VALUES = 10_000  # distinct values of a column that are counted

# Columns that describe rows: several values in one mean that the rows do not belong together.
_QUANTITY = re.compile(
    r"(\w*[ _-])?(parameter|variable|quantity|measure(ment|and)?|metric|property|field|observable|"
    r"characteristic|attribute|element|kind|type|messgr(ö|oe)(ß|ss)e)s?([ _-]?(name|id|code))?",
    re.IGNORECASE,
)
_UNIT = re.compile(r"_?(units?|uom|units?[ _]of[ _]measure(ment)?|einheit)", re.IGNORECASE)
_SERIES = re.compile(
    r"(\w*[ _-])?(device|station|location|site|logger|room|place|name|id|tag|entity|node|host|"
    r"series|source|point|probe|channel|object)s?([ _-]?(name|id|code))?",
    re.IGNORECASE,
)
_QUALITY = re.compile(
    r"(\w*[ _-])?(quality|flags?|status|state|valid(ity)?|qc|qn_?\d*|ok|error|alarm)([ _-]?\w*)?",
    re.IGNORECASE,
)
_DESCRIBING = (_UNIT, _QUANTITY, _QUALITY, _SERIES)
# In a file without a header: text between time and number that does not name a series.
_NOT_A_NAME = re.compile(
    r"(°|deg ?)?[cfk]|celsius|fahrenheit|kelvin|%( ?rh)?|rh|[hk]?pa|m?bar|v|volt|mv|ma|lux|ppm|"
    r"ok|good|bad|valid|invalid|true|false|yes|no|on|off|err(or)?|fail(ed)?|fault|missing|"
    r"un(known|available)|am|pm|utc|gmt|z|ce?s?t|me[sz]z?|[ecmp][sd]t|mon|tue|wed|thu|fri|sat|sun|"
    r"temp|hum|humidity|pressure|value|quality|status|[-+*#?]+",
    re.IGNORECASE,
)


def _sign(value: Any) -> Any:
    return _SIGNS.get(value, value)


def _separator(value: Any) -> Any:
    return _SEPARATORS.get(value, value)


def _one_character(text: str) -> str:
    if len(text) != 1 or text in '"\r\n':
        raise ValueError("must be one character, or tab, comma, semicolon, bar")
    return text


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
        "".encode(name)
    except LookupError:
        raise ValueError(f"{name!r} is not an encoding such as utf-8, utf-16 or cp1252") from None
    return name


def _known_zone(name: str) -> str:
    zone_of(name)
    return name


def _time_format(text: str) -> str:
    if "%" not in text:
        raise ValueError("must have directives such as %d.%m.%Y %H:%M")
    if "%Z" in text.replace("%%", ""):
        raise ValueError(
            "%Z is not supported, as names such as CET leave the offset unclear: for offsets such "
            "as +0100 use %z; for a name that all rows share, write the name itself, such as "
            "%H:%M CET, and set time_zone to its offset, +01:00"
        )
    pd.to_datetime(pd.Series(["x"]), format=text, errors="coerce")
    return text


def _listed(value: Any) -> Any:
    if value is None:
        return []
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _conditions(value: list[str]) -> list[str]:
    if wrong := [text for text in value if "=" not in text]:
        raise ValueError(f"{wrong[0]!r} must have the form column=value")
    return value


_ColumnKey = Annotated[int, Field(ge=1)] | str


class ReaderOptions(Parameters):
    """Options for the format of files; an error about a file names those that it needs.

    Parameters
    ----------
    separator
        The character between columns, or ``tab``.
    decimal
        ``.`` or ``,``; also ``point`` or ``comma``.
    encoding
        The encoding of the text, such as ``utf-16`` or ``cp1252``.
    skip_rows
        Lines before the header, or before the first row if there is none.
    columns
        The file's column for each of ours, by name or by number from 1; several are joined by a
        space, ``[Date, Time]`` or ``Date+Time``. None: the column of the same name.
    time_format
        The format of times, such as ``%d.%m.%Y %H:%M``; None is ISO 8601. Datetimes of Parquet
        files need none.
    time_zone
        The zone of times without an offset, such as ``Europe/Berlin``; None treats them as UTC.
    where
        ``column=value``: only matching rows are read; several conditions must all hold.
    missing
        Texts that mark a missing value, such as ``-999``; rows with one are skipped and counted.
    ignore
        Columns that may go unused even if they hold several quantities, units or series.
    """

    separator: Annotated[str, BeforeValidator(_separator), AfterValidator(_one_character)] = ","
    decimal: Annotated[Literal[".", ","], BeforeValidator(_sign)] = "."
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"
    skip_rows: int = Field(default=0, ge=0)
    columns: dict[str, _ColumnKey | list[_ColumnKey] | None] = Field(default={})
    time_format: Annotated[str, AfterValidator(_time_format)] | None = None
    time_zone: Annotated[str, AfterValidator(_known_zone)] | None = None
    where: Annotated[list[str], BeforeValidator(_listed), AfterValidator(_conditions)] = Field(
        default=[]
    )
    missing: Annotated[list[str], BeforeValidator(_listed)] = Field(default=[])
    ignore: Annotated[list[str], BeforeValidator(_listed)] = Field(default=[])

    @classmethod
    def of(cls, *layers: "ReaderOptions | Mapping[str, Any] | None") -> "ReaderOptions":
        """Build options from mappings; later ones override earlier ones.

        Raises
        ------
        OperationError
            If an option is wrong; the message names it.
        """
        merged: dict[str, Any] = {}
        for layer in layers:
            for name, value in dict(layer or {}).items():
                both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
                merged[name] = {**merged[name], **value} if both else value
        merged = {name: value for name, value in merged.items() if value is not None}
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            faults = [f"{'.'.join(['reader', *k])}: {why}" for k, why in explain(error, merged)]
            raise OperationError("\n".join(faults)) from error


class Names(NamedTuple):
    """Names of a table's columns: the time, the series, the number.

    ``aliases`` are alternative names, used if the file lacks one of these; ``others`` are further
    numbers of every row.
    """

    time: str
    series: str
    number: str
    aliases: Mapping[str, str] = {}
    others: Sequence[str] = ()

    @property
    def numbers(self) -> list[str]:
        """The names of all numbers."""
        return [self.number, *self.others]

    @property
    def all(self) -> list[str]:
        """All names, in the order of a table."""
        return [self.time, self.series, *self.numbers]


class SeriesReader:
    """Reads the rows of one file.

    Parameters
    ----------
    source
        The name of the file in messages.
    series
        The name of the series if the file has no column for it.
    settings
        The file in which the options are set, for messages.
    """

    def __init__(
        self,
        names: Names,
        options: ReaderOptions,
        source: str,
        series: str,
        settings: str = "parameters.yml",
    ) -> None:
        self._names, self._options, self._source, self._series = names, options, source, series
        self._settings = settings
        self._clock = Clock(zone_of(options.time_zone) if options.time_zone else None)
        self._offsets: list[Any] = [None, None]  # the first rows without and with an offset
        self._values: dict[str, dict[str, int]] = {}  # counted values of unused columns
        self._unused: list[str] = []
        self._left_out: dict[str, int] = {}
        self._has_header = True
        self._given_series = True
        if wrong := sorted(set(options.columns) - set(names.all)):
            raise OperationError(
                f"reader.columns: {wrong[0]} is not one of {', '.join(names.all)}."
            )
        for number in names.numbers:
            if isinstance(options.columns.get(number), list):
                raise OperationError(f"reader.columns.{number} must be one column, not a list.")

    def read_csv(self, open_file: Open, rows: int | None) -> Iterator[pd.DataFrame]:
        """Read delimited text as tables of at most ``rows`` rows, indexed by the file's line.

        Returns
        -------
        Tables with time and series as text, and the numbers where they could be parsed. The last
        one has the notes about the whole file in ``attrs["notes"]``.

        Raises
        ------
        BadDataError
            If the file cannot be read; the message names the line and, if the file seems to have
            another format, the options for it.
        """
        options = self._options
        is_pair = options.separator == options.decimal == "," and not self._names.others
        form = Form(options.separator, options.encoding, options.skip_rows, is_pair)
        known = [*self._names.all, *self._names.aliases]
        with closing(Lines(open_file, self._source, form, known)) as lines:
            try:
                yield from self.select(self._tables(lines, rows))
            except FormError as error:
                raise self._with_layout(error, open_file) from error

    def select(self, tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Select our columns from each table, as ``read_csv`` does for text."""
        held = empty = None
        for table in tables:
            chosen = self._select_columns(table)
            if not len(chosen):
                empty = chosen
                continue
            if held is not None:
                yield held
            held = chosen
        notes = self._notes()
        if held is None and any(self._left_out.values()):
            raise BadDataError(f"{self._source}: no rows are left: {'; '.join(notes)}.")
        for note in notes:
            logger.warning("%s: %s", self._source, note)
        last = empty if held is None else held
        if last is not None:
            last.attrs[NOTES] = notes
            yield last

    def _tables(self, lines: Lines, rows: int | None) -> Iterator[pd.DataFrame]:
        header = lines.header
        self._has_header = header.line is not None
        if self._has_header:
            self._refuse_repeated(header.names)
            header.names[:] = _distinct(header.names)
        else:
            self._refuse_unclear(lines.head(1)[0])
        self._refuse_missing(header.names)
        texts = self._text_columns(header.names)
        names = self._names.numbers
        numbers = [place for name in names for place in self._places(name, header.names)]
        is_text = self._options.decimal != "." or len(numbers) != len(names)
        empty = pd.DataFrame(columns=header.names, dtype=object)
        # NA may be the name of a series
        found = lines.tables(rows, Kinds(texts, numbers, _MISSING, is_text))
        yield next(found, empty)
        yield from found

    # Columns

    def _places(self, name: str, header: Sequence[str]) -> list[str]:
        """Return the columns of the file for one of ours."""
        option = self._options.columns.get(name)
        if option is None and not self._has_header and not any(self._options.columns.values()):
            order = {2: [self._names.time, self._names.number], 3: self._names.all}
            order = {} if self._names.others else order
            ours = order.get(len(header), [])
            return [header[ours.index(name)]] if name in ours else []
        if option is None:
            aliases = [alias for alias, ours in self._names.aliases.items() if ours == name]
            return [found for found in (name, *aliases) if found in header][:1]
        if isinstance(option, str) and option not in header and "+" in option:
            parts = [part.strip() for part in option.split("+")]
            option = [int(part) if part.isdigit() else part for part in parts]
        found = []
        for place in option if isinstance(option, list) else [option]:
            if isinstance(place, int) and place <= len(header):
                found.append(header[place - 1])
            elif isinstance(place, str) and place.strip() in header:
                found.append(place.strip())
            else:
                raise FormError(
                    f"{self._source}: reader.columns.{name} names {place!r}, which is not a "
                    f"column.\nThe file has: {', '.join(header)}"
                )
        return found

    def _text_columns(self, header: Sequence[str]) -> list[str]:
        """List the columns to read as text: time, series, and those that describe a row."""
        ours = [*self._places(self._names.time, header), *self._places(self._names.series, header)]
        where = [text.partition("=")[0].strip() for text in self._options.where]
        numbers = {place for name in self._names.numbers for place in self._places(name, header)}
        descriptive = [
            name
            for name in header
            if any(kind.fullmatch(name) for kind in _DESCRIBING) and name not in numbers
        ]
        return list(dict.fromkeys([*ours, *(n for n in where if n in header), *descriptive]))

    def _refuse_repeated(self, header: Sequence[str]) -> None:
        """Refuse columns that share one of our names, unless an option selects one by number."""
        for name in self._names.all:
            option = self._options.columns.get(name)
            options = option if isinstance(option, list) else [option] if option is not None else []
            aliases = [alias for alias, ours in self._names.aliases.items() if ours == name]
            wanted = (
                [one for one in options if isinstance(one, str)] if options else [name, *aliases]
            )
            for one in wanted:
                if header.count(one) > 1:
                    places = [str(n) for n, other in enumerate(header, 1) if other == one]
                    raise BadDataError(
                        f"{self._source}: columns {' and '.join(places)} are both called {one}. "
                        f"Choose one by its number, under reader: in {self._settings}:\n"
                        f"  columns: {{{name}: {places[0]}}}"
                    )

    def _select_columns(self, table: pd.DataFrame) -> pd.DataFrame:
        """Select our columns from a table; note or refuse its other columns."""
        table = table.rename(columns=lambda name: str(name).strip())
        header = list(table.columns)
        self._refuse_repeated(header)
        self._refuse_missing(header)
        places = {name: self._places(name, header) for name in self._names.all}
        table = self._filter_rows(table, places)
        used = {column for columns in places.values() for column in columns}
        self._check_unused_columns(table, [name for name in header if name not in used], places)
        if not self._has_header:
            self._refuse_unclear_names(table, places)
        found = pd.DataFrame(index=table.index)
        found[self._names.time] = _joined(table, places[self._names.time])
        if places[self._names.series]:
            found[self._names.series] = _joined(table, places[self._names.series])
        else:
            found[self._names.series] = self._series
        for name in self._names.numbers:
            found[name] = table[places[name][0]]
        for name in self._names.numbers:
            found[name] = self._numbers(name, found)
        found[self._names.time] = self._times(found)
        found.attrs["source"] = self._source
        if SHARE in table.attrs:
            found.attrs[SHARE] = table.attrs[SHARE]
        return found

    def _refuse_missing(self, header: Sequence[str]) -> None:
        needed = (self._names.time, *self._names.numbers)
        if missing := [name for name in needed if not self._places(name, header)]:
            hint = f" (or no header and two columns: {', '.join(needed)})"
            raise FormError(
                f"{self._source}: wrong columns, {', '.join(missing)} missing.\n"
                f"The file has: {', '.join(header)}\n"
                f"It needs: {', '.join(self._names.all)}{hint * (len(needed) == 2)}."
            )

    def _filter_rows(self, table: pd.DataFrame, places: Mapping[str, list[str]]) -> pd.DataFrame:
        """Drop the rows that the options exclude, and count them."""
        for condition in self._options.where:
            column, _, value = (part.strip() for part in condition.partition("="))
            if column not in table:
                raise FormError(
                    f"{self._source}: reader.where names {column}, which is not a column.\n"
                    f"The file has: {', '.join(table.columns)}"
                )
            keep = table[column].astype(str).str.strip() == value
            table = self._keep_rows(table, keep, f"where {column} is not {value}")
        for name in self._names.numbers if self._options.missing else []:
            numbers = table[places[name][0]]
            texts = numbers.astype(object).where(numbers.notna(), "").astype(str).str.strip()
            # a code may have a decimal point in any file: YAML writes numbers with one
            signs = {".", self._options.decimal}
            codes = [read_numbers(self._options.missing, sign) for sign in signs]
            is_code = texts.isin(self._options.missing)
            if set(self._options.missing) & set(_MISSING):
                is_code |= numbers.isna()
            read = read_numbers(numbers, self._options.decimal)
            is_code |= np.isin(read, codes)  # NaN equals no code
            codes_text = " or ".join(map(repr, self._options.missing))
            which = name if self._names.others else "a number"
            table = self._keep_rows(table, ~is_code, f"with {codes_text} for {which}")
        return table

    def _keep_rows(self, table: pd.DataFrame, keep: pd.Series, why: str) -> pd.DataFrame:
        self._left_out[why] = self._left_out.get(why, 0) + int((~keep).sum())
        return table[keep]

    def _check_unused_columns(
        self, table: pd.DataFrame, names: list[str], places: Mapping[str, list[str]]
    ) -> None:
        """Count the values of unused columns; refuse several quantities, units or series."""
        filtered = {text.partition("=")[0].strip() for text in self._options.where}
        self._unused = [name for name in names if name not in filtered]
        for name in self._unused:
            kind = next((kind for kind in _DESCRIBING if kind.fullmatch(name)), None)
            if kind is None or (kind is _SERIES and places[self._names.series]):
                continue
            counts = self._values.setdefault(name, {})
            if len(counts) > _MOST_VALUES:
                continue
            values = table[name].dropna().astype(str).str.strip()
            for value, count in values.value_counts(sort=False).items():
                counts[str(value)] = counts.get(str(value), 0) + int(count)
            # a column in which no value is repeated numbers the rows; it does not name series
            is_number_of_row = kind is _SERIES and max(counts.values(), default=0) < 2
            is_wrong = kind is not _QUALITY and not is_number_of_row
            if len(counts) > 1 and is_wrong and name not in self._options.ignore:
                self._refuse_several(name, kind, values, list(counts))

    def _refuse_several(
        self, name: str, kind: re.Pattern[str], values: pd.Series, found: list[str]
    ) -> None:
        shown = ", ".join(found[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
        other = values[values != found[0]]
        line = f" (line {other.index[0]}: {other.iloc[0]})" if len(other) else ""
        kinds = {_UNIT: "units", _QUANTITY: "quantities"}.get(kind, "series")
        choices = [f'where: "{name}={found[0]}"    # reads only these rows']
        if kind is _SERIES:
            choices.append(f"columns: {{{self._names.series}: {name}}}    # it names the series")
        choices.append(f"ignore: {name}    # the rows belong together anyway")
        options = "\n  or ".join(choices)
        raise BadDataError(
            f"{self._source}: the column {name} holds several {kinds}, which would be read as one: "
            f"{shown}{line}.\nChoose one of these under reader: in {self._settings}:\n     "
            f"{options}"
        )

    # Values

    def _numbers(self, name: str, found: pd.DataFrame) -> pd.Series:
        """Read numbers with the decimal sign; refuse unreadable ones if it is a comma."""
        column = found[name]
        if self._options.decimal == ".":
            self._refuse_decimal_commas(column)
            if column.dtype != object:
                return column
            numbers = pd.Series(read_numbers(column), column.index)
            return numbers if (numbers.notna() | column.isna()).all() else column
        numbers = pd.Series(read_numbers(column, self._options.decimal), column.index)
        wrong = numbers.isna() & column.notna()
        if wrong.any():
            raise self._error_on_rows(
                f"{name} is not a number with the decimal sign {self._options.decimal!r} "
                "(reader.decimal)",
                found[wrong],
            )
        return numbers

    def _refuse_decimal_commas(self, column: pd.Series) -> None:
        if column.dtype != object:
            return
        texts = column.dropna().astype(str)
        if len(texts) and texts.str.fullmatch(r" *[+-]?\d+,\d+ *").mean() > 0.5:
            raise FormError(
                f"{self._source}: {column.name} has decimal commas, {texts.iloc[0]} in line "
                f"{texts.index[0]}, but reader.decimal is a point."
            )

    def _times(self, found: pd.DataFrame) -> pd.Series:
        """Return times as ISO 8601, with offsets if ``time_zone`` is set."""
        texts, options = found[self._names.time], self._options
        wanted = options.time_format
        if pd.api.types.is_datetime64_any_dtype(texts):
            wanted = None
        else:
            texts = found[self._names.time] = _texts(texts)
        if wanted:
            local, has_offset = self._parse_formatted_times(found, wanted)
        else:
            times = read_times(texts)
            local, has_offset = times
            self._refuse_other_form(local, texts)
            refuse_mixed_offsets(self._offsets, times, texts, self._source)
            texts = _as_texts(texts, times)
        series = found[self._names.series]
        if options.time_zone is None or has_offset.all():
            if not has_offset.any():
                self._clock.look(local, series)
            if not wanted:
                return texts
            return texts.where(np.isnat(local), _iso(local) + ("Z" if has_offset.any() else ""))
        no_offset = np.where(has_offset, np.datetime64("NaT"), local)
        utc, is_missing = self._clock.to_utc(no_offset, series)
        if is_missing.any():
            raise self._error_on_rows(
                f"{self._names.time} does not exist in {options.time_zone}: clocks went forward "
                "then (reader.time_zone)",
                found[is_missing],
            )
        as_text = _iso(local) + _offsets(local - utc)
        return texts.where(np.isnat(local) | has_offset, as_text)

    def _parse_formatted_times(
        self, found: pd.DataFrame, wanted: str
    ) -> tuple[np.ndarray, np.ndarray]:
        texts = found[self._names.time]
        stripped = texts.astype(object).where(texts.notna(), None)
        stripped = stripped.map(lambda text: text.strip(), na_action="ignore")
        has_offset = "%z" in wanted
        times = pd.to_datetime(stripped, format=wanted, errors="coerce", utc=has_offset)
        if has_offset:
            times = times.dt.tz_localize(None)
        wrong = times.isna() & texts.notna()
        if re.search(r"%[A-Za-z]%[A-Za-z]", wanted) and times.notna().any():
            # without separators a shorter text could be read as other digits
            length = len(times.dropna().iloc[0].strftime(wanted))
            wrong |= texts.notna() & (stripped.str.len() != length)
        if wrong.any():
            raise self._error_on_rows(
                f"{self._names.time} is not of the form {wanted} (reader.time_format)", found[wrong]
            )
        return times.to_numpy("datetime64[ns]"), np.full(len(texts), has_offset)

    def _refuse_other_form(self, times: np.ndarray, texts: pd.Series) -> None:
        """Refuse a table in which no time can be read, because the times have another form."""
        if np.isnat(times).all() and len(present := texts.dropna()) > 1:
            raise FormError(
                f"{self._source}: {self._names.time} is not a date and time such as "
                f"2024-01-31 13:00: {present.iloc[0]} in line {present.index[0]}."
            )

    # Files without a header

    def _refuse_unclear(self, first: Record) -> None:
        """Refuse ambiguous columns of a file without a header."""
        if any(self._options.columns.values()):
            return
        if self._names.others:
            raise FormError(
                f"{self._source}: the file has no header, and line {first.line} does not show "
                f"which columns are {', '.join(self._names.all)}: {','.join(first.cells)}\n"
                f"Give their numbers under reader: columns: in {self._settings}."
            )
        is_time = not np.isnat(read_times(np.array(first.cells[:1], object)).values[0])
        if len(first.cells) not in {2, 3} or not (is_time or self._options.time_format):
            raise FormError(self._unclear(first.line, first.cells))
        if len(first.cells) == 3 and self._is_not_a_name(first.cells[1]):
            raise BadDataError(self._unclear(first.line, first.cells))

    def _refuse_unclear_names(self, table: pd.DataFrame, places: Mapping[str, list[str]]) -> None:
        if any(self._options.columns.values()) or not places[self._names.series]:
            return
        column = table[places[self._names.series][0]]
        for name in column.dropna().unique():
            if self._is_not_a_name(str(name)):
                row = int(np.argmax(column == name))
                cells = [str(cell) for cell in table.iloc[row].tolist()]
                raise BadDataError(self._unclear(int(table.index[row]), cells))

    def _is_not_a_name(self, text: str) -> bool:
        name = text.strip()
        return bool(
            is_number_like(name)
            or is_time_like(name)
            or _NOT_A_NAME.fullmatch(name)
            or name.lower() in self._names.all
        )

    def _unclear(self, line: int, cells: Sequence[str]) -> str:
        """List the possible meanings of a headerless file's columns, with the option for each."""
        time, series, number = self._names.all
        cases = []
        if len(cells) == 3 and not np.isnat(read_times(np.array(cells[:1], object)).values[0]):
            middle, last = cells[1].strip(), cells[2].strip()
            if is_time_like(middle):
                cases.append(("date and time of day", f"{{{time}: [1, 2], {number}: 3}}"))
            else:
                cases.append((f"a {series} {middle!r}", f"{{{time}: 1, {series}: 2, {number}: 3}}"))
            if is_number_like(middle):
                cases.append(("two quantities, the first is meant", f"{{{time}: 1, {number}: 2}}"))
                cases.append(("two quantities, the second is meant", f"{{{time}: 1, {number}: 3}}"))
            elif not is_time_like(middle):
                case = f"{middle!r} is not about the {series}"
                cases.append((case, f"{{{time}: 1, {number}: 3}}"))
            if middle.lstrip("+-").isdigit() and last.isdigit():
                cases.append((f"{middle},{last} with a decimal comma", ""))
        listed = "".join(
            f"\n  {case}:  " + (f"columns: {columns}" if columns else 'decimal: ","')
            for case, columns in cases
        )
        choices = f"\nChoose one under reader: in {self._settings}:{listed}" if cases else ""
        return (
            f"{self._source}: the file has no header, and line {line} does not show what its "
            f"columns are: {','.join(cells)}\nWithout a header they are {time} (ISO 8601) and "
            f"{number}, or {time}, {series} and {number}, where {series} must clearly be a "
            f"name.{choices}"
        )

    # Messages

    def _error_on_rows(self, why: str, rows: pd.DataFrame) -> BadDataError:
        shown = rows[self._names.all].rename_axis("line")
        more = f"\n... and {len(rows) - 10:,} more" if len(rows) > 10 else ""
        return BadDataError(
            f"{self._source}: {len(rows):,} rows cannot be used: {why}.\n\n"
            f"The first offending rows:\n{first_rows(shown)}{more}"
        )

    def _with_layout(self, error: FormError, open_file: Open) -> BadDataError:
        """Add the layout of the file, and the options that read it, to an error."""
        encoding = self._options.encoding
        with open_file() as file:
            text = file.read(_HEAD).decode(encoding, "replace")
        lines = text.removeprefix("\ufeff").splitlines()
        layout = layout_of(lines[: max(len(lines) - 1, 1)][:_HEAD_LINES])
        suggested = suggestion(layout, self._names) if layout else None
        if not layout or not suggested:
            return BadDataError(str(error))
        if encoding != "utf-8":
            suggested["encoding"] = encoding
        shown = yaml.safe_dump({"reader": suggested}, sort_keys=False, allow_unicode=True)
        either = ""
        if len(layout.formats) > 1:
            either = f"\nIts times fit {' and '.join(layout.formats[:3])}: check which is right."
        return BadDataError(
            f"{error}\n\nIt looks like this: {layout.in_words()}.{either}\n"
            f"If so, set in {self._settings}:\n{shown}".rstrip()
        )

    def _notes(self) -> list[str]:
        notes = []
        if self._unused:
            unused = [name + _most_frequent(self._values.get(name, {})) for name in self._unused]
            notes.append(f"columns that are not used: {', '.join(unused)}")
        for why, count in self._left_out.items():
            notes.append(f"{count:,} rows left out {why}")
        for series, time in list(self._clock.repeated.items())[:1]:
            hour = str(np.datetime_as_string(time, "m")).replace("T", " ")
            more = f" (and {len(self._clock.repeated) - 1} more)" * (len(self._clock.repeated) > 1)
            notes.append(
                f"{series}{more}: times go back by an hour at {hour}, as clocks do at the end of "
                "daylight saving time; if these are local times, set reader.time_zone, such as "
                "Europe/Berlin"
            )
        if self._clock.unclear:
            notes.append(
                f"{self._clock.unclear:,} rows are in the hour that clocks repeat, with no rows "
                "before them: read as the first of the two"
            )
        return notes


def suggestion(layout: Layout, names: Names) -> dict[str, Any] | None:
    """Return the options that read a file of this layout; None if it lacks a time or a number."""
    places = layout.columns("time") or [*layout.columns("date"), *layout.columns("clock")]
    numbers = layout.columns("number") or layout.columns("count")
    if set(names.others) - set(map(layout.name, numbers)):
        return None
    numbers = [place for place in numbers if layout.name(place) not in names.others]
    if not places or not numbers:
        return None
    options: dict[str, Any] = {}
    if layout.separator != ",":
        options["separator"] = "tab" if layout.separator == "\t" else layout.separator
    if layout.decimal != ".":
        options["decimal"] = layout.decimal
    if layout.skip_rows:
        options["skip_rows"] = layout.skip_rows
    times = [layout.name(place) for place in (places if len(places) < 3 else places[:1])]
    if layout.columns("time"):
        times = times[:1]
    # decimals suggest measurements; if there are none, row numbers and codes usually come first
    fine = [n for n in numbers if any({".", ","} & set(row[n]) for row in layout.rows)]
    named = [n for n in numbers if layout.name(n) == names.number]
    number = (named or fine or numbers[-1:])[0]
    columns: dict[str, Any] = {names.time: times[0] if len(times) == 1 else times}
    columns[names.number] = layout.name(number)
    if {name: columns[name] for name in columns} != {name: name for name in columns}:
        options["columns"] = columns
    if layout.formats:
        options["time_format"] = layout.formats[0]
    return options


def _distinct(header: Sequence[str]) -> list[str]:
    """Make the names of columns unique."""
    names: list[str] = []
    for number, name in enumerate(header, 1):
        free = name or f"column {number}"
        names.append(free if free not in names else f"{free} ({number})")
    return names


def _joined(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    if len(columns) == 1:
        return table[columns[0]]
    joined, *others = (_texts(table[column]).str.strip() for column in columns)
    for other in others:
        joined = joined + " " + other
    return joined


def _texts(column: pd.Series) -> pd.Series:
    """Convert values of other types, as in Parquet files, to text, as in CSV files."""
    if pd.api.types.infer_dtype(column, skipna=True) in ("string", "empty"):
        return column
    return column.astype(object).map(str, na_action="ignore")


def _most_frequent(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    if len(counts) == 1:
        return f" ({next(iter(counts))})"
    most = sorted(counts, key=lambda value: -counts[value])
    shown = [f"{counts[value]:,} x {value}" for value in most[:_SHOWN]]
    return f" ({', '.join(shown)}{', ...' if len(most) > _SHOWN else ''})"


def _as_texts(column: pd.Series, times: Times) -> pd.Series:
    """Convert datetimes, as in Parquet files, to text, as in CSV files."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        return column
    texts = pd.Series(_iso(times.values), column.index, object)
    if times.has_offset.any():
        texts += "Z"
    return texts.mask(np.isnat(times.values), None)


def _iso(times: np.ndarray) -> np.ndarray:
    micros = times.astype("datetime64[us]")
    seconds = micros.astype("datetime64[s]")
    texts = np.datetime_as_string(seconds).astype(object)
    fine = np.flatnonzero((micros != seconds) & ~np.isnat(micros))
    texts[fine] = np.datetime_as_string(micros[fine])
    return texts


def _offsets(distances: np.ndarray) -> np.ndarray:
    """Write offsets from UTC, such as +01:00."""
    minutes = np.where(np.isnat(distances), 0, distances.astype("timedelta64[s]").astype(int)) // 60
    known, place = np.unique(minutes, return_inverse=True)
    texts = [f"{'-' if m < 0 else '+'}{abs(m) // 60:02}:{abs(m) % 60:02}" for m in known.tolist()]
    return np.array(texts, object)[place]
