"""Which answers the smoke test takes, and which it refuses."""

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


class Served:
    """Answers as an endpoint with this model; ``change`` may change a good answer."""

    name = "heat"

    def __init__(self, model: score.Model) -> None:
        self.model = model
        self.change: Callable[[Any], Any] = lambda body: body
        self.status = 200
        self.takes_anything = False

    def score(self, body: bytes, deployment: str | None = None) -> Reply:
        answer = score.answer(self.model, body)
        if answer.status != 200:
            return Reply(200 if self.takes_anything else answer.status, answer.body, "v1")
        return Reply(self.status, self.change(json.loads(answer.text())), "v1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_linear_model(tmp_path_factory.mktemp("smoke") / "model")


@pytest.fixture(scope="module")
def expected(folder: Path) -> Expected:
    return expected_of(folder, digest(folder))


@pytest.fixture
def served(folder: Path, expected: Expected) -> Any:
    numbers = json.loads((folder / "linear.json").read_text(encoding="utf-8"))
    return Served(score.Model(linear(numbers), expected.digest, "1"))


def first(**changes: Any) -> Callable[[Any], Any]:
    def change(body: Any) -> Any:
        return body | {"data": [body["data"][0] | changes, *body["data"][1:]]}

    return change


def without(name: str) -> Callable[[Any], Any]:
    def change(body: Any) -> Any:
        kept = [{k: v for k, v in row.items() if k != name} for row in body["data"]]
        return body | {"data": kept}

    return change


def test_the_example_is_sent_and_what_was_recorded_is_expected(expected: Expected) -> None:
    assert json.loads(expected.body)["data"] == expected.contract.example
    assert list(expected.rows[0]) == ["time", "unit", "energy", "is_high"]
    assert {row["is_high"] for row in expected.rows} == {True, False}


def test_the_model_itself_passes(served: Any, expected: Expected) -> None:
    smoke(served, expected, "v1")
    refuse_no_answer(served, expected.body)


def test_the_last_decimal_may_differ(served: Any, expected: Expected) -> None:
    served.change = first(energy=expected.rows[0]["energy"] + 1e-6)
    smoke(served, expected, "v1")


@pytest.mark.parametrize(
    ("change", "said"),
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
def test_any_other_answer_is_refused(
    served: Any, expected: Expected, change: Callable[[Any], Any], said: str
) -> None:
    served.change = change
    with pytest.raises(RefusedError, match=said):
        smoke(served, expected, "v1")


def test_a_missing_value_that_was_recorded_is_expected(served: Any, expected: Expected) -> None:
    answer = [expected.contract.answer[0] | {"is_high": None}, *expected.contract.answer[1:]]
    contract = expected.contract.__class__(
        expected.contract.schema, expected.contract.example, answer
    )
    served.change = first(is_high=None)
    smoke(served, Expected(expected.digest, contract), "v1")
    served.change = lambda body: body
    with pytest.raises(RefusedError, match=r"data\[0\].is_high .*, but training recorded None"):
        smoke(served, Expected(expected.digest, contract), "v1")


def test_a_server_that_fails_is_refused(served: Any, expected: Expected) -> None:
    served.status = 503
    with pytest.raises(RefusedError, match="v1 returns 503 for a valid request"):
        smoke(served, expected, "v1")
    with pytest.raises(RefusedError, match="v1 returns 503"):
        refuse_no_answer(served, expected.body)


def test_a_server_that_takes_anything_is_refused(served: Any, expected: Expected) -> None:
    served.takes_anything = True
    with pytest.raises(RefusedError, match="returns 200 for a malformed request"):
        smoke(served, expected, "v1")


def test_another_model_is_refused_by_its_digest(served: Any, expected: Expected) -> None:
    with pytest.raises(RefusedError, match="answers with the model"):
        smoke(served, Expected("f" * 64, expected.contract), "v1")


def test_a_folder_without_a_model_cannot_be_deployed(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="cannot be deployed"):
        expected_of(tmp_path, "")
