"""Every parameter of the sample accepts values of its type and rejects all others."""

import copy
import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from kedro_azure_mlops.cli.run import cli
from kedro_azure_mlops.hooks.parameter_types import Use, uses_of_parameters, wrong_parameters
from tests.template.sample.helpers import Project, rendered

PARAMETERS: dict[str, Any] = yaml.safe_load(
    (rendered() / "operation/configuration/base/parameters.yml").read_text(encoding="utf-8")
)
# example values of each type
SAMPLES: dict[str, list[Any]] = {
    "text": ["abc", "", "3", "0.5", "true", "null", "nan", "1e3"],
    "whole": [3, -1, 10**30],
    "number": [0.5, -1.5, 1e300],
    "no number": [float("nan"), float("inf")],
    "truth": [True, False],
    "nothing": [None],
    "list": [[], [1], ["abc"]],
    "group": [{"a": 1}],
}
# types accepted besides that of the default; a whole number is accepted as a number, too
EXTRA_TYPES = {
    "labels_file": {"nothing"},
    "training.holdout": {"text"},
    "detector.refit_every": {"nothing"},
    "detector.arguments": {"group"},
    "score.input": {"text"},
    "gate.table": {"nothing"},
    "gate.decision": {"nothing"},
    "gate.slices": {"nothing"},
    "gate.judged": {"nothing"},
}
_KINDS = {str: "text", int: "whole", float: "number", bool: "truth", list: "list", dict: "group"}
# integers; other parameters with an integer default are shares or time spans
WHOLE = {"validation.stuck_clock_rows", "detector.seed", "score.rows_per_piece"}


def leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in nested.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")


def kinds_of(name: str, value: Any) -> set[str]:
    kind = "nothing" if value is None else _KINDS[type(value)]
    allowed = {kind} | EXTRA_TYPES.get(name, set())
    return allowed | (
        {"whole", "number"}
        if allowed & {"whole", "number"} - WHOLE and name not in WHOLE
        else set()
    )


def parameters_with(name: str, value: Any) -> dict[str, Any]:
    parameters = copy.deepcopy(PARAMETERS)
    *groups, last = name.split(".")
    inner = parameters
    for group in groups:
        inner = inner[group]
    inner[last] = value
    return parameters


# the reader options have their own types, see tests/plugin/unit/test_tables.py
CHECKED = [(n, v) for n, v in leaves(PARAMETERS) if not n.startswith("reader")]


@pytest.fixture(scope="module")
def uses() -> list[Use]:
    bootstrap_project(rendered())
    with KedroSession.create(project_path=rendered()) as session:
        return uses_of_parameters(session.load_context().config_loader)


def test_every_parameter_has_a_type(uses: list[Use]) -> None:
    typed = {name.split(".")[0] for name, _ in uses}
    assert typed == PARAMETERS.keys()


def test_the_parameters_of_the_sample_are_valid(uses: list[Use]) -> None:
    assert wrong_parameters(PARAMETERS, uses) == {}


@pytest.mark.parametrize(("name", "value"), CHECKED, ids=[name for name, _ in CHECKED])
def test_a_value_of_the_wrong_type_is_rejected_by_name(
    uses: list[Use], name: str, value: Any
) -> None:
    wrong = SAMPLES.keys() - kinds_of(name, value)
    for candidate in itertools.chain.from_iterable(SAMPLES[kind] for kind in sorted(wrong)):
        errors = wrong_parameters(parameters_with(name, candidate), uses)
        assert list(errors) == [name], candidate
        assert "must be " in errors[name]
        assert "pydantic" not in errors[name]
        assert "[type=" not in errors[name]


def test_a_value_of_the_right_type_gives_no_type_error(uses: list[Use]) -> None:
    """It may be out of range, which is reported as such."""
    kinds = ("must be a number", "must be a whole", "must be text", "must be true", "must be a gr")
    for name, value in CHECKED:
        right = sorted(kinds_of(name, value) & {"whole", "number", "truth", "nothing"})
        for candidate in itertools.chain.from_iterable(SAMPLES[kind] for kind in right):
            errors = wrong_parameters(parameters_with(name, candidate), uses)
            assert not errors.get(name, "").startswith(kinds), (name, candidate, errors)


def test_several_wrong_parameters_are_reported_together(uses: list[Use]) -> None:
    generator = random.Random(0)  # noqa: S311
    for _ in range(50):
        names = generator.sample([name for name, value in CHECKED if isinstance(value, float)], 3)
        parameters = copy.deepcopy(PARAMETERS)
        for name in names:
            *groups, last = name.split(".")
            inner = parameters
            for group in groups:
                inner = inner[group]
            inner[last] = generator.choice(["abc", True, None, [], {}])
        assert sorted(wrong_parameters(parameters, uses)) == sorted(names)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("validation.maximum=abc", "validation.maximum: must be a number (it is 'abc')"),
        ("validation.maximum=null", "validation.maximum: must be a number (it is null)"),
        ("validation.maximum=nan", "validation.maximum: must be a number (it is 'nan')"),
        ("training.holdout=1.5", "training.holdout: must be less than 1 (it is 1.5)"),
        ("training.holdout=true", "training.holdout: must be a number (it is true)"),
        ("training.holdout=soon", "training.holdout: 'soon' is not a positive duration"),
        ("training.window=90", "training.window: must be text (it is 90)"),
        ("training.window=everything", "training.window: 'everything' is not a positive duration"),
        ("unit=3", "unit: must be text (it is 3)"),
        ("raw_file=7", "raw_file: must be text (it is 7)"),
        ("labels_file=false", "labels_file: must be text (it is false)"),
        ("model_name=5", "model_name: must be text (it is 5)"),
        ("score.rows_per_piece=x", "score.rows_per_piece: must be a whole number (it is 'x')"),
        ("score.model=both", "score.model: must be 'champion' or 'trained' (it is 'both')"),
        ("gate.require_labels=7", "gate.require_labels: must be true or false (it is 7)"),
        ("reader.decimal=;", "reader.decimal: must be '.' or ',' (it is ';')"),
        ("reader.skip_rows=x", "reader.skip_rows: must be a whole number (it is 'x')"),
        ("reader.time_zone=Europe/Berln", "reader.time_zone: "),
        ("detector.seed=true", "detector.seed: must be a whole number (it is true)"),
        ("detector.arguments=5", "detector.arguments: must be a group of keys and values"),
        ("detector.arguments.n_estimators=abc", "detector: sklearn.ensemble.IsolationForest"),
        ("detector.sed=5", "there is no parameter detector.sed. Did you mean detector.seed?"),
        ("detektor.seed=1", "there is no parameter detektor.seed. Did you mean detector.seed?"),
    ],
)
def test_wrong_params_are_rejected_before_any_data_is_loaded(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    params: str,
    message: str,
) -> None:
    bootstrap_project(project.path)
    monkeypatch.chdir(project.path)
    result = CliRunner().invoke(cli, ["run", "--pipelines", "pre_processing", "--params", params])
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error")]
    assert line.startswith("Error: --params: ")
    assert message in line
    assert "Traceback" not in result.output
    assert "Loading data" not in caplog.text
