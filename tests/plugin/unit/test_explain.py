"""Exact Shapley values of scores, and the answers that include them."""

import itertools
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from kedro_azure_mlops.contract import (
    CannotExplainError,
    Column,
    Columns,
    Explainable,
    Schema,
    read_contract,
    write_manifest,
)
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.explain import (
    MOST_FEATURES,
    MOST_ROWS,
    Explanation,
    explain_rows,
    reason_not_explained,
    shapley_values,
)
from kedro_azure_mlops.models import save_model
from kedro_azure_mlops.monitor.profile import PROFILE, reference_profile
from kedro_azure_mlops.serve import score
from kedro_azure_mlops.serve.batches import ScoredPieces, score_pieces
from tests.plugin.shap_reference import FILE, GAMES, rows_of, shap_values
from tests.plugin.trained import arrays_of, body_of, measured, small_scorer
from tests.plugin.trained import rows_of as json_rows

small_scorer()  # makes its package importable

from plant.rolling import RollingLoad  # noqa: E402

USUAL = 60.0


class ExplainedLoad(RollingLoad):
    """A scorer that explains the deviation of a load from its rolling mean by three features."""

    def explained(self, columns: Columns, wanted: np.ndarray | None = None) -> Explainable:
        load = columns["load"]
        requested = np.arange(len(load)) if wanted is None else np.flatnonzero(wanted)
        means = load - self.score(columns)["deviation"] if len(load) else load
        values = np.column_stack([load, means, np.full(len(load), 7.0)])[requested]
        baseline = np.full(values.shape, USUAL)
        return Explainable(
            *("deviation", ["load", "mean", "idle"], values, baseline),
            lambda mixed, rows: mixed[:, 0] - mixed[:, 1],
        )


class Weighted:
    """A sum of weighted columns, without a history."""

    def __init__(self, *weights: float, **schema: Any) -> None:
        self.weights = np.array(weights)
        names = [f"x{number}" for number in range(len(weights))]
        self.schema = Schema(
            tuple(Column(name, "double") for name in names),
            (Column("sum", "double", nullable=True),),
            **schema,
        )

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> dict[str, np.ndarray]:
        sums = np.column_stack([*columns.values()]) @ self.weights
        return {"sum": sums if wanted is None else sums[wanted]}

    def explained(self, columns: Columns, wanted: np.ndarray | None = None) -> Explainable:
        values = np.column_stack([*columns.values()])
        values = values if wanted is None else values[wanted]
        names = [one.name for one in self.schema.inputs]
        return Explainable(
            "sum", names, values, np.zeros(values.shape), lambda mixed, _: mixed @ self.weights
        )


@pytest.fixture(scope="module")
def scorer() -> ExplainedLoad:
    return ExplainedLoad(10.0, ["north", "7"])


def ask(scorer: Any, body: str | bytes) -> score.Answer:
    return score.answer(score.Model(scorer, "d" * 64), body)


def explained_body(table: pd.DataFrame, explain: object = True) -> str:
    return json.dumps({"data": json_rows(table), "explain": explain})


# Shapley values


