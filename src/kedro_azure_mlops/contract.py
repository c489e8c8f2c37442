"""The interface between the plugin and a project's model, and the content of a model folder.

Servers import no other module of the plugin's core, so this one needs only numpy.

A model folder is an MLflow model (``MLmodel`` with its signature) plus ``contract.json``, the
schema of a request, an input example and the trained model's answer to it, and ``SHA256SUMS``, the
checksums of the files that it was saved with. Loading a model compares the files and replays the
example, so every machine verifies its model. The folder's digest is the model's identity.
"""

import hashlib
import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

__all__ = [
    "CONTRACT",
    "MANIFEST",
    "AnswerError",
    "CannotExplainError",
    "Column",
    "Columns",
    "Contract",
    "Explainable",
    "ExplainableScorer",
    "History",
    "ProjectModel",
    "Schema",
    "Scorer",
    "UnusableModelError",
    "columns_of_rows",
    "difference",
    "digest",
    "import_function",
    "load_proven_scorer",
    "prove",
    "read_contract",
    "refuse_changed_files",
    "rows_of_columns",
    "whole_numbers",
    "write_contract",
    "write_manifest",
]

CONTRACT = "contract.json"
MANIFEST = "SHA256SUMS"
"""Names and SHA-256 of all other files of a model folder, as ``sha256sum --check`` reads them."""
_RARE = ("missing_as_nan", "takes_series")  # only written if set, so other digests stay the same
_ENCODING_ERRORS = "surrogateescape"  # also for file names that are not text
# MLflow adds this file to folders fetched from its registry.
_ADDED_BY_REGISTRY = {"registered_model_meta"}

ColumnType = Literal["string", "double", "long", "boolean", "datetime"]
Columns = Mapping[str, np.ndarray]
"""Columns of one table by name: one-dimensional arrays of one length."""

_ARRAYS: dict[ColumnType, Any] = {
    "string": object,
    "double": np.float64,
    "long": np.int64,
    "boolean": object,  # True, False or None
    "datetime": "datetime64[ns]",
}


class UnusableModelError(ValueError):
    """A model folder is incomplete, altered, or does not reproduce its recorded answer."""


class AnswerError(RuntimeError):
    """An answer does not fit the model's schema: a fault of the model, not of the request.

    The message quotes no values.
    """


class CannotExplainError(ValueError):
    """A model cannot explain its answers; the message gives the reason."""


@dataclass(frozen=True)
class Column:
    """A column of a request or of an answer.

    ``minimum`` and ``maximum`` (both included, in the column's own unit) bound numbers;
    ``nullable`` allows missing values. ``decimals`` is the number of decimals of an output that
    servers and files of scores show; None shows all.
    """

    name: str
    type: ColumnType
    minimum: float | None = None
    maximum: float | None = None
    nullable: bool = False
    decimals: int | None = None


@dataclass(frozen=True)
class History:
    """The earlier rows of the same series that a row needs.

    ``by`` names the column that separates series (None: all rows are one series), ``order`` the
    datetime column that orders them. The newest row looks back ``days`` days, and over at
    least ``rows`` earlier rows, even if these are older.
    """

    order: str
    by: str | None = None
    days: float = 0.0
    rows: int = 0


@dataclass(frozen=True)
class Schema:
    """The columns of a request and of its answer.

    ``echo`` names the input columns that an answer repeats before its own, to identify the rows.
    ``flag`` names the boolean output that marks a row, if there is one, and ``reason`` the text
    output that explains why a row has no answer: the other outputs are then missing.
    """

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    history: History | None = None
    echo: tuple[str, ...] = ()
    flag: str | None = None
    reason: str | None = None

    def input(self, name: str) -> Column:
        """Return an input column by its name."""
        return next(column for column in self.inputs if column.name == name)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Schema":
        """Build a schema from the output of ``dataclasses.asdict``, read from JSON."""
        return cls(
            inputs=tuple(Column(**column) for column in content["inputs"]),
            outputs=tuple(Column(**column) for column in content["outputs"]),
            history=History(**content["history"]) if content.get("history") else None,
            echo=tuple(content.get("echo", ())),
            flag=content.get("flag"),
            reason=content.get("reason"),
        )


@runtime_checkable
class Scorer(Protocol):
    """A model in serving form: columns in, columns out, on plain numpy arrays."""

    schema: Schema

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        """Score rows.

        Parameters
        ----------
        columns
            The columns of ``schema.inputs``, each of shape ``(n,)``: object arrays of text,
            ``float64``, ``int64``, object arrays of booleans or ``datetime64[ns]``.
        wanted
            Booleans of shape ``(n,)``: the rows to answer; the others are history only. None:
            all rows.

        Returns
        -------
        The columns of ``schema.outputs``, one value for each wanted row in the order of the input.
        A missing number is NaN, a missing boolean or text None.
        """
        ...


