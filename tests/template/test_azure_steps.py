"""The project's Azure pipelines train, wait, deploy, and go back when they must."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import BakedProject
from tests.template.azure_checks.commands import scripts_of
from tests.template.azure_checks.evaluation import evaluate
from tests.template.azure_checks.expressions import parse
from tests.template.azure_checks.graph import stages_of
from tests.template.ci_steps import PIPELINES, pipeline_of

Expand = Callable[..., Any]


@pytest.fixture(scope="module")
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    return baked(ci_provider="both")


@pytest.fixture
def expand(project: BakedProject, monkeypatch: pytest.MonkeyPatch) -> Expand:
    """Return a pipeline with its templates in place."""
    monkeypatch.chdir(project.path)
    return lambda name, **parameters: pipeline_of(project, name, **parameters)


@pytest.fixture
def jobs_of(expand: Expand) -> Callable[..., list[Any]]:
    """Return all jobs of a pipeline."""
    return lambda name, **parameters: [
        job for stage in stages_of(expand(name, **parameters)) for job in stage.jobs
    ]


def holds(condition: str, **names: object) -> bool:
    """Compute a condition as a run would; status functions are given as names."""
    status = {f"{name}()": str(value).lower() for name, value in names.items()}
    for function, value in status.items():
        condition = condition.replace(function, value)
    value = evaluate(parse(condition), names)
    assert isinstance(value, bool), value
    return value


def command_of(step: dict[str, Any]) -> str:
    (script,) = scripts_of(step) or [""]
    return script.strip().splitlines()[-1].removeprefix("exec ") if script else ""


def leaves(value: Any) -> Iterator[Any]:
    """Yield the values in nested mappings and lists."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


class TestSteps:
    @pytest.mark.parametrize("name", PIPELINES)
    def test_sign_in_by_the_connection_of_their_environment_alone(
        self, jobs_of: Callable[..., list[Any]], name: str
    ) -> None:
        for job in jobs_of(name):
            for step in job.steps:
                given, env = step.get("inputs", {}), step.get("env", {})
                connection = given.get("azureSubscription") or given.get("serviceConnection")
                if "--env" in command_of(step) and connection:
                    named = command_of(step).split("--env ")[1].split()[0]
                    assert connection == f"azure-temperature-anomalies-{named}"
                assert ("SYSTEM_ACCESSTOKEN" in env) == (step.get("task") == "AzureCLI@2")
                pushes = "--pull-request" in command_of(step)
                assert ("AZURE_DEVOPS_EXT_PAT" in env) == pushes

    @pytest.mark.parametrize("name", PIPELINES)
    def test_install_what_talks_to_azure_before_there_is_a_token(
        self, jobs_of: Callable[..., list[Any]], name: str
    ) -> None:
        for job in jobs_of(name):
            kinds = [step.get("task", command_of(step)) for step in job.steps]
            if "AzureCLI@2" in kinds:
                assert "make azure" in kinds[: kinds.index("AzureCLI@2")]

    @pytest.mark.parametrize("name", PIPELINES)
    def test_run_on_one_image(self, expand: Expand, name: str) -> None:
        pipeline = expand(name)
        assert pipeline["pool"] == {"vmImage": "ubuntu-24.04"}
        assert "vmImage" not in str(pipeline).replace("'pool': {'vmImage': 'ubuntu-24.04'}", "")

    def test_keep_no_credentials_of_the_checkout(self, jobs_of: Callable[..., list[Any]]) -> None:
        kept = {
            (name, step["persistCredentials"])
            for name in PIPELINES
            for job in jobs_of(name)
            for step in job.steps
            if "checkout" in step
        }
        assert {name for name, keeps in kept if keeps == "true"} == {"template-update"}
        assert {name for name, keeps in kept if keeps == "false"} == set(PIPELINES[:-1])

    def test_take_the_subscription_of_the_connection(
        self, project: BakedProject, expand: Expand, tmp_path: Path
    ) -> None:
        """azureml.yml need not name it; where a variable does, that one counts."""
        (job,) = stages_of(expand("train"))[0].jobs
        (script,) = [s for step in job.steps for s in scripts_of(step) if "monitor" in s]
        programs = {
            "az": 'echo "of $*"', ".venv/bin/python": 'echo "$AZURE_SUBSCRIPTION_ID" >said',
        }  # fmt: skip
        for name, text in programs.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)
        shell = BakedProject(tmp_path)
        path = f"{tmp_path}:/usr/bin:/bin"
        shell.run("bash", "-c", script, PATH=path)
        assert shell.read("said").strip() == "of account show --query id --output tsv"
        shell.run("bash", "-c", script, PATH=path, AZURE_SUBSCRIPTION_ID="mine")
        assert shell.read("said").strip() == "mine"


