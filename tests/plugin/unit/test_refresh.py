"""Conditions and data of retraining."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import kedro_azure_mlops as public
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.refresh import Refresh, UpdatePolicy, decide_refresh
from tests.plugin.helpers import Project

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def decide(
    when: str = "drift",
    age: timedelta | None = WEEK,
    *,
    drifted: bool = False,
    quality: bool = False,
) -> Refresh:
    policy = UpdatePolicy("dev", when, "prod", WEEK)
    since = NOW - age if age is not None else None
    return decide_refresh(policy, drifted=drifted, quality=quality, champion_since=since, now=NOW)


def test_drift_triggers_retraining() -> None:
    assert decide(drifted=True) == Refresh(True, "prod has drifted")
    assert decide(drifted=True, age=None).is_due, "without a champion, no minimum age applies"
    assert not decide().is_due


def test_bad_data_quality_prevents_retraining() -> None:
    for when in ("drift", "schedule"):
        refresh = decide(when, drifted=True, quality=True)
        assert not refresh.is_due
        assert "quality" in refresh.reason


def test_a_champion_younger_than_the_policys_interval_is_not_replaced() -> None:
    refresh = decide(drifted=True, age=timedelta(days=2))
    assert not refresh.is_due
    assert "2 days, less than 7 days" in refresh.reason


def test_a_schedule_requires_no_drift() -> None:
    assert decide("schedule").is_due
    assert decide("schedule", age=None).is_due
    assert not decide("schedule", age=timedelta(days=6)).is_due


def test_the_policy_never_prevents_retraining() -> None:
    assert not decide("never", drifted=True).is_due


def configure(project: Project, watch: str, *parameters: str) -> None:
    names = ", ".join(parameters)
    text = f"update_policy: {{watch: {watch}, parameters: [{names}], every: 7D}}\n"
    project.configure("dev", "mlops.yml", text)


def test_the_policy_passes_on_parameters_of_the_watched_environment(project: Project) -> None:
    configure(project, "prod", "raw_file", "model.estimator")
    project.configure("prod", "parameters.yml", "raw_file: abfs://prod@store/hours.csv\n")
    policy = public.read_update_policy("dev", project.path)
    assert (policy.watch, policy.when, policy.every) == ("prod", "drift", WEEK)
    assert policy.as_text == {
        "raw_file": "abfs://prod@store/hours.csv",
        "model.estimator": "sklearn.linear_model.Ridge",
    }


@pytest.mark.parametrize(
    ("watch", "parameter", "message"),
    [
        ("prod", "raw_fiel", "raw_fiel, which is not in parameters.yml of prod"),
        ("prod", "model.estimator.name", "model.estimator.name"),
        ("production", "raw_file", "there is no environment production"),
    ],
)
def test_a_policy_with_an_unknown_parameter_or_environment_is_rejected(
    project: Project, watch: str, parameter: str, message: str
) -> None:
    configure(project, watch, parameter)
    with pytest.raises(OperationError, match=message):
        public.read_update_policy("dev", project.path)


def test_a_schedule_needs_an_interval(project: Project) -> None:
    project.configure("dev", "mlops.yml", "update_policy: {when: schedule}\n")
    with pytest.raises(OperationError, match="when: schedule needs every"):
        public.read_update_policy("dev", project.path)
    project.configure("dev", "mlops.yml", "update_policy: {when: schedule, every: 7D}\n")
    assert public.read_update_policy("dev", project.path).when == "schedule"


def test_champion_since_returns_the_time_of_its_promotion(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    assert public.champion_since("local", Path.cwd()) is None
    before = datetime.now(UTC)
    project.run()
    since = public.champion_since("local", Path.cwd())
    assert since is not None
    assert before <= since <= datetime.now(UTC)
