"""When a model is trained again, and on whose data."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import kedro_azure_mlops as public
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.refresh import Refresh, UpdatePolicy, decide_refresh
from tests.plugin.helpers import Project

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def decided(
    when: str = "drift",
    age: timedelta | None = WEEK,
    *,
    drifted: bool = False,
    quality: bool = False,
) -> Refresh:
    policy = UpdatePolicy("dev", when, "prod", WEEK)
    since = NOW - age if age is not None else None
    return decide_refresh(policy, drifted=drifted, quality=quality, champion_since=since, now=NOW)


def test_drift_is_learned() -> None:
    assert decided(drifted=True) == Refresh(True, "prod has drifted")
    assert decided(drifted=True, age=None).is_due, "there is no champion that is too young"
    assert not decided().is_due


def test_what_cannot_be_trusted_is_not_learned() -> None:
    for when in ("drift", "schedule"):
        found = decided(when, drifted=True, quality=True)
        assert not found.is_due
        assert "quality" in found.reason


def test_a_champion_is_not_replaced_sooner_than_the_policy_says() -> None:
    found = decided(drifted=True, age=timedelta(days=2))
    assert not found.is_due
    assert "2 days, less than 7 days" in found.reason


def test_a_schedule_asks_for_no_drift() -> None:
    assert decided("schedule").is_due
    assert decided("schedule", age=None).is_due
    assert not decided("schedule", age=timedelta(days=6)).is_due


def test_never_is_never() -> None:
    assert not decided("never", drifted=True).is_due


def configure(project: Project, watch: str, *parameters: str) -> None:
    names = ", ".join(parameters)
    text = f"update_policy: {{watch: {watch}, parameters: [{names}], every: 7D}}\n"
    project.configure("dev", "mlops.yml", text)


def test_data_of_the_watched_environment_are_named_to_the_training(project: Project) -> None:
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
        ("prod", "raw_fiel", "raw_fiel, which parameters.yml of prod does not have"),
        ("prod", "model.estimator.name", "model.estimator.name"),
        ("production", "raw_file", "there is no environment production"),
    ],
)
def test_a_policy_that_names_what_is_not_there_is_refused(
    project: Project, watch: str, parameter: str, message: str
) -> None:
    configure(project, watch, parameter)
    with pytest.raises(OperationError, match=message):
        public.read_update_policy("dev", project.path)


def test_a_schedule_needs_a_length(project: Project) -> None:
    project.configure("dev", "mlops.yml", "update_policy: {when: schedule}\n")
    with pytest.raises(OperationError, match="when: schedule needs every"):
        public.read_update_policy("dev", project.path)
    project.configure("dev", "mlops.yml", "update_policy: {when: schedule, every: 7D}\n")
    assert public.read_update_policy("dev", project.path).when == "schedule"


def test_the_champion_says_since_when_it_is_in_service(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    assert public.champion_since("local", Path.cwd()) is None
    before = datetime.now(UTC)
    project.run()
    since = public.champion_since("local", Path.cwd())
    assert since is not None
    assert before <= since <= datetime.now(UTC)
