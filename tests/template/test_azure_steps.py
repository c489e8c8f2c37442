"""The rendered Azure pipelines train, wait, deploy and roll back."""

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
    """Return a function that expands the templates of a pipeline."""
    monkeypatch.chdir(project.path)
    return lambda name, **parameters: pipeline_of(project, name, **parameters)


@pytest.fixture
def jobs_of(expand: Expand) -> Callable[..., list[Any]]:
    """Return a function that lists all jobs of a pipeline."""
    return lambda name, **parameters: [
        job for stage in stages_of(expand(name, **parameters)) for job in stage.jobs
    ]


def holds(condition: str, **names: object) -> bool:
    """Evaluate a condition as a run does; keywords set contexts and status functions."""
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
    def test_sign_in_only_with_the_connection_of_their_environment(
        self, jobs_of: Callable[..., list[Any]], name: str
    ) -> None:
        for job in jobs_of(name):
            for step in job.steps:
                inputs, env = step.get("inputs", {}), step.get("env", {})
                connection = inputs.get("azureSubscription") or inputs.get("serviceConnection")
                if "--env" in command_of(step) and connection:
                    target = command_of(step).split("--env ")[1].split()[0]
                    assert connection == f"azure-temperature-anomalies-{target}"
                assert ("SYSTEM_ACCESSTOKEN" in env) == (step.get("task") == "AzureCLI@2")
                pushes = "--pull-request" in command_of(step)
                assert ("AZURE_DEVOPS_EXT_PAT" in env) == pushes

    @pytest.mark.parametrize("name", PIPELINES)
    def test_install_the_azure_packages_before_signing_in(
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

    def test_do_not_persist_checkout_credentials(self, jobs_of: Callable[..., list[Any]]) -> None:
        checkouts = {
            (name, step["persistCredentials"])
            for name in PIPELINES
            for job in jobs_of(name)
            for step in job.steps
            if "checkout" in step
        }
        assert {name for name, persists in checkouts if persists == "true"} == {"template-update"}
        assert {name for name, persists in checkouts if persists == "false"} == set(PIPELINES[:-1])

    def test_use_the_subscription_of_the_connection(
        self, project: BakedProject, expand: Expand, tmp_path: Path
    ) -> None:
        """azureml.yml need not name it; a variable that is already set takes precedence."""
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


def test_pipelines_contain_no_configuration_values(project: BakedProject) -> None:
    texts = "".join(
        project.read(name) for name in project.files if name.startswith("azure_pipelines/")
    )
    values = set()
    for env in ("dev", "stage", "prod"):
        path = project.path / "operation" / "configuration" / env / "azureml.yml"
        values |= set(leaves(yaml.safe_load(path.read_text("utf-8"))))
    settings = {value for value in values if isinstance(value, str) and len(value) > 4}
    assert {"westeurope", "rg-temperature-anomalies-prod"} <= settings
    assert [value for value in settings if value in texts] == []


class TestTraining:
    def test_waits_in_an_agentless_job_if_allowed(self, jobs_of: Callable[..., list[Any]]) -> None:
        jobs = {job.name: job for job in jobs_of("train", agentless=True)}
        assert list(jobs) == ["look", "submit", "wait", "verdict", "cancel"]
        assert jobs["wait"].body["pool"] == "server"
        (step,) = jobs["wait"].steps
        assert step["task"] == "AzureMLJobWaitTask@1"
        assert "wait" in jobs["verdict"].depends_on

    def test_waits_on_an_agent_otherwise(self, jobs_of: Callable[..., list[Any]]) -> None:
        jobs = {job.name: job for job in jobs_of("train", agentless=False)}
        assert list(jobs) == ["look", "submit", "verdict", "cancel"]

    def test_submits_once_and_follows_that_job(self, jobs_of: Callable[..., list[Any]]) -> None:
        jobs = {job.name: job for job in jobs_of("train")}
        assert "train.py --env dev --no-wait" in command_of(jobs["submit"].steps[-1])
        assert command_of(jobs["verdict"].steps[-1]).endswith('train.py --env dev --job "$JOB"')
        assert command_of(jobs["cancel"].steps[-1]).endswith('cancel --env dev --job "$JOB"')
        for name in ("wait", "verdict", "cancel"):
            job = jobs[name].body["variables"]["job"]
            assert job == "$[ dependencies.submit.outputs['submit.job'] ]"

    @pytest.mark.parametrize(
        ("job", "canceled", "submitted", "runs"),
        [
            ("verdict", False, "bold_apple", True),
            ("verdict", False, "", False),  # nothing was submitted
            ("verdict", True, "bold_apple", False),
            ("cancel", True, "bold_apple", True),
            ("cancel", True, "", False),
            ("cancel", False, "bold_apple", False),
            ("cancel", "verdict", "bold_apple", True),  # the job timed out, the run continues
            ("cancel", "verdict", "", False),
        ],
    )
    def test_cancels_the_cloud_job_with_the_run(
        self, jobs_of: Callable[..., list[Any]], job: str,
        canceled: bool | str, submitted: str, runs: bool,
    ) -> None:  # fmt: skip
        tested = next(j for j in jobs_of("train") if j.name == job)
        outputs = {"submit.job": submitted} if submitted else {}
        verdict = {"result": "Failed" if canceled is False else "Canceled", "outputs": {}}
        dependencies = {"submit": {"outputs": outputs}, "verdict": verdict}
        condition = tested.body["condition"]
        assert holds(condition, canceled=canceled is True, dependencies=dependencies) is runs

    def test_leaves_time_to_cancel_within_the_six_hour_limit(
        self, jobs_of: Callable[..., list[Any]]
    ) -> None:
        verdict = next(job for job in jobs_of("train") if job.name == "verdict").body
        limits = ("timeoutInMinutes", "cancelTimeoutInMinutes")
        assert sum(int(verdict[limit]) for limit in limits) < 360

    def test_cancels_only_after_every_job_that_uses_the_cloud_job(
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
    def test_deploys_to_an_environment_that_requires_approval(
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

    def test_passes_the_digest_from_stage_to_prod(self, jobs: dict[str, Any]) -> None:
        digest = jobs["prod"].body["variables"]["digest"]
        assert digest == "$[ stageDependencies.to_stage.rollout.outputs['rollout.deploy.digest'] ]"
        deploy = [command_of(s) for s in jobs["prod"].steps if s.get("name") == "deploy"]
        assert '--digest "$DIGEST" --approved-by "' in deploy[0]
        assert "--reason" in deploy[0]

    def test_has_time_to_roll_back(self, jobs: dict[str, Any]) -> None:
        for job in jobs.values():
            assert int(job.body["cancelTimeoutInMinutes"]) >= 30

    @pytest.mark.parametrize("env", ["stage", "prod"])
    @pytest.mark.parametrize(
        ("failed", "canceled", "moved", "champion", "rolled_back"),
        [
            (False, False, "true", "2", []),
            (True, False, "true", "2", ["traffic", "champion"]),
            (False, True, "true", "2", ["traffic", "champion"]),
            (True, False, "false", "2", ["champion"]),  # deploy.py already restored the traffic
            (True, False, "true", "", ["traffic"]),  # the first champion is kept
            (True, False, "true", None, ["traffic"]),  # the version was already champion
            (True, False, "false", None, []),
            (True, False, None, None, []),  # rejected before anything moved
        ],
    )
    def test_rolls_back_only_what_this_run_moved(
        self, jobs: dict[str, Any], env: str, failed: bool, canceled: bool,
        moved: str | None, champion: str | None, rolled_back: list[str],
    ) -> None:  # fmt: skip
        steps = dict(zip(("traffic", "champion"), jobs[env].steps[-2:], strict=True))
        reported = {"deploy.moved": moved, "deploy.champion": champion}
        variables = {name: value for name, value in reported.items() if value is not None}
        names = {"failed": failed, "canceled": canceled, "variables": variables}
        assert [n for n, step in steps.items() if holds(step["condition"], **names)] == rolled_back

    def test_runs_one_at_a_time(self, expand: Expand) -> None:
        assert expand("deploy")["lockBehavior"] == "sequential"


class TestRetraining:
    @pytest.mark.parametrize(
        ("reason", "requested", "checks"),
        [
            ("IndividualCI", False, False),
            ("Manual", False, False),
            ("Manual", True, True),
            ("Schedule", False, True),
        ],
    )
    def test_checks_for_drift_weekly_and_on_request(
        self, expand: Expand, reason: str, requested: bool, checks: bool
    ) -> None:
        look = stages_of(expand("train", if_drifted=requested))[0].body
        variables = {"Build.Reason": reason}
        assert holds(look["condition"], succeeded=True, variables=variables) is checks

    @pytest.mark.parametrize(
        ("look", "data_of", "runs"),
        [
            ("Skipped", None, True),  # a code change or a manual run
            ("Succeeded", "prod", True),
            ("Succeeded", "", False),  # no training is due
            ("Failed", "prod", False),
            ("Failed", None, False),  # the data cannot be trusted
        ],
    )
    def test_trains_if_the_drift_check_was_skipped_or_training_is_due(
        self, expand: Expand, look: str, data_of: str | None, runs: bool
    ) -> None:
        condition = stages_of(expand("train"))[1].body["condition"]
        outputs = {} if data_of is None else {"look.decide.data_of": data_of}
        names = {"dependencies": {"look": {"result": look, "outputs": outputs}}}
        succeeded = look == "Succeeded"
        assert holds(condition, canceled=False, succeeded=succeeded, **names) is runs
        assert holds(condition, canceled=True, succeeded=False, **names) is False

    def test_monitors_with_prod_and_decides_with_dev_credentials(
        self, jobs_of: Callable[..., list[Any]]
    ) -> None:
        (look, *_) = jobs_of("train")
        *_, monitor, _, decide = look.steps
        assert command_of(monitor).endswith("monitor.py --env prod --answer")
        options = '--answer --drifted "$MONITOR_DRIFTED" --quality "$MONITOR_QUALITY"'
        assert command_of(decide).endswith(f"retrain.py --env dev {options}")
        assert [step["inputs"]["azureSubscription"].rpartition("-")[2]
                for step in (monitor, decide)] == ["prod", "dev"]  # fmt: skip

    def test_keeps_the_report_of_the_monitor_if_there_is_one(
        self, jobs_of: Callable[..., list[Any]]
    ) -> None:
        (look, *_) = jobs_of("train")
        *_, report, _ = look.steps
        assert report["publish"] == "build/monitor/prod"
        for folder in ("build/monitor/prod", ""):
            values = {"monitor.report": folder}
            kept = holds(report["condition"], canceled=False, variables=values)
            assert kept == bool(folder)  # also if monitoring failed

    @pytest.mark.parametrize(
        ("decided", "requested", "data_of"),
        [("prod", "dev", "prod"), (None, "dev", "dev"), (None, "prod", "prod")],
    )
    def test_trains_on_data_of_the_monitored_environment(
        self, jobs_of: Callable[..., list[Any]], decided: str | None, requested: str, data_of: str
    ) -> None:
        submit = next(job for job in jobs_of("train", data_of=requested) if job.name == "submit")
        assert command_of(submit.steps[-1]).endswith('--data-of "$DATA_OF"')
        outputs = {"decide.data_of": decided} if decided else {}
        names = {"stagedependencies": {"look": {"look": {"outputs": outputs}}}}
        expression = submit.body["variables"]["data_of"].removeprefix("$[").removesuffix("]")
        assert evaluate(parse(expression.strip()), names) == data_of

    def test_is_scheduled_even_without_code_changes(self, expand: Expand) -> None:
        (schedule,) = expand("train")["schedules"]
        assert schedule["always"] == "true"


@pytest.mark.parametrize(("value", "runs"), [("", False), ("off", False), ("on", True)])
def test_template_updates_are_off_until_a_variable_is_on(
    jobs_of: Callable[..., list[Any]], value: str, runs: bool
) -> None:
    (job,) = jobs_of("template-update")
    condition = job.body["condition"]
    assert holds(condition, succeeded=True, variables={"TEMPLATE_UPDATE": value}) is runs


def test_ci_publishes_results_of_failed_tests(jobs_of: Callable[..., list[Any]]) -> None:
    jobs = {job.name: job for job in jobs_of("ci")}
    assert list(jobs) == ["check", "test", "supply"]
    test, results, coverage = jobs["test"].steps[-3:]
    assert f"--junitxml={results['inputs']['testResultsFiles']}" in command_of(test)
    assert f"--cov-report=xml:{coverage['inputs']['summaryFileLocation']}" in command_of(test)
    assert results["condition"] == coverage["condition"] == "succeededOrFailed()"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_pipelines_use_the_chosen_python_version(
    baked: Callable[..., BakedProject], version: str
) -> None:
    setup = baked(ci_provider="both", python_version=version).read(
        "azure_pipelines/templates/setup.yml"
    )
    assert f'versionSpec: "{version}"' in setup
