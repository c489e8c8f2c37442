"""Score files of any length piece by piece: a reader, a writer, and the function between them.

``CsvPieces`` and ``ScoredPieces`` are dataset types for the catalog; nodes call ``score_pieces``::

    new_rows:
      type: kedro_azure_mlops.serve.batches.CsvPieces
      filepath: data/new
      rows: 100000
    new_scores:
      type: kedro_azure_mlops.serve.batches.ScoredPieces
      filepath: data/scores
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from shutil import move
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from kedro_azure_mlops.contract import (
    AnswerError,
    CannotExplainError,
    Column,
    Columns,
    Schema,
    Scorer,
    columns_of_rows,
    whole_numbers,
)
from kedro_azure_mlops.engine import Table, is_on_spark
from kedro_azure_mlops.errors import OperationError, RefusedError, first_line
from kedro_azure_mlops.explain import EXPLANATION, Explaining, flagged_rows
from kedro_azure_mlops.progress import Progress
from kedro_azure_mlops.serve.record import Recorder
from kedro_azure_mlops.serve.score import values_writer
from kedro_azure_mlops.serve.stream import MOST_LATE, LateRowsError, Stream
from kedro_azure_mlops.storage import shown
from kedro_azure_mlops.tables.delimited import EXACT, SHARE, Form, Lines, refuse_repeated_names
from kedro_azure_mlops.validation import BadDataError, refuse_mixed_offsets
from kedro_azure_mlops.values import Times, read_numbers, read_times
from kedro_azure_mlops.writing import (
    clean_up,
    linked,
    naming_a_full_disk,
    new_beside,
    put_in_place,
    remove,
)

logger = logging.getLogger(__name__)

PART = "part"  # attribute of a piece: the name of its file, if it is in a folder
SOURCE = "source"  # attribute of a piece: the name of its file in messages
_SUFFIXES = (".csv", ".parquet")
# arguments of pandas.read_csv that would change which lines are read, or the form of the result
_UNSUPPORTED = ("chunksize", "comment", "dtype_backend", "iterator", "nrows", "skipfooter")
_UNNAMED_INDEX = "__index_level_"  # begins the name of such a column in a Parquet file
_LARGEST = 2**63  # bound of whole numbers
_MOST_DECIMALS = 22  # up to here, a power of ten is a float
_ROWS_SHOWN = 10
_NAMES_SHOWN = 20
_NO_REASON = "not known to the model"


class EmptyFileError(RefusedError):
    """A file has no rows (exit status 1)."""


class Pieces(Iterator[pd.DataFrame]):
    """The pieces of some files; each file is opened when its first piece is requested.

    ``schema`` is the model's, set by ``score_pieces`` before the first request: text stays text,
    and large whole numbers are not rounded. Without it, pandas infers the types of CSV columns.
    """

    def __init__(self, read: Callable[[Schema | None], Iterator[pd.DataFrame]]) -> None:
        self.schema: Schema | None = None
        self._read = read
        self._pieces: Iterator[pd.DataFrame] | None = None

    def __next__(self) -> pd.DataFrame:
        if self._pieces is None:
            self._pieces = self._read(self.schema)
        return next(self._pieces)


class CsvPieces(AbstractDataset[None, Iterator[pd.DataFrame]]):
    """New rows: a CSV or Parquet file, or a folder of them in the order of their names.

    Loads an iterator of pieces. Each is a DataFrame indexed by the line in its file (Parquet: by
    the row number) with the attributes ``source`` (the file, for messages), ``part`` (the name of
    the file without its suffix, None for a single file) and, if sizes are known, ``share`` (the
    fraction of all files read so far). Other files in a folder are ignored, and so are names that
    start with ``_`` or a dot. ``score_pieces`` reads the text columns of the model as text.

    Projects with their own rules override ``read_csv(address)`` or ``read_parquet(address)``,
    which read a file as pieces, or ``accept(pieces)``, which validates or changes a file's pieces.

    Parameters
    ----------
    filepath
        A file or folder, local or at any address that fsspec opens.
    rows
        The maximum number of rows per piece.
    load_args
        Further arguments of ``pandas.read_csv``, such as ``dtype: {machine: str}``, which override
        the model's types. Numbers with leading zeros, such as ``007``, are kept as text.
    credentials, fs_args
        As for Kedro's own datasets.
    """

    def __init__(
        self,
        *,
        filepath: str | None,
        rows: int = 100_000,
        load_args: dict[str, Any] | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.filepath = filepath
        self.rows = rows
        self.load_args = load_args or {}
        self._storage = {**(fs_args or {}), **(credentials or {})}
        self._schema: Schema | None = None  # of the model that the file being opened is for
        self.metadata = metadata

    def load(self) -> Iterator[pd.DataFrame]:
        """Find the files; each is opened when its first piece is requested.

        Raises
        ------
        OperationError
            If no file is named, or none exists. The iterator raises ``RefusedError`` for a file
            that cannot be read as a table.
        """
        files = self.files()
        return Pieces(lambda schema: self._pieces(files, schema))

    def files(self) -> dict[str | None, str]:
        """Return the files' addresses by name (None for a single file); raises like ``load``."""
        if self.filepath is None:
            raise OperationError("There is nothing to score: no file or folder is named.")
        return self._parts(self.filepath)

    def read_csv(self, address: str) -> Iterator[pd.DataFrame]:
        """Read one CSV file as pieces; override it for other formats.

        Raises
        ------
        RefusedError
            If it is not a CSV table.
        OperationError
            If ``load_args`` has arguments that are not supported.
        """
        options = dict(self.load_args)
        _refuse_unsupported(options)
        form = Form(
            options.pop("sep", options.pop("delimiter", ",")),
            options.pop("encoding", "utf-8"),
            options.pop("skiprows", 0),
        )
        names, header = options.pop("names", None), options.pop("header", "infer")
        inputs = self._schema.inputs if self._schema else ()
        texts = {one.name for one in inputs if one.type == "string"}
        wholes = {one.name for one in inputs if one.type == "long"}
        try:
            with closing(
                Lines(lambda: self.open(address), shown(address), form, header=header is not None)
            ) as lines:
                if names is not None:
                    lines.header.names[:] = names
                lines.refuse_repeated_names()
                yield from lines.tables(self.rows, texts=texts, wholes=wholes, **options)
        except BadDataError as error:
            raise RefusedError(str(error)) from error

    def read_parquet(self, address: str) -> Iterator[pd.DataFrame]:
        """Read one Parquet file as pieces; override it for other formats.

        Raises
        ------
        RefusedError
            If it is not a Parquet table.
        """
        import pyarrow
        import pyarrow.parquet

        rows_read = 0
        with self.open(address) as file:
            try:
                table = pyarrow.parquet.ParquetFile(file)
                refuse_repeated_names(table.schema_arrow.names, shown(address))
                for batch in table.iter_batches(self.rows):
                    piece = _piece_of(batch)
                    piece.index = pd.RangeIndex(rows_read + 1, rows_read + 1 + len(piece))
                    rows_read += len(piece)
                    piece.attrs[SHARE] = rows_read / table.metadata.num_rows
                    yield piece
            except BadDataError as error:
                raise RefusedError(str(error)) from error
            except (pyarrow.ArrowException, OSError) as error:
                raise RefusedError(
                    f"{shown(address)}: not a Parquet table, or damaged: {first_line(error)}"
                ) from error

    def accept(self, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Pass on the pieces of one file; override it to validate or change them."""
        return pieces

    def open(self, address: str) -> IO[bytes]:
        """Open a file in binary mode."""
        files, path = self._file_system(address)
        return files.open(path, "rb")  # type: ignore[no-any-return]

    def save(self, data: None) -> None:
        """Raise an error: the input files are read-only."""
        raise DatasetError("Rows to score are read-only: they cannot be saved.")

    def _file_system(self, address: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(address, **self._storage)
        return files, str(path)

    def _parts(self, address: str) -> dict[str | None, str]:
        files, folder = self._file_system(address)
        if not files.exists(folder):
            raise OperationError(f"There is no file {shown(address)} to score.")
        if not files.isdir(folder):
            return {None: address}
        kinds = {
            PurePosixPath(one["name"]).name: one["type"] for one in files.ls(folder, detail=True)
        }
        parts = [
            name
            for name in sorted(kinds)
            if _suffix(name) in _SUFFIXES and not name.startswith(("_", "."))
        ]
        if folders := [name for name in parts if kinds[name] == "directory"]:
            raise OperationError(
                f"{shown(address)} holds the folder {folders[0]}, and only files are read: move "
                "its files up, or score it on its own."
            )
        stems = [PurePosixPath(name).stem for name in parts]
        if duplicates := sorted({stem for stem in stems if stems.count(stem) > 1}):
            raise OperationError(
                f"{shown(address)} holds two files named {duplicates[0]}, with different suffixes: "
                "their scores would get the same name. Rename one."
            )
        if not parts:
            raise OperationError(
                f"The folder {shown(address)} holds no file to score ({' or '.join(_SUFFIXES)})."
            )
        root = address.rstrip("/")
        return {stem: f"{root}/{name}" for stem, name in zip(stems, parts, strict=True)}

    def _pieces(
        self, parts: dict[str | None, str], schema: Schema | None = None
    ) -> Iterator[pd.DataFrame]:
        sizes = {address: self._size(address) for address in parts.values()}
        total, bytes_read = sum(sizes.values()), 0
        for part, address in parts.items():
            self._schema = schema  # projects override `read_csv(address)`
            read = self.read_parquet if _suffix(address) == ".parquet" else self.read_csv
            for piece in self.accept(self._named(read(address), address)):
                piece.attrs.update({SOURCE: shown(address), PART: part})
                share = piece.attrs.pop(SHARE, None)
                if share is not None and all(sizes.values()):
                    piece.attrs[SHARE] = (bytes_read + share * sizes[address]) / total
                yield piece
            bytes_read += sizes[address]

    def _size(self, address: str) -> int:
        """Return the size of a local file in bytes; 0 for a remote one, to spare a request."""
        path = self._file_system(address)[1]
        return Path(path).stat().st_size if Path(path).is_file() else 0

    def _named(self, pieces: Iterator[pd.DataFrame], address: str) -> Iterator[pd.DataFrame]:
        rows = 0
        for piece in pieces:
            piece.attrs[SOURCE] = shown(address)
            rows += len(piece)
            yield piece
        if not rows:
            raise EmptyFileError(f"{shown(address)}: the file is empty: it has no rows.")

    def _exists(self) -> bool:
        if self.filepath is None:
            return False
        files, path = self._file_system(self.filepath)
        return bool(files.exists(path))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self.filepath, "rows": self.rows}


class ScoredPieces(AbstractDataset[Iterable[pd.DataFrame], Iterator[pd.DataFrame]]):
    """Scored rows: one file, or a folder with a file per part if the rows came from a folder.

    The scores are written to a temporary folder and moved at the end, so they are either complete
    or absent. A file replaces that of an earlier run, and a folder replaces a folder; of a file and
    a folder, the newer one is loaded. A symbolic link is followed.

    Parameters
    ----------
    filepath
        A local path without suffix: ``scores`` becomes the file ``scores.csv`` or the folder
        ``scores`` (a suffix ``.csv`` or ``.parquet`` selects the format).
    format
        ``csv`` (default) or ``parquet``.
    load_args
        Further arguments of ``pandas.read_csv``, for loading the scores again.
    """

    def __init__(
        self,
        *,
        filepath: str,
        format: Literal["csv", "parquet"] | None = None,
        load_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if "://" in filepath:
            raise OperationError(f"{filepath} is not a folder on this machine.")
        path = Path(filepath)
        suffix = path.suffix.removeprefix(".")
        if suffix not in {"csv", "parquet"}:
            suffix = ""
        self.format = format or suffix or "csv"
        if self.format not in {"csv", "parquet"}:
            raise OperationError(f"scores are written as csv or parquet, not as {self.format}.")
        self._folder = path.with_suffix("") if suffix else path
        self._file = self._folder.with_name(f"{self._folder.name}.{self.format}")
        self.load_args = load_args or {}
        self.metadata = metadata

    def load(self) -> Iterator[pd.DataFrame]:
        """Read the newest scores, one table per file."""
        paths = [path for path in (self._folder, self._file) if path.exists()]
        newest = max(paths, key=lambda path: path.stat().st_mtime_ns, default=self._file)
        files = sorted(newest.glob(f"*.{self.format}")) if newest.is_dir() else [newest]
        if self.format == "parquet":
            return (pd.read_parquet(file) for file in files)
        return (pd.read_csv(file, **self.load_args) for file in files)

    def save(self, data: Iterable[pd.DataFrame]) -> None:
        """Write the pieces as they arrive, to one file for each ``attrs["part"]``."""
        self.clean_up()
        new = new_beside(linked(self._folder))
        with naming_a_full_disk(self._folder, what="the table of scores"):
            try:
                new.mkdir(parents=True)
                self._put(new, self._write(data, new))
            finally:
                self.clean_up()

    def clean_up(self) -> None:
        """Remove the leftovers of a run that was killed while saving, but keep earlier scores."""
        clean_up(linked(self._folder))
        remove(new_beside(linked(self._file)))

    def _write(self, pieces: Iterable[pd.DataFrame], folder: Path) -> list[str | None]:
        """Write the pieces of each part into one file; return the parts."""
        parts: list[str | None] = []
        writer: _CsvWriter | _ParquetWriter | None = None
        kind: Callable[[Path], _CsvWriter | _ParquetWriter]
        kind = _CsvWriter if self.format == "csv" else _ParquetWriter
        try:
            for piece in pieces:
                part = piece.attrs.get(PART)
                if writer is None or part != parts[-1]:
                    if writer is not None:
                        writer.close()
                    writer = kind(folder / self._name(part))
                    parts.append(part)
                writer.write(piece)
        finally:
            if writer is not None:
                writer.close()
        return parts

    def _put(self, new: Path, parts: list[str | None]) -> None:
        if parts == [None]:
            file = linked(self._file)
            whole = new_beside(file)
            move(new / self._name(None), whole)  # a link may lead to another disk
            whole.replace(file)
            logger.info("The scores are in %s", shown(str(self._file)))
            return
        put_in_place(new, linked(self._folder))
        logger.info("The scores are in %s/", shown(str(self._folder)))

    def _name(self, part: str | None) -> str:
        return f"{part or 'scores'}.{self.format}"

    def _exists(self) -> bool:
        return self._folder.is_dir() or self._file.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._folder, "format": self.format}


class _CsvWriter:
    """Writes with pyarrow, because pandas would take a third of the time of a whole run."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("wb")
        self._is_new = True

    def write(self, piece: pd.DataFrame) -> None:
        import pyarrow
        import pyarrow.csv

        if self._is_new:
            self._file.write((",".join(map(_quoted, piece.columns)) + "\n").encode())
            self._is_new = False
        table = pyarrow.Table.from_pandas(piece, preserve_index=False, nthreads=1)
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
        pyarrow.csv.write_csv(table, self._file, options)

    def close(self) -> None:
        self._file.close()


class _ParquetWriter:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, piece: pd.DataFrame) -> None:
        import pyarrow
        import pyarrow.parquet

        schema = self._writer.schema if self._writer else None
        table = pyarrow.Table.from_pandas(piece, schema=schema, preserve_index=False)
        if self._writer is None:
            # the type of a column without values in the first piece is unknown
            named = [
                field.with_type(pyarrow.string()) if pyarrow.types.is_null(field.type) else field
                for field in table.schema
            ]
            table = table.cast(pyarrow.schema(named, table.schema.metadata))
            self._writer = pyarrow.parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def score_pieces(
    pieces: Iterable[pd.DataFrame] | Table,
    scorer: Scorer,
    version: str | None,
    *,
    most_late: timedelta = MOST_LATE,
    explain: bool = False,
    digest: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[pd.DataFrame] | Table:
    """Score rows piece by piece, with the earlier rows of their series as history.

    The answers do not depend on how the rows are cut into pieces, and memory stays flat: only the
    history that ``scorer.schema.history`` declares is remembered for each series. Use it as a
    node's function or call it from one; Kedro saves the result through ``ScoredPieces``. If
    ``recording`` in ``mlops.yml`` is enabled, the answers of a successful run are recorded like
    those of a server, except in a job, whose disk is temporary: monitor its scores instead.

    Parameters
    ----------
    pieces
        DataFrames with the columns of ``scorer.schema.inputs`` (others are left out), times as text
        or datetimes, as loaded by ``CsvPieces``. Several series may be mixed. The rows of a series
        are sorted by time, or at most ``most_late`` late. A Spark table is scored by the executors
        and not recorded, see ``score_on_spark``.
    scorer
        The model; see ``contract.Scorer``.
    version
        The model's version, for the last column.
    explain
        Whether to add a column ``explanation``: one line on why a row was flagged (or, for a model
        without flags, on its score).
    digest
        The model's digest, for the recording.
    clock
        Returns seconds; progress is logged at most every five seconds.

    Returns
    -------
    A lazy iterator of one DataFrame per piece, with the same index and ``attrs``: the input
    columns, the output columns (numbers rounded to ``Column.decimals``, booleans as 0 and 1,
    missing values as missing) and ``model_version``.

    Raises
    ------
    OperationError
        If answers should be explained or recorded, but cannot be.
    RefusedError
        While iterating: if columns are missing, values do not fit the schema or rows are too late;
        the message has a table of the first such rows.
    """
    if explain:
        try:
            scorer = Explaining(scorer, flagged_rows)
        except CannotExplainError as error:
            raise OperationError(f"The scores cannot be explained: {error}.") from error
    if is_on_spark(pieces):
        from kedro_azure_mlops.serve.on_spark import score_on_spark

        return score_on_spark(pieces, scorer, version, most_late)
    if isinstance(pieces, Pieces):
        pieces.schema = scorer.schema
    # not a generator itself: Kedro would save each yielded piece separately
    recorder = _recorder(scorer.schema, digest)
    return Scoring(scorer, version, most_late, clock, recorder).run(pieces)


def columns_of_table(table: pd.DataFrame, schema: Schema) -> Columns:
    """Check the rows of a DataFrame against a schema and return them as columns for a scorer.

    Parameters
    ----------
    table
        The columns of ``schema.inputs``, times as text or datetimes (offsets become UTC); others
        are ignored.

    Raises
    ------
    RefusedError
        If columns are missing, or values have the wrong type or are out of bounds; the message has
        the number of such rows and a table of the first ones by index.
    """
    return _columns_and_times(table, schema)[0]


def readable_columns(table: pd.DataFrame, columns: Sequence[Column]) -> tuple[Columns, np.ndarray]:
    """Convert columns of a DataFrame like ``columns_of_table``, but accept every row.

    Returns
    -------
    The columns, with unreadable values as missing, and booleans of shape ``(n,)``: whether all
    values of a row fit their columns.
    """
    converted: dict[str, np.ndarray] = {}
    fits = np.ones(len(table), bool)
    for column in columns:
        values = table[column.name]
        read = read_times(values) if column.type == "datetime" else None
        converted[column.name], wrong = _converted(values, column, not column.nullable, read)
        for rows in wrong.values():
            fits &= ~rows
    return converted, fits


def _columns_and_times(table: pd.DataFrame, schema: Schema) -> tuple[Columns, Times | None]:
    """Check the rows of a DataFrame; also return the times that order them, as read."""
    source = table.attrs.get(SOURCE, "the data")
    if missing := [one.name for one in schema.inputs if one.name not in table.columns]:
        raise RefusedError(
            f"{source}: wrong columns, {', '.join(missing)} missing.\n"
            f"It has: {', '.join(map(str, table.columns))}\n"
            f"It needs: {', '.join(column.name for column in schema.inputs)}"
        )
    needed = {schema.history.by, schema.history.order} if schema.history else set()
    times: Times | None = None
    converted: dict[str, np.ndarray] = {}
    faults: dict[str, np.ndarray] = {}
    for column in schema.inputs:
        raw, is_needed = table[column.name], column.name in needed
        read = read_times(raw) if column.type == "datetime" else None
        if schema.history and column.name == schema.history.order:
            times = read
        values, wrong = _converted(raw, column, is_needed, read)
        converted[column.name] = values
        faults |= {why: rows for why, rows in wrong.items() if rows.any()}
    if faults:
        raise RefusedError(_offending_rows(table, schema, faults))
    return converted, times


def _recorder(schema: Schema, digest: str | None) -> Recorder | None:
    from kedro_azure_mlops.hooks import binds_ports, last_configuration

    configuration = last_configuration()
    if configuration is None or not configuration.recording.enabled or binds_ports():
        return None
    try:
        return Recorder(configuration.recording.settings(Path.cwd()), schema, digest or "")
    except ValueError as error:
        raise OperationError(f"recording in mlops.yml: {error}.") from error


class Scoring:
    """Scores pieces of rows, and remembers the history that later pieces need."""

    def __init__(
        self,
        scorer: Scorer,
        version: str | None,
        most_late: timedelta,
        clock: Callable[[], float],
        recorder: Recorder | None,
    ) -> None:
        self._schema = scorer.schema
        self._recorder = recorder
        self._writers = [(one.name, values_writer(one)) for one in self._schema.outputs]
        self._explains = isinstance(scorer, Explaining)
        self._clock = clock
        self._version = version
        self._stream = Stream(scorer, most_late)
        self._rows = self._flagged = 0
        self._unanswered: dict[str, Counter[str]] = {}  # by reason, rows of each series
        self._file: tuple[str, Any] | None = None
        self._offsets: list[Any] = [None, None]

    def run(self, pieces: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Score pieces one after the other, and log the progress."""
        progress = Progress("Scored", None, logger, self._clock)
        try:
            for piece in pieces:
                yield self.score(piece)
                progress.advance(len(piece), piece.attrs.get(SHARE))
        except BaseException:  # the scores are not saved either
            if self._recorder is not None:
                self._recorder.abandon()
            raise
        if self._recorder is not None:
            self._recorder.close(None)
        flagged = f"{self._flagged:,} flagged, " if self._schema.flag else ""
        logger.info(
            "Scored %s rows with model %s: %s%s late",
            *(f"{self._rows:,}", self._version, flagged, f"{self._stream.late:,}"),
        )
        for reason, counts in self._unanswered.items():
            names = sorted(counts)
            more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
            logger.warning(
                "%s rows not scored, %s: %s%s",
                *(f"{counts.total():,}", reason, ", ".join(names[:_NAMES_SHOWN]), more),
            )

    def score(self, piece: pd.DataFrame) -> pd.DataFrame:
        """Score the next piece."""
        columns, times = _columns_and_times(piece, self._schema)
        self._check_file(piece, times)
        try:
            answers = self._answers(piece, columns)
            outputs = {
                one.name: _shown_values(answers[one.name], one) for one in self._schema.outputs
            }
        except AnswerError as error:
            raise OperationError(f"{_source(piece)} cannot be scored: {error}") from error
        self._count(columns, answers)
        if self._recorder is not None:
            name = f"{_source(piece)}:{piece.index[0]}" if len(piece) else _source(piece)
            written = [write(answers[output]) for output, write in self._writers]
            self._recorder.write(name, columns, written)
        inputs = {
            one.name: _written(piece[one.name], columns[one.name], one)
            for one in self._schema.inputs
        }
        if self._explains:
            words = [why and why.words for why in answers[EXPLANATION]]
            outputs[EXPLANATION] = np.array(words, object)  # also without rows
        scored = pd.DataFrame({**inputs, **outputs}, index=piece.index)
        scored["model_version"] = self._version
        scored.attrs = dict(piece.attrs)
        return scored

    def _answers(self, piece: pd.DataFrame, columns: Columns) -> Columns:
        if not len(piece):  # a project may have removed all rows; most models refuse to answer none
            return self._no_answers()
        try:
            return self._stream.score(columns)
        except LateRowsError as error:
            raise RefusedError(_too_late(piece, self._schema, error)) from error
        except ValueError as error:  # the model refuses the rows as a whole
            lines = f"{piece.index[0]} to {piece.index[-1]}"
            raise RefusedError(f"{_source(piece)}, lines {lines}: {error}") from error

    def _no_answers(self) -> Columns:
        explanations = {EXPLANATION: np.empty(0, object)} if self._explains else {}
        return {**columns_of_rows([], self._schema.outputs), **explanations}

    def _check_file(self, piece: pd.DataFrame, times: Times | None) -> None:
        """Warn about unused columns; refuse a file that mixes times with and without an offset."""
        file = (_source(piece), piece.attrs.get(PART))
        if file != self._file:
            self._file, self._offsets = file, [None, None]
            inputs = {one.name for one in self._schema.inputs}
            if others := [str(name) for name in piece.columns if name not in inputs]:
                logger.warning("%s: columns that are not used: %s", file[0], ", ".join(others))
        if self._schema.history and times is not None:
            texts = piece[self._schema.history.order]
            try:
                refuse_mixed_offsets(self._offsets, times, texts, file[0])
            except BadDataError as error:
                raise RefusedError(str(error)) from error

    def _count(self, columns: Columns, answers: Columns) -> None:
        self._rows += len(next(iter(columns.values())))
        if self._schema.flag:
            self._flagged += int(np.count_nonzero(answers[self._schema.flag] == True))  # noqa: E712
        history = self._schema.history
        if history and history.by:
            why = self._schema.reason
            names = [one.name for one in self._schema.outputs if one.name != why]
            missing = np.all([pd.isna(answers[name]) for name in names], axis=0)
            reasons = answers[why][missing] if why else [_NO_REASON] * int(missing.sum())
            for reason, name in zip(reasons, columns[history.by][missing], strict=True):
                self._unanswered.setdefault(str(reason), Counter())[name] += 1


def _converted(
    values: pd.Series, column: Column, is_needed: bool, read: Times | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Convert a column; also return the invalid rows by reason."""
    if read is not None and not np.isnat(read.values).any():
        return read.values, {}
    wrong = {}
    if column.type == "string":
        texts, missing = _texts(values, is_needed)
        if is_needed or not column.nullable:
            wrong[f"{column.name} is missing"] = missing
        return texts, wrong
    missing = values.isna().to_numpy()
    if is_needed or not column.nullable:
        wrong[f"{column.name} is missing"] = missing
    if read is not None:
        times = read.values
        wrong[f"{column.name} is not a date and time such as 2024-01-31 13:00"] = (
            np.isnat(times) & ~missing
        )
        return times, wrong
    if column.type == "boolean":
        known = values.astype(str).str.strip().str.lower().map(_BOOLEANS).to_numpy(object)
        unknown = pd.isna(known)
        known[unknown | missing] = None
        wrong[f"{column.name} is not true or false"] = unknown & ~missing
        return known, wrong
    numbers = read_numbers(values)
    unreadable = np.isnan(numbers) & ~missing
    wrong[f"{column.name} is not a number"] = unreadable
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    is_outside = ~((numbers >= low) & (numbers <= high)) & ~missing & ~unreadable
    wrong[f"{column.name} is outside {low:g} to {high:g}"] = is_outside
    wrong[f"{column.name} is not finite"] = np.isinf(numbers) & ~is_outside
    if column.type == "long":
        wrong[f"{column.name} is not a whole number"] = ~np.isnan(numbers) & (
            numbers != np.floor(numbers)
        )
        wrong[f"{column.name} is too large"] = _too_large(values, numbers) & ~is_outside
        if not missing.any() and not any(rows.any() for rows in wrong.values()):
            numbers = _whole_numbers(values, numbers)
    return numbers, wrong


def _too_large(values: pd.Series, numbers: np.ndarray) -> np.ndarray:
    is_large = np.isfinite(numbers) & (np.abs(numbers) >= _LARGEST)
    for row in np.flatnonzero(is_large):  # 2**63 - 1 fits, but is 2**63 as a float
        is_large[row] = not -_LARGEST <= _whole(values.iloc[row], numbers[row]) < _LARGEST
    return is_large


def _whole_numbers(values: pd.Series, numbers: np.ndarray) -> np.ndarray:
    """Convert checked numbers to ``int64`` without rounding; 0 where missing."""
    if values.dtype.kind in "iu":
        return values.to_numpy("int64", na_value=0)
    found = np.where(np.abs(numbers) < EXACT, numbers, 0).astype("int64")
    for row in np.flatnonzero(np.abs(numbers) >= EXACT):
        found[row] = _whole(values.iloc[row], numbers[row])
    return found


def _whole(value: Any, number: float) -> int:
    with suppress(ValueError):  # text such as 1e3
        return int(value)
    return int(number)


def _written(values: pd.Series, converted: np.ndarray, column: Column) -> Any:
    """Return an input in the form for saving, with the same type in every piece."""
    if column.type == "datetime":
        is_unknown = values.dtype.kind != "M" and values.isna().all()
        return values.astype(object) if is_unknown else values
    if column.type == "boolean":
        return pd.array(converted, dtype="boolean")
    if column.type == "long" and column.nullable:
        return pd.arrays.IntegerArray(_whole_numbers(values, converted), np.isnan(converted))
    return converted


def _texts(values: pd.Series, is_stripped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return values as text, None where missing, and a mask of the missing ones."""
    codes, distinct = pd.factorize(values)
    if values.dtype != object or not all(type(one) is str for one in distinct):
        texts = values.astype(str).to_numpy(object)
        missing = values.isna().to_numpy()
        if is_stripped:
            texts = np.array([text.strip() for text in texts], object)
    else:
        names = [name.strip() if is_stripped else name for name in distinct]
        texts, missing = np.array([*names, None], object)[codes], codes < 0
    texts[missing] = None
    return texts, missing


_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


def parse_times(values: pd.Series) -> np.ndarray:
    """Read ISO 8601 times as ``datetime64[ns]`` in UTC; unreadable ones become NaT."""
    return read_times(values).values


def _shown_values(values: np.ndarray, column: Column) -> Any:
    """Return an output in the form for saving, with the same type in every piece."""
    if column.type == "boolean":
        return pd.array(values, dtype="boolean").astype("Int64")
    if column.type == "double":
        numbers = np.array(values, float)
        numbers[np.isinf(numbers)] = np.nan  # as servers answer
        return numbers if column.decimals is None else _rounded(numbers, column.decimals)
    if column.type == "long":
        whole = values if values.dtype.kind == "i" else whole_numbers(values, column.name)
        return pd.array(whole, dtype="Int64")
    return values


def _rounded(numbers: np.ndarray, decimals: int) -> np.ndarray:
    """Round as Python's ``round`` does on servers; numpy alone would round 2.675 to 2.68."""
    found, is_unsure = numbers.copy(), ~np.isnan(numbers)
    if 0 <= decimals <= _MOST_DECIMALS:
        factor = 10.0**decimals
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = numbers * factor
            nearest = np.rint(scaled)
            # the product has an error, which matters next to a half and for large numbers
            from_half = np.abs(np.abs(scaled - nearest) - 0.5)
            is_unsure &= ~(from_half > np.abs(scaled) * 2.0**-52)
            found = nearest / factor
    found[is_unsure] = [round(number, decimals) for number in numbers[is_unsure].tolist()]
    return found


def _offending_rows(table: pd.DataFrame, schema: Schema, faults: dict[str, np.ndarray]) -> str:
    any_wrong = np.logical_or.reduce([*faults.values()])
    first = np.flatnonzero(any_wrong)[:_ROWS_SHOWN]
    rows = table.iloc[first][[column.name for column in schema.inputs]].astype(object)
    rows["why"] = ["; ".join(why for why, wrong in faults.items() if wrong[n]) for n in first]
    count = int(any_wrong.sum())
    more = f"\n... and {count - len(first):,} more" if count > len(first) else ""
    summary = "\n".join(f"  {int(wrong.sum()):,} x {why}" for why, wrong in faults.items())
    return (
        f"{_source(table)}: {count:,} of {len(table):,} rows cannot be used:\n{summary}\n\n"
        f"The first offending rows:\n{_as_text(rows)}{more}"
    )


def _too_late(piece: pd.DataFrame, schema: Schema, error: LateRowsError) -> str:
    first = error.rows[:_ROWS_SHOWN]
    rows = piece.iloc[first][[column.name for column in schema.inputs]]
    rows = rows.assign(newest=error.newest[:_ROWS_SHOWN])
    hours = error.most_late / timedelta(hours=1)
    return (
        f"{_source(piece)}: {len(error.rows):,} of {len(piece):,} rows are more than {hours:g} "
        "hours older than an earlier one of their series (newest): the rows that they should be "
        "compared with are no longer remembered. Sort the rows by time; the files of a folder are "
        f"read in the order of their names.\n\nThe first offending rows:\n{_as_text(rows)}"
    )


def _as_text(rows: pd.DataFrame) -> str:
    table = rows.rename_axis("line").reset_index().astype(object)
    return str(table.where(table.notna(), "").to_string(index=False))


def _piece_of(batch: Any) -> pd.DataFrame:
    """Convert rows of a Parquet file; whole numbers stay whole next to missing ones."""
    import pyarrow

    # the metadata would move columns into the index
    piece = batch.to_pandas(ignore_metadata=True)
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        if name.startswith(_UNNAMED_INDEX):
            del piece[name]
        elif values.null_count and pyarrow.types.is_integer(values.type):
            is_signed = pyarrow.types.is_signed_integer(values.type)
            kind = pd.Int64Dtype() if is_signed else pd.UInt64Dtype()
            piece[name] = values.to_pandas(types_mapper={values.type: kind}.get)
    return piece


def _refuse_unsupported(options: dict[str, Any]) -> None:
    """Refuse arguments of ``pandas.read_csv`` that do not work for pieces of a file."""
    given = {name: options.get(name) for name in _UNSUPPORTED}
    if unsupported := [name for name, one in given.items() if one and one != "numpy_nullable"]:
        raise OperationError(
            f"{', '.join(unsupported)} in load_args: not supported by CsvPieces, which reads "
            "every line of a file piece by piece. Remove it from the catalog entry."
        )
    if not isinstance(options.get("skiprows", 0), int):
        raise OperationError(
            f"skiprows: {options['skiprows']} in load_args: give the number of lines before "
            "the table instead."
        )
    if (header := options.get("header", "infer")) not in (None, 0, "infer"):
        raise OperationError(
            f"header: {header} in load_args: give skiprows, the number of lines before it."
        )


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _source(table: pd.DataFrame) -> str:
    return str(table.attrs.get(SOURCE, "the data"))


def _quoted(name: object) -> str:
    text = str(name)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text
