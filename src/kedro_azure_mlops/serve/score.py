"""The one score function: endpoints, the local server, containers and devices all call it.

``init`` loads a model once, ``run`` answers one request. Requests are checked against the model's
schema; ``run`` returns an answer to any input and does not raise.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kedro_azure_mlops.contract import (
    CONTRACT,
    AnswerError,
    CannotExplainError,
    Column,
    Columns,
    Schema,
    Scorer,
    UnusableModelError,
    digest,
    load_proven_scorer,
    whole_numbers,
)
from kedro_azure_mlops.explain import (
    EXPLANATION,
    MOST_ROWS,
    Explaining,
    newest_and_flagged_rows,
)
from kedro_azure_mlops.serve.request import MAX_BYTES, BadRequestError, Reader, Rows
from kedro_azure_mlops.serve.stream import Stream

__all__ = [
    "MAX_BYTES",
    "Answer",
    "Model",
    "answer",
    "init",
    "load_served",
    "model",
    "refusal",
    "run",
]

logger = logging.getLogger(__name__)

SERVED = "served.json"  # next to the packages in a code folder; names the scorer


_to_json = json.JSONEncoder(separators=(",", ":")).encode


class Answer(NamedTuple):
    """An HTTP status and the JSON object to send with it."""

    status: int
    body: dict[str, Any]

    def text(self) -> str:
        """Return the body as JSON."""
        return _to_json(self.body)


class Model:
    """A loaded model: its scorer, and the conversion of requests and answers.

    Parameters
    ----------
    version
        The version in answers; None: the beginning of the digest.
    """

    def __init__(self, scorer: Scorer, digest: str, version: str | None = None) -> None:
        self.scorer = scorer
        self.schema: Schema = scorer.schema
        self.digest = digest
        self.version = version or digest[:12]
        self.reader = Reader(self.schema)
        self._named = {"version": self.version, "digest": digest}
        self._outputs = [(one.name, values_writer(one)) for one in self.schema.outputs]
        self._names = [*self.schema.echo, *(name for name, _ in self._outputs)]

    @property
    def engine(self) -> str:
        """Describe the engine that computes the answers."""
        return str(getattr(self.scorer, "engine", type(self.scorer).__name__))

    def score(self, rows: Rows) -> Columns:
        """Score rows; earlier rows of the same series in the request are their history."""
        scorer = self.scorer
        if rows.explain:
            scorer = Explaining(scorer, newest_and_flagged_rows, MOST_ROWS)
        if rows.has_ties:
            return Stream(scorer).score(rows.columns, remember=False)
        return scorer.score(rows.columns)

    def outputs(self, found: Columns, rows: int) -> list[list[Any]]:
        """Convert output columns to JSON values.

        Raises
        ------
        AnswerError
            If the scorer's answer does not match its schema.
        """
        try:
            columns = [write(found[name]) for name, write in self._outputs]
        except KeyError as error:
            raise AnswerError(f"the scorer does not return {error}") from error
        for values in columns:
            if len(values) != rows:
                raise AnswerError(f"the scorer returns {len(values)} of {rows} rows")
        return columns

    def body(self, rows: Rows, found: Columns, outputs: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Return the body of an answer; ``outputs`` is ``found`` as converted by ``outputs()``."""
        sent = rows.sent
        columns: list[Sequence[Any]] = [[row[name] for row in sent] for name in self.schema.echo]
        columns += outputs
        names = self._names
        if rows.explain:
            columns.append([why and why.to_json() for why in found[EXPLANATION]])
            names = [*names, EXPLANATION]
        data = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return {"model": self._named, "data": data}


Keep = Callable[[Rows, Sequence[Sequence[Any]]], None]
"""Takes the rows of a request and, by column, the outputs of the answer."""

_loaded: Model | None = None


def init(folder: Path | None = None) -> None:
    """Load the model: from ``folder``, else from the folder at or below ``AZUREML_MODEL_DIR``.

    If the environment variable ``MODEL_DIGEST`` is set, any other model is refused;
    ``MODEL_VERSION`` is the version in answers. ``served.json`` next to the code names the scorer.

    Raises
    ------
    UnusableModelError
        If there is no model or more than one, or the model is unusable or not the required one.
    """
    global _loaded  # noqa: PLW0603, a server has one model
    file = Path(__file__).parents[2] / SERVED
    served = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    _loaded = load_served(
        folder or _model_folder(),
        served.get("scorer"),
        served.get("trusted", ()),
        wanted=os.environ.get("MODEL_DIGEST"),
        version=os.environ.get("MODEL_VERSION"),
    )
    logger.info(
        "Serving model %s, digest %s, by %s", _loaded.version, _loaded.digest, _loaded.engine
    )