@dataclass(frozen=True)
class Explainable:
    """The features that the scores of some rows are computed from, and a baseline for them.

    Parameters
    ----------
    output
        The output column that is explained.
    names
        The ``d`` features, as ``contributions`` of an explanation name them.
    values, baseline
        Shape ``(n, d)``, in any unit: the features of each row, and those it is compared with.
        The baseline may differ from row to row, for example by series.
    function
        Takes features, shape ``(m, d)``, each value either the row's or the baseline's, and the
        number of the row that each line belongs to, shape ``(m,)``; returns their scores, ``(m,)``.
        For ``values`` themselves, these are the answers of ``score``.
    words
        Takes the indices of a row and a feature; returns a short description of the difference.
        None: the name and both values.
    """

    output: str
    names: Sequence[str]
    values: np.ndarray
    baseline: np.ndarray
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    words: Callable[[int, int], str] | None = None


class ExplainableScorer(Scorer, Protocol):
    """A scorer that can also explain its answers, see ``explain``; this is optional."""

    def explained(self, columns: Columns, wanted: np.ndarray | None = None) -> Explainable:
        """Return the features that the scores of some rows are computed from.

        Parameters
        ----------
        columns, wanted
            As for ``score``; possibly without rows. Every wanted row has an answer.

        Raises
        ------
        CannotExplainError
            If this model cannot explain its answers.
        """
        ...


class ProjectModel(Protocol):
    """Optional members of a model that ``ModelDataset`` saves, beyond ``predict``.

    ``schema``: a ``Schema``, if the types of the example and the answer are not enough (bounds,
    history). ``input_example``: rows that a request could hold, as a DataFrame. ``export(folder)``:
    writes further files, such as an ONNX export, into the model folder.
    """

    schema: Schema
    input_example: Any

    def export(self, folder: Path) -> None:
        """Write further files into the model folder."""