def test_no_value_of_an_environment_is_in_a_pipeline(project: BakedProject) -> None:
    texts = "".join(
        project.read(name) for name in project.files if name.startswith("azure_pipelines/")
    )
    values = set()
    for env in ("dev", "stage", "prod"):
        path = project.path / "operation" / "configuration" / env / "azureml.yml"
        values |= set(leaves(yaml.safe_load(path.read_text("utf-8"))))
    named = {value for value in values if isinstance(value, str) and len(value) > 4}
    assert {"westeurope", "rg-temperature-anomalies-prod"} <= named
    assert [value for value in named if value in texts] == []


class TestTraining:
    def test_waits_without_an_agent_if_it_may(self, jobs_of: Callable[..., list[Any]]) -> None:
        jobs = {job.name: job for job in jobs_of("train", agentless=True)}
        assert list(jobs) == ["look", "submit", "wait", "verdict", "cancel"]
        assert jobs["wait"].body["pool"] == "server"
        (step,) = jobs["wait"].steps
        assert step["task"] == "AzureMLJobWaitTask@1"
        assert "wait" in jobs["verdict"].depends_on

    def test_waits_on_an_agent_if_it_must(self, jobs_of: Callable[..., list[Any]]) -> None:
        jobs = {job.name: job for job in jobs_of("train", agentless=False)}
        assert list(jobs) == ["look", "submit", "verdict", "cancel"]

    def test_sends_once_and_follows_what_it_sent(self, jobs_of: Callable[..., list[Any]]) -> None:
        jobs = {job.name: job for job in jobs_of("train")}
        assert "train.py --env dev --no-wait" in command_of(jobs["submit"].steps[-1])
        assert command_of(jobs["verdict"].steps[-1]).endswith('train.py --env dev --job "$JOB"')
        assert command_of(jobs["cancel"].steps[-1]).endswith('cancel --env dev --job "$JOB"')
        for name in ("wait", "verdict", "cancel"):
            job = jobs[name].body["variables"]["job"]
            assert job == "$[ dependencies.submit.outputs['submit.job'] ]"

    @pytest.mark.parametrize(
        ("job", "canceled", "sent", "runs"),
        [
            ("verdict", False, "bold_apple", True),
            ("verdict", False, "", False),  # nothing was sent
            ("verdict", True, "bold_apple", False),
            ("cancel", True, "bold_apple", True),
            ("cancel", True, "", False),
            ("cancel", False, "bold_apple", False),
            ("cancel", "verdict", "bold_apple", True),  # it ran out of time, the run goes on
            ("cancel", "verdict", "", False),
        ],
    )
    def test_cancels_the_cloud_job_with_the_run(
        self, jobs_of: Callable[..., list[Any]], job: str,
        canceled: bool | str, sent: str, runs: bool,
    ) -> None:  # fmt: skip
        found = next(j for j in jobs_of("train") if j.name == job)
        outputs = {"submit.job": sent} if sent else {}
        verdict = {"result": "Failed" if canceled is False else "Canceled", "outputs": {}}
        dependencies = {"submit": {"outputs": outputs}, "verdict": verdict}
        condition = found.body["condition"]
        assert holds(condition, canceled=canceled is True, dependencies=dependencies) is runs

    def test_leaves_time_to_cancel_on_agents_that_end_a_job_after_six_hours(
        self, jobs_of: Callable[..., list[Any]]
    ) -> None:
        verdict = next(job for job in jobs_of("train") if job.name == "verdict").body
        limits = ("timeoutInMinutes", "cancelTimeoutInMinutes")
        assert sum(int(verdict[limit]) for limit in limits) < 360

    def test_cancels_after_all_that_could_still_need_the_job(
        self, jobs_of: Callable[..., list[Any]]
    ) -> None:
        jobs = {job.name: job for job in jobs_of("train")}
        assert set(jobs["cancel"].depends_on) == {"submit", "wait", "verdict"}
        assert int(jobs["cancel"].body["cancelTimeoutInMinutes"]) > 5