@pytest.mark.parametrize("name", GAMES)
def test_shapley_values_equal_the_stored_values_of_shap(name: str) -> None:
    """The stored values are from shap's exact explainer, with the baseline as background row."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    values, baseline = (np.array(stored[name][part]) for part in ("values", "baseline"))
    np.testing.assert_array_equal((values, baseline), rows_of(name))
    function = GAMES[name][0]
    contributions, _, _ = shapley_values(lambda mixed, _: function(mixed), values, baseline)
    np.testing.assert_allclose(contributions, stored[name]["shapley_values"], rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(
    find_spec("shap") is None,
    reason="shap (600 MB) is not installed: its stored values are compared instead",
)
@pytest.mark.parametrize("name", GAMES)
def test_shapley_values_equal_those_of_the_installed_shap(name: str) -> None:
    function = GAMES[name][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shap's own imports warn
        expected = shap_values(function, *rows_of(name))
    contributions, _, _ = shapley_values(lambda mixed, _: function(mixed), *rows_of(name))
    np.testing.assert_allclose(contributions, expected, rtol=1e-9, atol=1e-12)


def test_shapley_values_are_means_over_all_orders_of_the_features() -> None:
    """By definition: the mean change of the score when a feature is added, over all orders."""
    values, baseline = (part[:, :5] for part in rows_of("steps"))
    function = GAMES["steps"][0]
    expected = np.zeros(values.shape)
    orders = [*itertools.permutations(range(5))]
    for order in orders:
        mixed = baseline.copy()
        for feature in order:
            before = function(mixed)
            mixed[:, feature] = values[:, feature]
            expected[:, feature] += (function(mixed) - before) / len(orders)
    contributions, _, _ = shapley_values(lambda mixed, _: function(mixed), values, baseline)
    np.testing.assert_allclose(contributions, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("name", GAMES)
def test_shapley_values_add_up_to_the_difference_of_the_scores(name: str, scale: float) -> None:
    function = GAMES[name][0]
    values, baseline = rows_of(name)
    contributions, scores, baseline_scores = shapley_values(
        lambda m, _: scale * function(m), values, baseline
    )
    np.testing.assert_array_equal(scores, scale * function(values))
    np.testing.assert_array_equal(baseline_scores, scale * function(baseline))
    np.testing.assert_allclose(
        contributions.sum(1), scores - baseline_scores, rtol=1e-9, atol=1e-15 * scale
    )


def test_unused_features_have_no_contribution_and_equal_ones_the_same() -> None:
    values, baseline = rows_of("interactions")
    values[:, 1], baseline[:, 1] = values[:, 0], baseline[:, 0]

    def product(mixed: np.ndarray, _: np.ndarray) -> np.ndarray:
        return mixed[:, 0] * mixed[:, 1] + 0.1 * mixed[:, 2]

    contributions, _, _ = shapley_values(product, values, baseline)
    assert (contributions[:, 3:] == 0).all()
    np.testing.assert_allclose(contributions[:, 0], contributions[:, 1], rtol=1e-12)
    np.testing.assert_allclose(contributions[:, 2], 0.1 * (values - baseline)[:, 2], rtol=1e-9)


def test_a_row_is_scored_in_one_call_and_many_rows_in_blocks() -> None:
    call_sizes: list[int] = []

    def steps(mixed: np.ndarray, rows: np.ndarray) -> np.ndarray:
        call_sizes.append(len(mixed))
        return GAMES["steps"][0](mixed) + rows

    values, baseline = np.random.default_rng(0).normal(size=(2, 3000, 5))
    all_together, scores, _ = shapley_values(steps, values, baseline)
    assert len(call_sizes) > 1
    assert sum(call_sizes) == 3000 * 32
    assert max(call_sizes) <= 2**16
    call_sizes.clear()
    single, single_score, _ = shapley_values(steps, values[2500:2501], baseline[2500:2501])
    assert call_sizes == [32]
    np.testing.assert_allclose(all_together[2500], single[0], atol=1e-9)
    assert scores[2500] == single_score[0] + 2500


def test_too_many_features_are_rejected() -> None:
    scorer = Weighted(*[1.0] * MOST_FEATURES)
    assert reason_not_explained(scorer) is None
    row = {f"x{number}": 1.0 for number in range(MOST_FEATURES)}
    answer = ask(scorer, json.dumps({"data": [row], "explain": True}))
    contributions = answer.body["data"][0]["explanation"]["contributions"]
    assert [*contributions.values()] == pytest.approx([1.0] * 12, rel=1e-9)
    wide = Weighted(*[1.0] * (MOST_FEATURES + 1))
    answer = ask(wide, json.dumps({"data": [row | {"x12": 1}], "explain": True}))
    assert answer.status == 400
    assert "computed from 13 features" in answer.body["error"]["message"]
    with pytest.raises(CannotExplainError, match="at most 12 features"):
        shapley_values(lambda mixed, _: mixed.sum(1), np.ones((1, 13)), np.zeros((1, 13)))


# Explanations as text


def words_of(*values: float, weights: tuple[float, ...] | None = None) -> str:
    columns = {f"x{number}": np.array([value]) for number, value in enumerate(values)}
    explanations = explain_rows(Weighted(*(weights or [1.0] * len(values))), columns)
    assert explanations is not None
    return explanations[0].words


def test_the_text_names_at_most_three_contributions_largest_first() -> None:
    assert words_of(1.0, 4.0, 3.0, 2.0) == "x1 4 (usual 0), x2 3 (usual 0), x3 2 (usual 0)"
    assert words_of(10.0, 1.5, 0.0) == "x0 10 (usual 0)"  # the others are relatively small


def test_the_text_omits_contributions_of_the_opposite_sign() -> None:
    assert words_of(5.0, -2.0, 4.0) == "x0 5 (usual 0), x2 4 (usual 0)"
    assert words_of(-5.0, 2.0, -4.0) == "x0 -5 (usual 0), x2 -4 (usual 0)"


def test_a_row_that_equals_the_baseline_is_described_as_usual() -> None:
    assert words_of(0.0, 0.0) == "no feature differs from its usual value"


# Explanations in a request


def test_flagged_rows_and_the_newest_of_each_series_are_explained(scorer: ExplainedLoad) -> None:
    table = measured()
    plain, explained = ask(scorer, body_of(table)), ask(scorer, explained_body(table))
    assert explained.status == 200
    rows = explained.body["data"]
    answers = [{k: v for k, v in row.items() if k != "explanation"} for row in rows]
    assert answers == plain.body["data"]
    explained_rows = {number for number, row in enumerate(rows) if row["explanation"]}
    flagged = {number for number, row in enumerate(rows) if row["is_far"]}
    assert 0 < len(flagged) < 50
    assert explained_rows == flagged | {len(rows) - 2, len(rows) - 1}
    for number in explained_rows:
        explanation = rows[number]["explanation"]
        load = table["load"][number]
        assert [*explanation] == ["words", "contributions", "baseline_score"]
        assert explanation["baseline_score"] == 0.0
        assert explanation["contributions"]["load"] == pytest.approx(load - USUAL)
        assert explanation["contributions"]["idle"] == 0.0
        assert sum(explanation["contributions"].values()) == pytest.approx(
            rows[number]["deviation"], 1e-5
        )
        assert explanation["words"].startswith(f"{rows[number]['unit']}: ")
    assert json.loads(explained.text()) == explained.body


def test_nothing_is_explained_unless_requested(scorer: ExplainedLoad) -> None:
    table = measured().tail(4)
    plain = ask(scorer, body_of(table))
    assert ask(scorer, explained_body(table, False)) == plain
    assert "explanation" not in plain.body["data"][0]


def test_repeated_rows_get_the_same_explanation(scorer: ExplainedLoad) -> None:
    rows = json_rows(measured().tail(60))
    bodies = (rows, [row for row in rows for _ in range(2)])
    once, both = (
        ask(scorer, json.dumps({"data": sent, "explain": True})).body["data"] for sent in bodies
    )
    assert once[-1]["explanation"]
    assert both == [row for row in once for _ in range(2)]


def test_a_row_without_an_answer_is_explained_by_its_reason(scorer: ExplainedLoad) -> None:
    table = measured().tail(2).assign(unit=["south", "north"])
    south, north = ask(scorer, explained_body(table)).body["data"]
    words = "south: the model has no answer for this row"
    assert south["explanation"] == {"words": words, "contributions": {}, "baseline_score": None}
    assert north["explanation"]["contributions"]

    class WithReason(Weighted):
        def score(self, columns: Columns, wanted: Any = None) -> dict[str, np.ndarray]:
            is_high = columns["x0"] > 5
            return {
                "sum": np.where(is_high, np.nan, columns["x0"]),
                "why": np.where(is_high, "too high", None),
            }

    reasoned = WithReason(1.0, reason="why")
    reasoned.schema = Schema(
        reasoned.schema.inputs,
        (*reasoned.schema.outputs, Column("why", "string", nullable=True)),
        reason="why",
    )
    answer = ask(reasoned, '{"data": [{"x0": 9}, {"x0": 2}], "explain": true}')
    texts = [row["explanation"]["words"] for row in answer.body["data"]]
    assert texts == ["too high", "x0 2 (usual 0)"]


@pytest.mark.parametrize("explain", ["true", 1, 0, None, [], {}], ids=repr)
def test_explain_must_be_true_or_false(scorer: ExplainedLoad, explain: object) -> None:
    refused = ask(scorer, explained_body(measured().tail(2), explain))
    assert (refused.status, refused.body["error"]) == (
        400,
        {"field": "explain", "message": "must be true or false"},
    )
    assert ask(scorer, explained_body(measured().tail(2))).status == 200


def test_a_model_that_cannot_explain_rejects_only_explain_requests() -> None:
    plain = small_scorer()
    refused = ask(plain, explained_body(measured().tail(2)))
    assert (refused.status, refused.body["error"]["field"]) == (400, "explain")
    assert "does not declare the features of its score" in refused.body["error"]["message"]
    assert ask(plain, body_of(measured().tail(2))).status == 200


def test_a_model_with_an_explanation_column_keeps_it() -> None:
    scorer = Weighted(1.0)
    scorer.schema = Schema((Column("explanation", "double"),), scorer.schema.outputs)
    row = '{"data": [{"explanation": 1}]'
    refused = ask(scorer, row + ', "explain": true}')
    assert "already has a column called explanation" in refused.body["error"]["message"]
    assert ask(scorer, row + "}").body["data"] == [{"sum": 1.0}]


def test_the_number_of_rows_that_a_request_may_explain_is_limited() -> None:
    rows = [{"x0": 1.0}] * (MOST_ROWS + 1)
    refused = ask(Weighted(1.0), json.dumps({"data": rows, "explain": True}))
    assert refused.body["error"]["field"] == "explain"
    assert (
        "1,001 rows need explanations, more than the limit of 1,000"
        in refused.body["error"]["message"]
    )
    for body in ({"data": rows}, {"data": rows[1:], "explain": True}):
        assert ask(Weighted(1.0), json.dumps(body)).status == 200


def test_an_explanation_of_a_different_score_is_rejected() -> None:
    scorer = Weighted(1.0, 2.0)
    body = '{"data": [{"x0": 1, "x1": 1}], "explain": true}'
    assert ask(scorer, body).status == 200
    explained = scorer.explained

    def other_score(columns: Columns, wanted: Any = None) -> Explainable:
        original = explained(columns, wanted)
        return Explainable(
            "sum", original.names, original.values, original.baseline, lambda m, _: m[:, 0]
        )

    scorer.explained = other_score
    refused = ask(scorer, body)
    assert refused.body["error"]["field"] == "explain"
    assert "explains the sum 1 but answers 3" in refused.body["error"]["message"]


def test_a_score_that_is_nan_for_some_mixes_has_no_contributions() -> None:
    scorer = Weighted(1.0, 1.0)
    explained = scorer.explained

    def with_holes(columns: Columns, wanted: Any = None) -> Explainable:
        original = explained(columns, wanted)
        return Explainable(
            *("sum", original.names, original.values, original.baseline),
            lambda m, _: np.where(m[:, 0] == 0, np.nan, m.sum(1)),
        )

    scorer.explained = with_holes
    answer = ask(scorer, '{"data": [{"x0": 1, "x1": 1}], "explain": true}')
    explanation = answer.body["data"][0]["explanation"]
    assert explanation["words"].startswith("not explained: ")
    assert (explanation["contributions"], explanation["baseline_score"]) == ({}, None)


# Explanations in files


def split_rows(table: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    return (table.iloc[start : start + size] for start in range(0, len(table), size))


@pytest.mark.parametrize("size", [1, 7, 400])
def test_each_flagged_row_of_a_file_has_an_explanation(scorer: ExplainedLoad, size: int) -> None:
    table = measured().tail(150)
    plain = pd.concat(score_pieces(split_rows(table, size), scorer, "3"))
    scores = pd.concat(score_pieces(split_rows(table, size), scorer, "3", explain=True))
    assert [*scores.columns[-2:]] == ["explanation", "model_version"]
    pd.testing.assert_frame_equal(scores.drop(columns="explanation"), plain)
    is_far = scores["is_far"] == 1
    assert is_far.any()
    assert scores["explanation"].notna().tolist() == is_far.tolist()
    assert scores.loc[is_far, "explanation"].str.startswith(("north: ", "7: ")).all()
    in_request = ask(scorer, explained_body(table)).body["data"]
    words = [row["explanation"]["words"] for row in in_request if row["is_far"]]
    assert scores.loc[is_far, "explanation"].tolist() == words


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_explanations_are_written_to_files(
    scorer: ExplainedLoad, tmp_path: Path, kind: str
) -> None:
    target = ScoredPieces(filepath=str(tmp_path / f"scores.{kind}"))
    table = measured().tail(150)
    pieces = [table.head(0), *split_rows(table, 20)]  # a project may remove all rows of a piece
    target.save(score_pieces(pieces, scorer, "3", explain=True))
    scores = pd.concat(target.load())
    assert scores["explanation"].notna().sum() == (scores["is_far"] == 1).sum() > 0


def test_a_model_that_cannot_explain_is_rejected_before_a_row_is_read() -> None:
    def pieces() -> Iterator[pd.DataFrame]:
        raise AssertionError("a row was read")
        yield

    with pytest.raises(OperationError, match="The scores cannot be explained: the scorer"):
        score_pieces(pieces(), small_scorer(), "3", explain=True)
    score_pieces(pieces(), small_scorer(), "3")


# Explanations for a report


def test_rows_of_a_table_are_explained_in_the_requested_order(
    scorer: ExplainedLoad,
) -> None:
    table = measured().tail(200)
    in_request = [row["explanation"] for row in ask(scorer, explained_body(table)).body["data"]]
    mixed = table.reset_index(drop=True).sample(frac=1, random_state=0)
    twice = pd.concat([mixed, mixed.head(50)])
    columns, positions = arrays_of(twice), twice.index.to_numpy()
    for rows in (np.array([3, 190, 7]), np.array([5])):
        explanations = explain_rows(scorer, columns, rows)
        expected = explain_rows(scorer, arrays_of(table), positions[rows])
        assert explanations == expected
        assert all(one.contributions for one in explanations or ())
    is_explained = np.array([in_request[position] is not None for position in positions])
    explanations = explain_rows(scorer, columns, is_explained)
    assert explanations is not None
    assert [one.to_json() for one in explanations] == [
        in_request[position] for position in positions[is_explained]
    ]
    assert explanations[0].score == pytest.approx(sum(explanations[0].contributions.values()))
    assert len(explain_rows(scorer, arrays_of(table)) or ()) == 200
    assert explain_rows(scorer, columns, np.array([], int)) == []


def test_the_reason_is_logged_if_a_model_cannot_explain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert explain_rows(small_scorer(), arrays_of(measured().tail(3))) is None
    assert "Not explained: the scorer of this model does not declare" in caplog.text
    assert reason_not_explained(small_scorer()) in caplog.text


def test_an_explanation_without_contributions_can_be_serialized() -> None:
    assert Explanation("why").to_json() == {
        **{"words": "why", "contributions": {}},
        "baseline_score": None,
    }


# Stored models without a scorer


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a stored regression on a float and an integer, with its training profile."""
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"a": draw.normal(3, 1, 101), "b": draw.integers(0, 9, 101)})
    model = LinearRegression().fit(table, 2 * table["a"] - table["b"])
    folder = tmp_path_factory.mktemp("stored") / "model"
    save_model(model, folder)
    write_profile(folder, table)
    return folder