@dataclass(frozen=True)
class Contract:
    """The description in a model folder: its schema, an example, the recorded answer.

    ``tolerance`` is the largest allowed difference from a recorded number. ``attributes`` names
    the parts that were attributes of the model; loading restores them. ``missing_as_nan`` names the
    text and boolean inputs whose missing values the stored model gets as NaN, as in files that
    pandas reads, instead of None. ``takes_series``: it gets its only input as a Series.
    """

    schema: Schema
    example: list[dict[str, Any]]
    answer: list[dict[str, Any]]
    tolerance: float = 1e-9
    made_by: Mapping[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    missing_as_nan: tuple[str, ...] = ()
    takes_series: bool = False


def digest(folder: Path) -> str:
    """Compute the SHA-256 of a model folder, over the names and bytes of its files."""
    return _digest(_sums(folder))


def write_manifest(folder: Path) -> None:
    """Write a folder's ``SHA256SUMS``, once all of its other files are written."""
    (folder / MANIFEST).write_bytes(_manifest(_sums(folder)))


def refuse_changed_files(folder: Path, wanted: str | None = None) -> None:
    """Refuse a model folder whose files differ from those that it was saved with.

    Files that an operating system adds, such as ``.DS_Store``, are refused like any other: they
    would be registered and deployed with the model.

    Parameters
    ----------
    wanted
        The registered digest. ``SHA256SUMS`` may only be missing if it is given, for models that
        were registered before the file was introduced.

    Raises
    ------
    UnusableModelError
        If the files differ; the message names those changed, added or removed, or both digests.
    """
    if not folder.is_dir():
        raise UnusableModelError("the folder does not exist")
    try:
        sums = _sums(folder)
        recorded = (folder / MANIFEST).read_bytes() if MANIFEST in sums else None
    except OSError as error:
        raise UnusableModelError(f"its files cannot be read: {error}") from error
    if recorded is None and wanted is None:
        raise UnusableModelError(
            f"it has no {MANIFEST}, which names the files that it was saved with: the file was "
            "removed, or the model was saved by an earlier version. Train it again"
        )
    if recorded is not None and recorded != _manifest(sums):
        origin = "it was saved with" if wanted is None else "were registered"
        changes = _changes(recorded, sums)
        hint = "Delete what was added" if changes.endswith(" was added") else "Train it again"
        raise UnusableModelError(f"its files are not those that {origin}: {changes}. {hint}")
    if wanted is not None and (actual := _digest(sums)) != wanted:
        raise UnusableModelError(
            f"the model has the digest {actual}, but {wanted or 'none'} was requested: its files "
            "are not those that were registered"
        )


def _sums(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of each file, sorted by the names of the files."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    sums = {}
    for name, file in sorted(files.items()):
        if file.is_file() and name not in _ADDED_BY_REGISTRY:
            with file.open("rb") as content:
                sums[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return sums


def _digest(sums: Mapping[str, str]) -> str:
    total = hashlib.sha256()
    for name, file_digest in sums.items():
        total.update(name.encode(errors=_ENCODING_ERRORS) + b"\0" + bytes.fromhex(file_digest))
    return total.hexdigest()


def _manifest(sums: Mapping[str, str]) -> bytes:
    """Return a line for each file, and a comment with the digest of these lines."""
    files = (f"{file_digest}  {name}\n" for name, file_digest in sums.items() if name != MANIFEST)
    return _with_checksum("".join(files).encode(errors=_ENCODING_ERRORS))


def _with_checksum(lines: bytes) -> bytes:
    return lines + f"# {hashlib.sha256(lines).hexdigest()}\n".encode()


def _changes(recorded: bytes, sums: Mapping[str, str]) -> str:
    """Name the files that differ from the manifest; if none do, the manifest itself."""
    lines = recorded[: recorded.rfind(b"#")]
    if recorded != _with_checksum(lines):
        return f"{MANIFEST} was changed"
    saved = {
        line[66:]: line[:64] for line in lines.decode(errors=_ENCODING_ERRORS).split("\n") if line
    }
    current = {name: file_digest for name, file_digest in sums.items() if name != MANIFEST}
    faults = [
        *(f"{name} was changed" for name in saved if current.get(name, saved[name]) != saved[name]),
        *(f"{name} is missing" for name in saved if name not in current),
        *(f"{name} was added" for name in current if name not in saved),
    ]
    return ", ".join(faults).encode(errors="replace").decode()


def write_contract(folder: Path, contract: Contract) -> None:
    """Write a folder's ``contract.json``."""
    content = {key: part for key, part in asdict(contract).items() if part or key not in _RARE}
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / CONTRACT).write_text(text + "\n", encoding="utf-8", newline="\n")


def read_contract(folder: Path) -> Contract:
    """Read a folder's ``contract.json``.

    Raises
    ------
    UnusableModelError
        If it is missing or cannot be read.
    """
    file = folder / CONTRACT
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Contract(
            schema=Schema.from_dict(content["schema"]),
            example=content["example"],
            answer=content["answer"],
            tolerance=content["tolerance"],
            made_by=content.get("made_by", {}),
            attributes=tuple(content.get("attributes", ())),
            missing_as_nan=tuple(content.get("missing_as_nan", ())),
            takes_series=content.get("takes_series", False),
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise UnusableModelError(
            f"{file} cannot be read ({error!r}): this is not a model that ModelDataset saved"
        ) from error


def columns_of_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Columns:
    """Turn checked JSON rows into arrays of the types that ``Scorer.score`` expects.

    A missing number becomes NaN (so whole numbers that may be missing are ``float64``), a missing
    time NaT.
    """
    arrays: dict[str, np.ndarray] = {}
    for column in columns:
        values = [row.get(column.name) for row in rows]
        if column.type == "double":
            values = [math.nan if value is None else value for value in values]
        elif column.type == "datetime":
            values = ["NaT" if value is None else str(value).removesuffix("Z") for value in values]
        elif column.type == "long" and column.nullable:  # integers have no NaN
            arrays[column.name] = np.array(values, np.float64)
            continue
        arrays[column.name] = np.array(values, dtype=_ARRAYS[column.type])
    return arrays


def rows_of_columns(
    columns: Columns, wanted: Sequence[Column], decimals: int | None = None
) -> list[dict[str, Any]]:
    """Turn arrays into JSON rows; NaN, NaT and pandas' missing values become null.

    Parameters
    ----------
    decimals
        The decimals of floating-point numbers to keep; None keeps all.
    """
    texts = [_json_values(columns[column.name], column, decimals) for column in wanted]
    names = [column.name for column in wanted]
    return [dict(zip(names, row, strict=True)) for row in zip(*texts, strict=True)]


def _json_values(values: np.ndarray, column: Column, decimals: int | None) -> list[Any]:
    if column.type == "datetime":
        texts = np.datetime_as_string(np.asarray(values, "datetime64[us]")).tolist()
        return [None if text == "NaT" else _without_zero_fraction(text) for text in texts]
    if column.type == "double":
        numbers = np.asarray(values, float).tolist()
        kept = numbers if decimals is None else [round(number, decimals) for number in numbers]
        return [None if math.isnan(number) else number for number in kept]
    if column.type == "long":
        return whole_numbers(values, column.name)
    if column.type == "boolean":
        return [value if value is None else bool(value) for value in np.asarray(values, object)]
    return [None if value is None else str(value) for value in np.asarray(values, object)]


def whole_numbers(values: Any, name: str) -> list[int | None]:
    """Turn the values of a whole-number column into JSON values; NaN and None become null.

    Raises
    ------
    AnswerError
        If a value is not a whole number.
    """
    values = np.asarray(values)
    if values.dtype.kind == "i":
        return values.tolist()  # type: ignore[no-any-return]
    numbers = [None if one is None or math.isnan(one) else one for one in values.tolist()]
    if any(one is not None and one % 1 for one in numbers):  # infinity % 1 is NaN
        raise AnswerError(f"{name} holds a number that is not whole")
    return [one if one is None else int(one) for one in numbers]


def _without_zero_fraction(time: str) -> str:
    """Remove a fraction of a second that is zero."""
    return time.removesuffix(".000000")


def prove(scorer: Scorer, contract: Contract) -> None:
    """Replay the input example and compare the answer with that recorded in training.

    Raises
    ------
    UnusableModelError
        If columns or rows are missing, or a value differs by more than the tolerance.
    """
    example = columns_of_rows(contract.example, scorer.schema.inputs)
    answer = scorer.score(example)
    expected = contract.schema.outputs
    if missing := [column.name for column in expected if column.name not in answer]:
        raise UnusableModelError(f"the answer lacks the column {', '.join(missing)}")
    for column in expected:
        if len(answer[column.name]) != len(contract.example):
            raise UnusableModelError(
                f"{len(contract.example)} rows were sent and {len(answer[column.name])} answered"
            )
    if found := difference(answer, contract):
        raise UnusableModelError(
            f"{found}: the files or this machine's packages are not those of training"
        )


def difference(answer: Columns, contract: Contract) -> str | None:
    """Describe the first value of an answer to the example that differs from the recorded one."""
    outputs = contract.schema.outputs
    got = rows_of_columns(answer, outputs)
    for number, (ours, recorded) in enumerate(zip(got, contract.answer, strict=True)):
        for column in outputs:
            one, other = ours[column.name], recorded[column.name]
            if not _within_tolerance(one, other, contract.tolerance):
                return (
                    f"the example's row {number} has {column.name} {one!r}, but training recorded "
                    f"{other!r}"
                )
    return None


def _within_tolerance(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, float) and isinstance(other, float | int):
        return abs(one - other) <= tolerance * max(1.0, abs(other))
    return bool(one == other)


def load_proven_scorer(
    folder: Path, load: str | None, wanted: str | None = None, trusted: Sequence[str] = ()
) -> tuple[Scorer, Contract]:
    """Load the scorer of a model folder, after checking its files, and replay its example.

    Parameters
    ----------
    load
        ``package.module:function`` of the project, called with the folder; None loads the stored
        model itself (which needs the packages it was trained with, see ``serve/stored.py``).
    wanted
        See ``refuse_changed_files``, which runs before anything in the folder is used.
    trusted
        Types of the stored model that may be loaded besides the usual ones; not used with ``load``.

    Raises
    ------
    UnusableModelError
        If the files are not the saved or requested ones, the function cannot be imported, or the
        answer to the example differs.
    """
    try:
        refuse_changed_files(folder, wanted or None)
        contract = read_contract(folder)
        if load:
            scorer = _imported(load)(folder)
        else:
            from kedro_azure_mlops.serve.stored import load_stored_scorer

            scorer = load_stored_scorer(folder, trusted)
        prove(scorer, contract)
    except UnusableModelError as error:
        raise UnusableModelError(f"{folder} cannot be served: {error}") from error
    except Exception as error:  # a project's own code may raise anything
        by = load or "its stored model"
        raise UnusableModelError(f"{folder} cannot be served by {by}: {error!r}") from error
    return scorer, contract


def _imported(load: str) -> Callable[[Path], Scorer]:
    try:
        return import_function(load)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise UnusableModelError(f"scorer: {load} cannot be imported: {error}") from error


def import_function(name: str) -> Any:
    """Import the object that ``package.module:function`` names.

    Raises
    ------
    ImportError, AttributeError
        If the name has a different form, or does not exist.
    """
    module, colon, function = name.partition(":")
    if not colon:
        raise ImportError("write package.module:function")
    return getattr(importlib.import_module(module), function)