def load_served(
    folder: Path,
    scorer: str | None,
    trusted: Sequence[str] = (),
    *,
    wanted: str | None = None,
    version: str | None = None,
) -> Model:
    """Load a model folder for serving.

    Parameters
    ----------
    scorer, trusted, wanted
        See ``contract.load_proven_scorer``.
    version
        See ``Model``.

    Raises
    ------
    UnusableModelError
        As for ``contract.load_proven_scorer``.
    """
    loaded, _ = load_proven_scorer(folder, scorer, wanted, trusted)
    return Model(loaded, wanted or digest(folder), version)


def model() -> Model:
    """Return the model that ``init`` loaded.

    Raises
    ------
    UnusableModelError
        If no model is loaded.
    """
    if _loaded is None:
        raise UnusableModelError("no model is loaded: call init() first")
    return _loaded


def run(body: bytes | str, keep: Keep | None = None) -> Answer:
    """Score the rows of a request; earlier rows of the request are the history of later ones.

    If the model's schema declares a history, send the recent rows of a series and use the answer to
    the last one.

    Parameters
    ----------
    keep
        Called with the rows and outputs of a successful answer.

    Returns
    -------
    200 with one answer per row: the columns of ``schema.echo`` as sent and those of
    ``schema.outputs``, null where missing; with ``"explain": true`` also ``explanation`` (see
    ``explain.newest_and_flagged_rows`` for the rows that have one). 400 or 413 with the name of the
    invalid field.
    """
    return answer(model(), body, keep)


def answer(current: Model, body: bytes | str, keep: Keep | None = None) -> Answer:
    """Answer a request with the given model, as ``run`` does with the loaded one."""
    try:
        rows = current.reader.read(body)
        found = current.score(rows)
    except BadRequestError as error:
        return refusal(error)
    except CannotExplainError as error:
        return refusal(BadRequestError("explain", f"is not possible: {error}"))
    except ValueError as error:  # the model refuses the rows as a whole
        return refusal(BadRequestError("data", str(error)))
    outputs = current.outputs(found, len(rows.sent))
    answered = Answer(200, current.body(rows, found, outputs))
    if keep is not None:
        keep(rows, outputs)
    return answered


def refusal(error: BadRequestError) -> Answer:
    """Return the answer to a request that cannot be scored."""
    return Answer(error.status, {"error": {"field": error.field, "message": error.message}})


def values_writer(column: Column) -> Callable[[np.ndarray], list[Any]]:
    """Return a function from an output column to JSON values: rounded, null where missing."""
    if column.type == "double":
        return _rounded(column.decimals)
    if column.type == "long":
        return lambda values: whole_numbers(values, column.name)
    if column.type == "boolean":
        return lambda values: [v if v is None else bool(v) for v in values.tolist()]
    if column.type == "datetime":
        return lambda values: [
            None if text == "NaT" else text.removesuffix(".000000")
            for text in np.datetime_as_string(values.astype("datetime64[us]")).tolist()
        ]
    return lambda values: [v if v is None else str(v) for v in values.tolist()]


def _rounded(decimals: int | None) -> Callable[[np.ndarray], list[Any]]:
    is_finite = math.isfinite  # JSON has neither NaN nor infinity
    if decimals is None:
        return lambda values: [float(v) if is_finite(v) else None for v in values.tolist()]
    return lambda values: [round(v, decimals) if is_finite(v) else None for v in values.tolist()]


def _model_folder() -> Path:
    root = os.environ.get("AZUREML_MODEL_DIR")
    if not root:
        raise UnusableModelError("no model is given: set AZUREML_MODEL_DIR to its folder")
    folders = sorted(path.parent for path in Path(root).rglob(CONTRACT))
    if len(folders) != 1:
        names = ", ".join(str(path.relative_to(root)) for path in folders) or "none"
        raise UnusableModelError(f"{root} should hold one model, but holds: {names}")
    return folders[0]