def write_profile(folder: Path, table: pd.DataFrame) -> None:
    profile = reference_profile(table, read_contract(folder).schema)
    (folder / PROFILE).write_text(json.dumps(profile), encoding="utf-8")
    write_manifest(folder)


def refusal_of(folder: Path, row: dict[str, Any]) -> str:
    """Return the message that rejects an explanation of a row that can be scored."""
    model = score.load_served(folder, None)
    assert score.answer(model, json.dumps({"data": [row]})).status == 200
    refused = score.answer(model, json.dumps({"data": [row], "explain": True}))
    assert (refused.status, refused.body["error"]["field"]) == (400, "explain")
    return str(refused.body["error"]["message"])


def test_a_stored_model_is_explained_relative_to_the_training_medians(
    stored: Path,
) -> None:
    model = score.load_served(stored, None)
    draw = np.random.default_rng(0)
    a = float(f"{np.median(draw.normal(3, 1, 101)):.6g}")
    b = float(np.median(draw.integers(0, 9, 101)))
    answer = score.answer(model, '{"data": [{"a": 9.0, "b": 4}], "explain": true}')
    (row,) = answer.body["data"]
    explanation = row["explanation"]
    assert explanation["contributions"]["a"] == pytest.approx(2 * (9 - a), rel=1e-9)
    assert explanation["contributions"]["b"] == pytest.approx(b - 4, abs=1e-9)
    assert explanation["baseline_score"] == pytest.approx(2 * a - b, rel=1e-9)
    assert explanation["words"] == f"a 9 (usual {a:.4g})"
    total = explanation["baseline_score"] + sum(explanation["contributions"].values())
    assert total == pytest.approx(row["prediction"], rel=1e-9)


