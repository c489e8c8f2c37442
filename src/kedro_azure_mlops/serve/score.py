"""The one score function: endpoints, the local server, containers and devices all call it.

``init`` loads a model once, ``run`` answers one request. What comes in is checked against the
schema of the model, and whatever it is, ``run`` answers and does not raise.
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
    CannotExplainError,
    Column,
    Columns,
    Schema,
    Scorer,
    UnusableModelError,
    digest,
    load_proven_scorer,
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

SERVED = "served.json"  # beside the packages of a code folder: which scorer serves there


_to_json = json.JSONEncoder(separators=(",", ":")).encode


class Answer(NamedTuple):
    """An HTTP status and the JSON object to send with it."""

    status: int
    body: dict[str, Any]

    def text(self) -> str:
        """Return the body as it is sent."""
        return _to_json(self.body)


class Model:
    """The model that answers: its scorer, and how requests are read and answers are written.

    Parameters
    ----------
    version
        What answers call it; None: the beginning of its digest.
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
        """Score rows by themselves and by those of their series before them in the same request."""
        scorer = self.scorer
        if rows.explain:
            scorer = Explaining(scorer, newest_and_flagged_rows, MOST_ROWS)
        if rows.has_ties:
            return Stream(scorer).score(rows.columns, remember=False)
        return scorer.score(rows.columns)

    def outputs(self, found: Columns, rows: int) -> list[list[Any]]:
        """Convert output columns of some rows to JSON values.

        Raises
        ------
        RuntimeError
            If the scorer has not answered as its schema says.
        """
        try:
            columns = [write(found[name]) for name, write in self._outputs]
        except KeyError as error:
            raise RuntimeError(f"the scorer does not answer {error}") from error
        for values in columns:
            if len(values) != rows:
                raise RuntimeError(f"the scorer answers {len(values)} of {rows} rows")
        return columns

    def body(self, rows: Rows, found: Columns, outputs: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Write the answer to a request; ``outputs`` are those that were written of ``found``."""
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
"""Takes the rows of a request and, by column, the outputs that were answered."""

_loaded: Model | None = None


def init(folder: Path | None = None) -> None:
    """Load the model: from ``folder``, else from what is at or below ``AZUREML_MODEL_DIR``.

    ``MODEL_DIGEST`` in the environment lets no other model be loaded; ``MODEL_VERSION`` is what
    answers call it. ``served.json`` beside the code says what loads it.

    Raises
    ------
    UnusableModelError
        If there is no model, several, one that cannot be used or another than is asked for.
    """
    global _loaded  # noqa: PLW0603, a server has one model
    file = Path(__file__).parents[2] / SERVED
    served = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    _loaded = load_served(
        folder or _given(),
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
    """Load a model folder as it is served.

    Parameters
    ----------
    scorer, trusted, wanted
        As of ``contract.load_proven_scorer``.
    version
        As of ``Model``.

    Raises
    ------
    UnusableModelError
        As ``contract.load_proven_scorer``.
    """
    found, _ = load_proven_scorer(folder, scorer, wanted, trusted)
    return Model(found, wanted or digest(folder), version)


def model() -> Model:
    """Return the model that ``init`` has loaded.

    Raises
    ------
    UnusableModelError
        If it has not loaded one.
    """
    if _loaded is None:
        raise UnusableModelError("no model is loaded: call init() first")
    return _loaded


def run(body: bytes | str, keep: Keep | None = None) -> Answer:
    """Score the rows of a request, each by itself and by those before it in the request.

    Where the model's schema declares a history, send the recent rows of a series and look at the
    answer to the last one.

    Parameters
    ----------
    keep
        Is called with what was answered, if it was.

    Returns
    -------
    200 with an answer a row: the columns of ``schema.echo`` as they were sent and those of
    ``schema.outputs``, null for what is missing; with ``"explain": true`` also ``explanation`` (see
    ``explain.newest_and_flagged_rows`` for the rows that have one). 400 or 413 with the name of the
    field that is wrong.
    """
    return answer(model(), body, keep)


def answer(current: Model, body: bytes | str, keep: Keep | None = None) -> Answer:
    """Answer a request by a model that is given, as ``run`` does by the one that is loaded."""
    try:
        rows = current.reader.read(body)
        found = current.score(rows)
    except BadRequestError as error:
        return refusal(error)
    except CannotExplainError as error:
        return refusal(BadRequestError("explain", f"is not possible: {error}"))
    except ValueError as error:  # of the model, about all rows together
        return refusal(BadRequestError("data", str(error)))
    outputs = current.outputs(found, len(rows.sent))
    answered = Answer(200, current.body(rows, found, outputs))
    if keep is not None:
        keep(rows, outputs)
    return answered


def refusal(error: BadRequestError) -> Answer:
    """Answer a request that cannot be scored."""
    return Answer(error.status, {"error": {"field": error.field, "message": error.message}})


def values_writer(column: Column) -> Callable[[np.ndarray], list[Any]]:
    """Return what makes JSON values of an output column: rounded, null for what is missing."""
    if column.type == "double":
        return _rounded(column.decimals)
    if column.type == "long":
        return lambda values: [None if math.isnan(v) else int(v) for v in values.tolist()]
    if column.type == "boolean":
        return lambda values: [v if v is None else bool(v) for v in values.tolist()]
    if column.type == "datetime":
        return lambda values: [
            None if text == "NaT" else text.removesuffix(".000000")
            for text in np.datetime_as_string(values.astype("datetime64[us]")).tolist()
        ]
    return lambda values: [v if v is None else str(v) for v in values.tolist()]


def _rounded(decimals: int | None) -> Callable[[np.ndarray], list[Any]]:
    is_finite = math.isfinite  # JSON has no infinity either
    if decimals is None:
        return lambda values: [float(v) if is_finite(v) else None for v in values.tolist()]
    return lambda values: [round(v, decimals) if is_finite(v) else None for v in values.tolist()]


def _given() -> Path:
    root = os.environ.get("AZUREML_MODEL_DIR")
    if not root:
        raise UnusableModelError("no model is given: set AZUREML_MODEL_DIR to its folder")
    found = sorted(path.parent for path in Path(root).rglob(CONTRACT))
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(root)) for path in found) or "none"
        raise UnusableModelError(f"{root} should hold one model, it holds: {names}")
    return found[0]
