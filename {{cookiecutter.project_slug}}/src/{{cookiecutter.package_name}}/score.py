"""The one score function: endpoints, the local server, containers and devices all call it.

``init`` loads a model once, ``run`` answers one request. What comes in is checked as strictly as
training data is, and whatever it is, ``run`` answers and does not raise.
"""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .scoring.request import MAX_BYTES, BadRequestError, Readings, parse
from .scoring.scorer import DESCRIPTION, Scorer, UnusableModelError, load_scorer
from .scoring.stream import Stream

__all__ = ["MAX_BYTES", "Answer", "Model", "answer", "init", "model", "refusal", "run"]

logger = logging.getLogger(__name__)

DECIMALS = 6  # of a score


class Answer(NamedTuple):
    """An HTTP status and the JSON object to send with it."""

    status: int
    body: dict[str, Any]

    def text(self) -> str:
        """Return the body as it is sent."""
        return json.dumps(self.body, separators=(",", ":"))


class Model(NamedTuple):
    """The model that answers."""

    scorer: Scorer
    version: str


_loaded: Model | None = None


def init(folder: Path | None = None) -> None:
    """Load the model: from ``folder``, else from what is at or below ``AZUREML_MODEL_DIR``.

    ``MODEL_DIGEST`` in the environment lets no other model be loaded; ``MODEL_VERSION`` is what
    answers call it.

    Raises
    ------
    UnusableModelError
        If there is no model, several, one that cannot be used or another than is asked for.
    """
    global _loaded  # noqa: PLW0603, a server has one model
    scorer = load_scorer(folder or _given(), os.environ.get("MODEL_DIGEST"))
    _loaded = Model(scorer, os.environ.get("MODEL_VERSION") or scorer.digest[:12])
    logger.info("Serving model %s, digest %s", _loaded.version, scorer.digest)


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


def run(body: bytes | str) -> Answer:
    """Score the readings of a request, each by itself and by those before it in the request.

    Send a sensor's recent history and look at its last reading: ``docs/model/serve.md`` says how
    much history gives the very score that a file would.

    Returns
    -------
    200 with a score a reading: 0 is usual, above 1 an anomaly, null of a sensor that training did
    not know. 400 or 413 with the name of the field that is wrong.
    """
    return answer(model(), body)


def answer(current: Model, body: bytes | str) -> Answer:
    """Answer a request by a model that is given, as ``run`` does by the one that is loaded."""
    try:
        readings = parse(body, current.scorer.limits)
        scores = Stream(current.scorer).score(
            readings.sensors, readings.times, readings.values, remember=False
        )
    except BadRequestError as error:
        return refusal(error)
    except ValueError as error:  # of the features, about all readings together
        return refusal(BadRequestError("data", str(error)))
    return Answer(200, _scored(current, readings, scores))


def refusal(error: BadRequestError) -> Answer:
    """Answer a request that cannot be scored."""
    return Answer(error.status, {"error": {"field": error.field, "message": error.message}})


def _scored(current: Model, readings: Readings, scores: np.ndarray) -> dict[str, Any]:
    rows = zip(readings.timestamps, readings.sensors, scores.tolist(), strict=True)
    data = [
        {
            "timestamp": timestamp,
            "sensor_id": sensor,
            "score": None if math.isnan(score) else round(score, DECIMALS),
            "is_anomaly": None if math.isnan(score) else score > 1,
        }
        for timestamp, sensor, score in rows
    ]
    return {"model": {"version": current.version, "digest": current.scorer.digest}, "data": data}


def _given() -> Path:
    root = os.environ.get("AZUREML_MODEL_DIR")
    if not root:
        raise UnusableModelError("no model is given: set AZUREML_MODEL_DIR to its folder")
    found = sorted(path.parent for path in Path(root).rglob(DESCRIPTION))
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(root)) for path in found) or "none"
        raise UnusableModelError(f"{root} should hold one model, it holds: {names}")
    return found[0]