class TestRollout:
    @pytest.fixture
    def jobs(self, expand: Expand) -> dict[str, Any]:
        stages = stages_of(expand("deploy"))
        assert [stage.name for stage in stages] == ["to_stage", "to_prod"]
        assert stages[1].depends_on == ["to_stage"]
        return {stage.name.removeprefix("to_"): stage.jobs[0] for stage in stages}

    @pytest.mark.parametrize("env", ["stage", "prod"])
    def test_is_a_deployment_to_an_environment_that_people_approve(
        self, jobs: dict[str, Any], env: str
    ) -> None:
        assert jobs[env].is_deployment
        assert jobs[env].body["environment"] == env
        install, deploy, traffic, champion = [s for s in jobs[env].steps if command_of(s)]
        assert command_of(install) == "make azure"
        assert f"deploy.py --env {env}" in command_of(deploy)
        back = f"deploy.py --env {env} --back"
        assert f'{back} --if-deployment "$DEPLOY_DEPLOYMENT"' in command_of(traffic)
        assert f'{back} --if-champion "$DEPLOY_CHAMPION" --reason' in command_of(champion)

    def test_takes_the_digest_of_stage_to_prod(self, jobs: dict[str, Any]) -> None:
        digest = jobs["prod"].body["variables"]["digest"]
        assert digest == "$[ stageDependencies.to_stage.rollout.outputs['rollout.deploy.digest'] ]"
        deploy = [command_of(s) for s in jobs["prod"].steps if s.get("name") == "deploy"]
        assert '--digest "$DIGEST" --approved-by "' in deploy[0]
        assert "--reason" in deploy[0]

    def test_has_time_to_go_back(self, jobs: dict[str, Any]) -> None:
        for job in jobs.values():
            assert int(job.body["cancelTimeoutInMinutes"]) >= 30

    @pytest.mark.parametrize("env", ["stage", "prod"])
    @pytest.mark.parametrize(
        ("failed", "canceled", "moved", "champion", "back"),
        [
            (False, False, "true", "2", []),
            (True, False, "true", "2", ["traffic", "champion"]),
            (False, True, "true", "2", ["traffic", "champion"]),
            (True, False, "false", "2", ["champion"]),  # the deployment took itself back
            (True, False, "true", "", ["traffic"]),  # a first champion stays
            (True, False, "true", None, ["traffic"]),  # it was the champion before
            (True, False, "false", None, []),
            (True, False, None, None, []),  # refused before anything moved
        ],
    )
    def test_goes_back_from_what_this_run_moved(
        self, jobs: dict[str, Any], env: str, failed: bool, canceled: bool,
        moved: str | None, champion: str | None, back: list[str],
    ) -> None:  # fmt: skip
        steps = dict(zip(("traffic", "champion"), jobs[env].steps[-2:], strict=True))
        reported = {"deploy.moved": moved, "deploy.champion": champion}
        variables = {name: value for name, value in reported.items() if value is not None}
        names = {"failed": failed, "canceled": canceled, "variables": variables}
        assert [n for n, step in steps.items() if holds(step["condition"], **names)] == back

    def test_is_one_at_a_time(self, expand: Expand) -> None:
        assert expand("deploy")["lockBehavior"] == "sequential"


