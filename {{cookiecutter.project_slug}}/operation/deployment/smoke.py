"""Whether a deployment answers as it should: with the scores that its model gives here."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operation.deployment.endpoint import OnlineEndpoint, Reply
from operation.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from {{ cookiecutter.package_name }}.scoring.scorer import Scorer

_SENSORS = 3
_ROWS = 60
_STEP = timedelta(minutes=30)
_START = datetime(2024, 1, 1)  # noqa: DTZ001, readings have no zone
_SWING, _FAULT = 1.0, 6.0  # in usual spreads of the sensor
_UNKNOWN = "a-sensor-that-no-model-knows"
_TOLERANCE = 1e-5  # answers are rounded to 6 decimals
_BAD = b'{"data": [{"timestamp": "yesterday", "sensor_id": "a", "temperature": "warm"}]}'
_SHOWN = 300


@dataclass(frozen=True)
class Expected:
    """A body, and what a deployment of one model answers to it."""

    digest: str
    body: bytes
    data: list[Mapping[str, Any]]


def expected_of(folder: Path) -> Expected:
    """Score rows, made from the model itself, by the code and model that are deployed.

    Raises
    ------
    OperationError
        If the model cannot be used.
    """
    from {{ cookiecutter.package_name }}.scoring import scorer as scoring

    try:
        scorer = scoring.load_scorer(folder)
    except ImportError as error:
        raise OperationError(f"{error.name} is not installed here, type: make setup") from error
    except scoring.UnusableModelError as error:
        raise OperationError(f"The model cannot be deployed: {error}") from error
    body = json.dumps({"data": rows_of(scorer)}).encode()
    return Expected(scorer.digest, body, _scored(scorer, body))


def rows_of(scorer: "Scorer") -> list[dict[str, Any]]:
    """Make readings of some sensors, each with a day's swing and a fault at its end.

    Those of a sensor that the model does not know come last.
    """
    rows = []
    for sensor, profile in list(scorer.profiles.items())[:_SENSORS]:
        centre, scale = float(profile.centre[0]), float(profile.scale[0])
        rows += _series(sensor, centre, scale, scorer.limits)
    return rows + _series(_UNKNOWN, sum(scorer.limits) / 2, 0.0, scorer.limits)[:2]


def smoke(endpoint: OnlineEndpoint, expected: Expected, deployment: str) -> None:
    """Ask a deployment, whatever its traffic, with a good and a bad body.

    Raises
    ------
    RefusedError
        If an answer is not what it should be.
    OperationError
        If the endpoint cannot be asked.
    """
    good = _answered(endpoint, expected.body, deployment)
    _compare(deployment, good.body, expected)
    bad = endpoint.score(_BAD, deployment)
    if not 400 <= bad.status < 500:
        raise RefusedError(
            f"{deployment} answers {bad.status} to a reading that is none, instead of refusing it: "
            f"{_short(bad)}"
        )


def refuse_no_answer(endpoint: OnlineEndpoint, body: bytes) -> None:
    """Ask as everybody does, so that traffic decides which deployment answers.

    Raises
    ------
    RefusedError
        If it does not answer.
    OperationError
        If the endpoint cannot be asked.
    """
    _answered(endpoint, body, None)


def refuse_other_digest(endpoint: OnlineEndpoint, body: bytes, name: str, digest: str) -> None:
    """Ask a deployment whose model is not here for no more than an answer by that model.

    Raises
    ------
    RefusedError
        If it does not answer, or another model does.
    OperationError
        If the endpoint cannot be asked.
    """
    found = _digest(_answered(endpoint, body, name).body)
    if digest and found != digest:
        raise RefusedError(f"{name} answers with the model {found}, not {digest}")


def flags_of(who: str, body: Any) -> list[Any]:
    """Return the flags of an answer, in its order.

    Raises
    ------
    RefusedError
        If it holds none.
    """
    return [row.get("is_anomaly") for row in _rows(who, body)]


def _rows(who: str, body: Any) -> list[Mapping[str, Any]]:
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise RefusedError(f"{who} answers no list of scores: {json.dumps(data)[:_SHOWN]}")
    return data


def _answered(endpoint: OnlineEndpoint, body: bytes, deployment: str | None) -> Reply:
    reply = endpoint.score(body, deployment)
    if reply.status != 200:
        who = deployment or reply.deployment or endpoint.name
        raise RefusedError(f"{who} answers {reply.status} to good readings: {_short(reply)}")
    return reply


def _compare(who: str, body: Any, expected: Expected) -> None:
    found = _digest(body)
    if found != expected.digest:
        raise RefusedError(f"{who} answers with the model {found}, not {expected.digest}")
    data = _rows(who, body)
    if len(data) != len(expected.data):
        raise RefusedError(f"{who} gives {len(data)} scores for {len(expected.data)} readings")
    for number, (one, other) in enumerate(zip(data, expected.data, strict=True)):
        if not _same(one, other):
            raise RefusedError(
                f"{who} scores data[{number}] {one.get('score')}, here the same model gives "
                f"{other['score']}"
            )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    keys = ("timestamp", "sensor_id", "is_anomaly")
    found, wanted = one.get("score"), other["score"]
    if any(one.get(key) != other[key] for key in keys) or (found is None) != (wanted is None):
        return False
    if wanted is None:
        return True
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return is_number and math.isclose(found, wanted, rel_tol=0, abs_tol=_TOLERANCE)


def _scored(scorer: "Scorer", body: bytes) -> list[Mapping[str, Any]]:
    from {{ cookiecutter.package_name }} import score

    return score.answer(score.Model(scorer, version=""), body).body["data"]


def _series(
    sensor: str, centre: float, scale: float, limits: tuple[float, float]
) -> list[dict[str, Any]]:
    low, high = limits
    values = [
        centre + scale * (_SWING * math.sin(2 * math.pi * row / 48) + _FAULT * (row >= _ROWS - 2))
        for row in range(_ROWS)
    ]
    return [
        {
            "timestamp": (_START + row * _STEP).isoformat(),
            "sensor_id": sensor,
            "temperature": round(min(max(value, low), high), 3),
        }
        for row, value in enumerate(values)
    ]


def _digest(body: Any) -> str:
    model = body.get("model") if isinstance(body, dict) else None
    return str(model.get("digest")) if isinstance(model, dict) else "unknown"


def _short(reply: Reply) -> str:
    text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
    return text[:_SHOWN]
