"""Which answers the smoke test takes, and which it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.package_name }} import score

from operation.deployment.endpoint import Reply
from operation.deployment.smoke import (
    Expected,
    expected_of,
    refuse_no_answer,
    refuse_other_digest,
    smoke,
)
from operation.errors import OperationError, RefusedError
from operation.tests.trained import save_small_model


class Served:
    """Answers as an endpoint with this model; ``change`` may change a good answer."""

    name = "heat"

    def __init__(self) -> None:
        self.change: Callable[[Any], Any] = lambda body: body
        self.status = 200
        self.takes_anything = False

    def score(self, body: bytes, deployment: str | None = None) -> Reply:
        answer = score.run(body)
        if answer.status != 200:
            return Reply(200 if self.takes_anything else answer.status, answer.body, "v1")
        return Reply(self.status, self.change(json.loads(answer.text())), "v1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("smoke") / "model")


@pytest.fixture(scope="module")
def expected(folder: Path) -> Expected:
    return expected_of(folder)


@pytest.fixture
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("MODEL_DIGEST", "MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(score, "_loaded", None)
    score.init(folder)
    return Served()


def first(**changes: Any) -> Callable[[Any], Any]:
    def change(body: Any) -> Any:
        return body | {"data": [body["data"][0] | changes, *body["data"][1:]]}

    return change


def test_the_rows_know_usual_faulty_and_unknown(expected: Expected) -> None:
    sensors = {row["sensor_id"] for row in expected.data}
    assert {"hall", "7"} < sensors
    flags = {row["is_anomaly"] for row in expected.data}
    assert flags == {True, False, None}


def test_the_model_itself_passes(served: Any, expected: Expected) -> None:
    smoke(served, expected, "v1")
    refuse_no_answer(served, expected.body)
    refuse_other_digest(served, expected.body, "v1", expected.digest)


def test_the_last_decimal_may_differ(served: Any, expected: Expected) -> None:
    served.change = first(score=expected.data[0]["score"] + 1e-6)
    smoke(served, expected, "v1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (first(score=0.5), r"scores data\[0\] 0.5, here the same model gives"),
        (first(score=None), r"scores data\[0\] None"),
        (first(is_anomaly=True), r"scores data\[0\]"),
        (first(sensor_id="attic"), r"scores data\[0\]"),
        (lambda body: body | {"data": body["data"][1:]}, "scores for 122 readings"),
        (lambda body: body | {"model": {"digest": "0"}}, "answers with the model 0, not "),
        (first(score="high"), r"scores data\[0\] high"),
        (lambda body: body | {"data": [None]}, r"no list of scores: \[null\]"),
        (lambda body: "<html>", "answers with the model unknown"),
    ],
    ids=["score", "none", "flag", "sensor", "rows", "digest", "text", "null", "no_json"],
)
def test_any_other_answer_is_refused(
    served: Any, expected: Expected, change: Callable[[Any], Any], said: str
) -> None:
    served.change = change
    with pytest.raises(RefusedError, match=said):
        smoke(served, expected, "v1")


def test_a_server_that_fails_is_refused(served: Any, expected: Expected) -> None:
    served.status = 503
    with pytest.raises(RefusedError, match="v1 answers 503 to good readings"):
        smoke(served, expected, "v1")
    with pytest.raises(RefusedError, match="v1 answers 503"):
        refuse_no_answer(served, expected.body)


def test_a_server_that_takes_anything_is_refused(served: Any, expected: Expected) -> None:
    served.takes_anything = True
    with pytest.raises(RefusedError, match="answers 200 to a reading that is none"):
        smoke(served, expected, "v1")


def test_another_model_is_refused_by_its_digest(served: Any, expected: Expected) -> None:
    with pytest.raises(RefusedError, match="answers with the model"):
        refuse_other_digest(served, expected.body, "v1", "f" * 64)


def test_a_folder_without_a_model_cannot_be_deployed(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="cannot be deployed"):
        expected_of(tmp_path)
