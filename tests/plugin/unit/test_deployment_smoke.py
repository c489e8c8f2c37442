"""Answers that the smoke test accepts and rejects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.deploy.endpoint import Reply
from kedro_azure_mlops.deploy.smoke import Expected, expected_of, refuse_no_answer, smoke
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.serve import score
from tests.plugin.deployed import linear, save_linear_model


class FakeEndpoint:
    """An endpoint with this model; ``change`` alters a valid answer."""

    name = "heat"

    def __init__(self, model: score.Model) -> None:
        self.model = model
        self.change: Callable[[Any], Any] = lambda body: body
        self.status = 200
        self.accepts_anything = False

    def score(self, body: bytes, deployment: str | None = None) -> Reply:
        answer = score.answer(self.model, body)
        if answer.status != 200:
            return Reply(200 if self.accepts_anything else answer.status, answer.body, "v1")
        return Reply(self.status, self.change(json.loads(answer.text())), "v1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_linear_model(tmp_path_factory.mktemp("smoke") / "model")


@pytest.fixture(scope="module")
def expected(folder: Path) -> Expected:
    return expected_of(folder, digest(folder))


@pytest.fixture
def endpoint(folder: Path, expected: Expected) -> Any:
    numbers = json.loads((folder / "linear.json").read_text(encoding="utf-8"))
    return FakeEndpoint(score.Model(linear(numbers), expected.digest, "1"))


def first(**changes: Any) -> Callable[[Any], Any]:
    def change(body: Any) -> Any:
        return body | {"data": [body["data"][0] | changes, *body["data"][1:]]}

    return change


def without(name: str) -> Callable[[Any], Any]:
    def change(body: Any) -> Any:
        rows = [{k: v for k, v in row.items() if k != name} for row in body["data"]]
        return body | {"data": rows}

    return change


def test_the_example_is_sent_and_its_recorded_answer_is_expected(expected: Expected) -> None:
    assert json.loads(expected.body)["data"] == expected.contract.example
    assert list(expected.rows[0]) == ["time", "unit", "energy", "is_high"]
    assert {row["is_high"] for row in expected.rows} == {True, False}


def test_the_model_itself_passes(endpoint: Any, expected: Expected) -> None:
    smoke(endpoint, expected, "v1")
    refuse_no_answer(endpoint, expected.body)


def test_the_last_decimal_may_differ(endpoint: Any, expected: Expected) -> None:
    endpoint.change = first(energy=expected.rows[0]["energy"] + 1e-6)
    smoke(endpoint, expected, "v1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first(energy=0.5), r"returns data\[0\].energy 0.5, but training recorded 4"),
        (first(energy=None), r"returns data\[0\].energy None"),
        (first(energy=True), r"returns data\[0\].energy True"),
        (first(energy="high"), r"returns data\[0\].energy high"),
        (first(is_high=None), r"returns data\[0\].is_high None"),
        (first(is_high=1), r"returns data\[0\].is_high 1"),
        (first(unit="east"), r"returns data\[0\].unit east"),
        (without("is_high"), r"returns data\[0\] without the column is_high"),
        (without("unit"), r"returns data\[0\] without the column unit"),
        (lambda body: body | {"data": body["data"][1:]}, "returns 5 rows instead of 6"),
        (lambda body: body | {"model": {"digest": "0"}}, "answers with the model 0, not "),
        (lambda body: body | {"data": [None]}, r"a list of rows: \[null\]"),
        (lambda body: "<html>", "answers with the model unknown"),
    ],
)
def test_a_different_answer_is_rejected(
    endpoint: Any, expected: Expected, change: Callable[[Any], Any], message: str
) -> None:
    endpoint.change = change
    with pytest.raises(RefusedError, match=message):
        smoke(endpoint, expected, "v1")


def test_a_recorded_missing_value_is_expected(endpoint: Any, expected: Expected) -> None:
    answer = [expected.contract.answer[0] | {"is_high": None}, *expected.contract.answer[1:]]
    contract = expected.contract.__class__(
        expected.contract.schema, expected.contract.example, answer
    )
    endpoint.change = first(is_high=None)
    smoke(endpoint, Expected(expected.digest, contract), "v1")
    endpoint.change = lambda body: body
    with pytest.raises(RefusedError, match=r"data\[0\].is_high .*, but training recorded None"):
        smoke(endpoint, Expected(expected.digest, contract), "v1")


def test_a_server_that_fails_is_rejected(endpoint: Any, expected: Expected) -> None:
    endpoint.status = 503
    with pytest.raises(RefusedError, match="v1 returns 503 for a valid request"):
        smoke(endpoint, expected, "v1")
    with pytest.raises(RefusedError, match="v1 returns 503"):
        refuse_no_answer(endpoint, expected.body)


def test_a_server_that_accepts_malformed_requests_is_rejected(
    endpoint: Any, expected: Expected
) -> None:
    endpoint.accepts_anything = True
    with pytest.raises(RefusedError, match="returns 200 for a malformed request"):
        smoke(endpoint, expected, "v1")


def test_another_model_is_rejected_by_its_digest(endpoint: Any, expected: Expected) -> None:
    with pytest.raises(RefusedError, match="answers with the model"):
        smoke(endpoint, Expected("f" * 64, expected.contract), "v1")


def test_a_folder_without_a_model_cannot_be_deployed(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="cannot be deployed"):
        expected_of(tmp_path, "")