@pytest.mark.parametrize("content", [None, "{}", "[", '{"series": [{"columns": {}}]}'])
def test_a_stored_model_without_a_profile_is_not_explained(
    stored: Path, tmp_path: Path, content: str | None
) -> None:
    folder = Path(shutil.copytree(stored, tmp_path / "model"))
    (folder / PROFILE).unlink()
    if content is not None:
        (folder / PROFILE).write_text(content, encoding="utf-8")
    write_manifest(folder)
    message = refusal_of(folder, {"a": 1, "b": 2})
    assert "no profile.json in the model folder has the median of a, b" in message


def test_a_stored_model_with_text_inputs_or_several_outputs_is_not_explained(
    tmp_path: Path,
) -> None:
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
    save_model(LinearRegression().fit(table, np.ones((4, 2))), tmp_path / "two")
    write_profile(tmp_path / "two", table)
    assert "does not return a single number" in refusal_of(tmp_path / "two", {"a": 1})
    names = pd.DataFrame({"kind": ["x", "y", "x", "y"]})
    encoded = make_pipeline(OneHotEncoder(), LinearRegression()).fit(names, table["a"])
    encoded.input_example = names
    save_model(encoded, tmp_path / "texts")
    write_profile(tmp_path / "texts", names)
    assert "has inputs that are not numbers: kind" in refusal_of(tmp_path / "texts", {"kind": "x"})