class TestRetraining:
    @pytest.mark.parametrize(
        ("reason", "asked", "looks"),
        [
            ("IndividualCI", False, False),
            ("Manual", False, False),
            ("Manual", True, True),
            ("Schedule", False, True),
        ],
    )
    def test_looks_for_drift_every_week_and_when_asked(
        self, expand: Expand, reason: str, asked: bool, looks: bool
    ) -> None:
        look = stages_of(expand("train", if_drifted=asked))[0].body
        variables = {"Build.Reason": reason}
        assert holds(look["condition"], succeeded=True, variables=variables) is looks

    @pytest.mark.parametrize(
        ("look", "data_of", "runs"),
        [
            ("Skipped", None, True),  # a change of the code, or by hand
            ("Succeeded", "prod", True),
            ("Succeeded", "", False),  # nothing is due
            ("Failed", "prod", False),
            ("Failed", None, False),  # the data cannot be trusted
        ],
    )
    def test_trains_if_nobody_looked_or_a_training_is_due(
        self, expand: Expand, look: str, data_of: str | None, runs: bool
    ) -> None:
        condition = stages_of(expand("train"))[1].body["condition"]
        outputs = {} if data_of is None else {"look.decide.data_of": data_of}
        names = {"dependencies": {"look": {"result": look, "outputs": outputs}}}
        succeeded = look == "Succeeded"
        assert holds(condition, canceled=False, succeeded=succeeded, **names) is runs
        assert holds(condition, canceled=True, succeeded=False, **names) is False

    def test_decides_as_dev_about_what_prod_has_shown(
        self, jobs_of: Callable[..., list[Any]]
    ) -> None:
        (look, *_) = jobs_of("train")
        *_, monitor, decide = look.steps
        assert command_of(monitor).endswith("monitor.py --env prod --answer")
        words = '--answer --drifted "$MONITOR_DRIFTED" --quality "$MONITOR_QUALITY"'
        assert command_of(decide).endswith(f"retrain.py --env dev {words}")
        assert [step["inputs"]["azureSubscription"].rpartition("-")[2]
                for step in (monitor, decide)] == ["prod", "dev"]  # fmt: skip

    @pytest.mark.parametrize(
        ("decided", "asked", "data_of"),
        [("prod", "dev", "prod"), (None, "dev", "dev"), (None, "prod", "prod")],
    )
    def test_trains_on_the_data_of_the_environment_that_is_watched(
        self, jobs_of: Callable[..., list[Any]], decided: str | None, asked: str, data_of: str
    ) -> None:
        submit = next(job for job in jobs_of("train", data_of=asked) if job.name == "submit")
        assert command_of(submit.steps[-1]).endswith('--data-of "$DATA_OF"')
        outputs = {"decide.data_of": decided} if decided else {}
        names = {"stagedependencies": {"look": {"look": {"outputs": outputs}}}}
        expression = submit.body["variables"]["data_of"].removeprefix("$[").removesuffix("]")
        assert evaluate(parse(expression.strip()), names) == data_of

    def test_is_scheduled_also_when_nothing_changed(self, expand: Expand) -> None:
        (schedule,) = expand("train")["schedules"]
        assert schedule["always"] == "true"


@pytest.mark.parametrize(("value", "runs"), [("", False), ("off", False), ("on", True)])
def test_template_updates_are_off_until_a_variable_says_on(
    jobs_of: Callable[..., list[Any]], value: str, runs: bool
) -> None:
    (job,) = jobs_of("template-update")
    condition = job.body["condition"]
    assert holds(condition, succeeded=True, variables={"TEMPLATE_UPDATE": value}) is runs


def test_ci_publishes_what_failed_too(jobs_of: Callable[..., list[Any]]) -> None:
    jobs = {job.name: job for job in jobs_of("ci")}
    assert list(jobs) == ["check", "test", "supply"]
    test, results, coverage = jobs["test"].steps[-3:]
    assert f"--junitxml={results['inputs']['testResultsFiles']}" in command_of(test)
    assert f"--cov-report=xml:{coverage['inputs']['summaryFileLocation']}" in command_of(test)
    assert results["condition"] == coverage["condition"] == "succeededOrFailed()"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_all_run_the_python_of_the_answer(baked: Callable[..., BakedProject], version: str) -> None:
    setup = baked(ci_provider="both", python_version=version).read(
        "azure_pipelines/templates/setup.yml"
    )
    assert f'versionSpec: "{version}"' in setup
