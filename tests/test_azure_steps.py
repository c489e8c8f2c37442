"""What the project's Azure pipelines do: a verb a step, cancelled and taken back when they must."""

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ci_steps import cancel
from helpers import BakedProject, clean_environment

PIPELINES = ("ci", "train", "deploy", "retrain", "template-update")
SCRIPT = "exec bash azure_pipelines/templates/verb.sh"


@pytest.fixture(scope="module")
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    return baked(ci_provider="both")


@pytest.fixture(scope="module")
def checks(project: BakedProject) -> Iterator[SimpleNamespace]:
    """The modules of the project's check, which put pipelines and their templates together."""
    with pytest.MonkeyPatch.context() as shell:
        shell.syspath_prepend(str(project.path))
        names = ("document", "evaluation", "expressions", "graph", "parameters", "templates")
        modules = {n: importlib.import_module(f"tools.checks.azure_{n}") for n in names}
        yield SimpleNamespace(**modules)
    for name in [n for n in sys.modules if n.split(".")[0] == "tools"]:
        del sys.modules[name]


Expand = Callable[..., Any]
Holds = Callable[..., bool]


@pytest.fixture
def expand(
    checks: SimpleNamespace, project: BakedProject, monkeypatch: pytest.MonkeyPatch
) -> Expand:
    """Put a pipeline together with its templates."""

    def expanded(name: str, **parameters: bool) -> Any:  # noqa: ANN401
        monkeypatch.chdir(project.path)
        document = checks.document.read(
            Path(f"azure_pipelines/{name}.yml"), f"azure_pipelines/{name}.yml"
        )
        declared, _ = checks.parameters.declared(document)
        values = {n.lower(): p.convert(p.default) for n, p in declared.items()} | parameters
        return checks.templates.Expansion(Path(), {}, True).of(document, values)

    return expanded


@pytest.fixture
def jobs_of(checks: SimpleNamespace, expand: Expand) -> Callable[..., list[Any]]:
    """Return all jobs of a pipeline."""
    return lambda name, **parameters: [
        job for stage in checks.graph.stages_of(expand(name, **parameters)) for job in stage.jobs
    ]


def verb_of(step: dict[str, Any]) -> str | None:
    """Return the verb that a step calls."""
    return step.get("env", {}).get("CI_VERB")


def inputs_of(step: dict[str, Any]) -> dict[str, str]:
    return step.get("inputs", {})


class TestSteps:
    @pytest.mark.parametrize("name", PIPELINES)
    def test_each_calls_one_verb_of_the_makefile(
        self, project: BakedProject, jobs_of: Callable[..., list[Any]], name: str
    ) -> None:
        verbs = set(re.findall(r"^([a-z-]+):.*##", project.read("Makefile"), re.M))
        steps = [step for job in jobs_of(name) for step in job.steps]
        called = [step for step in steps if verb_of(step)]
        assert {verb_of(step) for step in called} <= verbs
        assert {step.get("bash") or inputs_of(step)["inlineScript"] for step in called} == {SCRIPT}
        others = {step.get("task", next(iter(step))).split("@")[0] for step in steps} - {"bash"}
        assert others <= {
            "AzureCLI", "AzureMLJobWaitTask", "Cache", "PublishCodeCoverageResults",
            "PublishTestResults", "UsePythonVersion", "checkout", "publish",
        }  # fmt: skip

    @pytest.mark.parametrize("name", PIPELINES)
    def test_tells_a_verb_only_options_it_has(
        self, project: BakedProject, jobs_of: Callable[..., list[Any]], name: str
    ) -> None:
        for job in jobs_of(name):
            for step in job.steps:
                words = shlex.split(step.get("env", {}).get("CI_ARGUMENTS", ""))
                for option in (word for word in words if word.startswith("--")):
                    if (verb := verb_of(step)) == "run":
                        assert option == "--pipelines"  # of kedro
                    else:
                        declared = project.read(f"operation/execution/{verb}.py")
                        assert f'"{option}"' in declared, (verb, option)

    @pytest.mark.parametrize("name", ["train", "deploy", "retrain"])
    def test_that_read_an_output_read_what_the_verb_tells(
        self, project: BakedProject, name: str
    ) -> None:
        told = {
            keyword.arg
            for path in (project.path / "operation").rglob("*.py")
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("tell", "self.tell")
            for keyword in call.keywords
        }
        texts = "".join(
            project.read(f"azure_pipelines/{file}.yml")
            for file in (name, "templates/train", "templates/back")
        )
        outputs = set(re.findall(r"outputs\['[\w.]+\.(\w+)'\]", texts))
        assert {"job", "moved", "version"} <= outputs
        assert outputs <= told

    @pytest.mark.parametrize("name", PIPELINES)
    def test_sign_in_by_the_connection_of_their_environment_alone(
        self, jobs_of: Callable[..., list[Any]], name: str
    ) -> None:
        for job in jobs_of(name):
            for step in job.steps:
                told, env = inputs_of(step), step.get("env", {})
                connection = told.get("azureSubscription") or told.get("serviceConnection")
                if "CI_ENV" in env and connection:
                    assert connection == f"azure-temperature-anomalies-{env['CI_ENV']}"
                assert ("SYSTEM_ACCESSTOKEN" in env) == (step.get("task") == "AzureCLI@2")
                assert ("AZURE_DEVOPS_EXT_PAT" in env) == (verb_of(step) == "template-pull-request")

    @pytest.mark.parametrize("name", PIPELINES)
    def test_run_on_one_image(self, expand: Expand, name: str) -> None:
        pipeline = expand(name)
        assert pipeline["pool"] == {"vmImage": "ubuntu-24.04"}
        text = str(pipeline).replace("'pool': {'vmImage': 'ubuntu-24.04'}", "")
        assert "vmImage" not in text

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


def test_no_value_of_an_environment_is_in_a_pipeline(project: BakedProject) -> None:
    texts = "".join(
        project.read(name) for name in project.files if name.startswith("azure_pipelines/")
    )
    values = set()
    for env in ("dev", "stage", "prod"):
        for file in ("azureml", "deployment"):
            path = project.path / "operation" / "configuration" / env / f"{file}.yml"
            values |= set(leaves(yaml.safe_load(path.read_text())))
    named = {value for value in values if isinstance(value, str) and len(value) > 4}
    assert {"westeurope", "rg-temperature-anomalies-prod", "temperature-anomalies-stage"} <= named
    slug = "temperature-anomalies"  # names pipelines and connections
    assert [value for value in named - {slug} if value in texts] == []


def leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401
    """Return the values in nested mappings and lists."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


class TestTraining:
    """Jobs of the template that train.yml and retrain.yml share."""

    def test_waits_without_an_agent_if_it_may(self, jobs_of: Callable[..., list[Any]]) -> None:
        jobs = {job.name: job for job in jobs_of("train", agentless=True)}
        assert list(jobs) == ["submit", "wait", "verdict", "cancel"]
        assert jobs["wait"].body["pool"] == "server"
        (step,) = jobs["wait"].steps
        assert step["task"] == "AzureMLJobWaitTask@1"
        assert "wait" in jobs["verdict"].depends_on

    def test_waits_on_an_agent_if_it_must(self, jobs_of: Callable[..., list[Any]]) -> None:
        jobs = {job.name: job for job in jobs_of("train", agentless=False)}
        assert list(jobs) == ["submit", "verdict", "cancel"]
        follow = next(step for step in jobs["verdict"].steps if verb_of(step) == "submit")
        assert follow["env"]["CI_ARGUMENTS"] == "--job $(job) --wait"

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
        self, jobs_of: Callable[..., list[Any]], holds: Holds, job: str,
        canceled: bool | str, sent: str, runs: bool,
    ) -> None:  # fmt: skip
        found = next(j for j in jobs_of("train") if j.name == job)
        outputs = {"submit.job": sent} if sent else {}
        verdict = {"result": "Failed" if canceled is False else "Canceled", "outputs": {}}
        dependencies = {"submit": {"outputs": outputs}, "verdict": verdict}
        run = canceled is True
        assert holds(found.body["condition"], run, dependencies=dependencies) is runs

    def test_leave_time_to_cancel_on_agents_that_end_a_job_after_six_hours(
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


@pytest.fixture
def holds(checks: SimpleNamespace) -> Holds:
    """Compute a condition as a run would."""

    def held(condition: str, canceled: bool, succeeded: bool = True, **names: object) -> bool:
        for function, value in (("canceled", canceled), ("succeeded", succeeded)):
            condition = condition.replace(f"{function}()", str(value).lower())
        value = checks.evaluation.evaluate(checks.expressions.parse(condition), names)
        assert isinstance(value, bool), value
        return value

    return held


class TestRollout:
    @pytest.fixture
    def stages(self, checks: SimpleNamespace, expand: Expand) -> dict[str, Any]:
        return {stage.name: stage for stage in checks.graph.stages_of(expand("deploy"))}

    def test_goes_to_prod_after_stage_and_its_approval(self, stages: dict[str, Any]) -> None:
        assert list(stages) == ["to_stage", "back_stage", "to_prod", "back_prod"]
        assert stages["to_prod"].depends_on == ["to_stage"]
        for env in ("stage", "prod"):
            (job,) = stages[f"to_{env}"].jobs
            assert job.is_deployment
            assert job.body["environment"] == env
            verbs = [verb_of(step) for step in job.steps if verb_of(step)]
            assert verbs == ["azure", "promote", "deploy", "invoke"]

    def test_takes_the_digest_of_stage_to_prod(self, stages: dict[str, Any]) -> None:
        (job,) = stages["to_prod"].jobs
        digest = job.body["variables"]["digest"]
        assert digest == "$[ stageDependencies.to_stage.rollout.outputs['rollout.promote.digest'] ]"
        promote = next(step for step in job.steps if verb_of(step) == "promote")
        words = shlex.split(promote["env"]["CI_ARGUMENTS"])
        assert words[:2] == ["--digest", "$(digest)"]
        assert words[2::2] == ["--approved-by", "--reason"]

    @pytest.mark.parametrize("env", ["stage", "prod"])
    @pytest.mark.parametrize(
        ("result", "deployed", "promoted", "before", "runs"),
        [
            ("Succeeded", "true", "true", "1", False),
            ("Failed", "true", "true", "1", True),
            ("Canceled", "true", "true", "1", True),
            ("Failed", "false", "true", "1", True),  # the deployment took itself back
            ("Failed", "true", "false", "2", True),  # the champion had been there before
            ("Failed", "false", "false", "2", False),
            ("Failed", None, None, None, False),  # refused before anything moved
            ("Skipped", None, None, None, False),  # not approved
            ("Failed", "true", "true", "", True),  # the first rollout: traffic may go back
            ("Canceled", "false", "true", "", False),  # and a first champion stays
            ("Failed", "false", "true", None, False),
        ],
    )
    def test_goes_back_if_something_moved(
        self, stages: dict[str, Any], holds: Holds, env: str, result: str,
        deployed: str | None, promoted: str | None, before: str | None, runs: bool,
    ) -> None:  # fmt: skip
        told = {"deploy.moved": deployed, "promote.moved": promoted, "promote.before": before}
        outputs = {f"rollout.rollout.{k}": v for k, v in told.items() if v is not None}
        stage = {"result": result, "outputs": outputs}
        condition = stages[f"back_{env}"].body["condition"]
        for canceled in (False, True):  # a run that is cancelled goes back too
            assert holds(condition, canceled, dependencies={f"to_{env}": stage}) is runs

    @pytest.mark.parametrize(
        ("deployed", "promoted", "before", "verbs"),
        [
            ("true", "true", "1", ["deploy", "rollback"]),
            ("true", "false", "2", ["deploy"]),
            ("", "true", "1", ["rollback"]),
            ("true", "true", "", ["deploy"]),
        ],
    )
    def test_takes_back_only_what_moved(
        self, stages: dict[str, Any], holds: Holds, deployed: str, promoted: str, before: str,
        verbs: list[str],
    ) -> None:  # fmt: skip
        (job,) = stages["back_prod"].jobs
        assert not job.is_deployment  # nobody has to approve it
        variables = {"deployed": deployed, "promoted": promoted, "before": before}
        steps = [step for step in job.steps if verb_of(step) in ("deploy", "rollback")]
        for step in steps:
            step["condition"] = step["condition"].replace("succeededOrFailed()", "true")
        taken = [s for s in steps if holds(s["condition"], False, variables=variables)]
        assert [verb_of(step) for step in taken] == verbs
        told = {verb_of(step): step["env"]["CI_ARGUMENTS"] for step in steps}
        assert told["deploy"] == "--back --if-deployment $(deployment)"
        assert shlex.split(told["rollback"])[:3] == ["--if-champion", "$(champion)", "--reason"]
        told_by = {
            name: job.body["variables"][name] for name in ("deployment", "champion", "before")
        }
        assert told_by == {
            name: f"$[ stageDependencies.to_prod.rollout.outputs['rollout.{output}'] ]"
            for name, output in (
                ("deployment", "deploy.deployment"),
                ("champion", "promote.version"),
                ("before", "promote.before"),
            )
        }


class TestRetraining:
    @pytest.mark.parametrize(
        ("force", "look", "drifted", "runs"),
        [
            (False, "Succeeded", "true", True),
            (False, "Succeeded", "false", False),
            (False, "Failed", "true", False),
            (False, "Failed", None, False),
            (True, "Skipped", None, True),
        ],
    )
    def test_trains_if_prod_has_drifted(
        self, checks: SimpleNamespace, expand: Expand, holds: Holds, force: bool, look: str,
        drifted: str | None, runs: bool,
    ) -> None:  # fmt: skip
        stages = checks.graph.stages_of(expand("retrain", force=force))
        outputs = {"look.drift.drifted": drifted} if drifted else {}
        names = {"dependencies": {"look": {"result": look, "outputs": outputs}}}
        assert holds(stages[0].body["condition"], False) is not force
        condition, succeeded = stages[1].body["condition"], look == "Succeeded"
        assert holds(condition, False, succeeded=succeeded, **names) is runs
        assert holds(condition, True, succeeded=False, **names) is False

    def test_looks_at_prod_every_week_and_when_called(self, expand: Expand) -> None:
        pipeline = expand("retrain")
        (schedule,) = pipeline["schedules"]
        assert schedule["always"] == "true"
        assert (pipeline["trigger"], pipeline["pr"]) == ("none", "none")


@pytest.mark.parametrize(("value", "runs"), [("", False), ("off", False), ("on", True)])
def test_template_updates_are_off_until_a_variable_says_on(
    jobs_of: Callable[..., list[Any]],
    holds: Holds,
    value: str,
    runs: bool,
) -> None:
    (job,) = jobs_of("template-update")
    assert holds(job.body["condition"], False, variables={"TEMPLATE_UPDATE": value}) is runs


def test_ci_publishes_what_failed_too(jobs_of: Callable[..., list[Any]]) -> None:
    jobs = {job.name: job for job in jobs_of("ci")}
    assert list(jobs) == ["check", "unit", "integration", "data_validation", "supply"]
    for suite in ("unit", "integration", "data_validation"):
        test = next(step for step in jobs[suite].steps if verb_of(step) == "test")
        assert test["env"]["CI_SUITE"] == suite
        results, coverage = jobs[suite].steps[-2:]
        assert results["inputs"]["testResultsFiles"] == f"build/reports/{suite}.xml"
        where = coverage["inputs"]["summaryFileLocation"]
        assert where == f"build/reports/coverage-{suite}.xml"
        assert results["condition"] == coverage["condition"] == "succeededOrFailed()"


def test_all_run_the_python_of_the_answer(baked: Callable[..., BakedProject]) -> None:
    for version in ("3.11", "3.12", "3.13"):
        setup = baked(ci_provider="both", python_version=version).read(
            "azure_pipelines/templates/setup.yml"
        )
        assert f'versionSpec: "{version}"' in setup


class TestScript:
    """verb.sh, which each step runs."""

    @pytest.fixture
    def run(self, project: BakedProject, tmp_path: Path) -> Callable[..., Any]:
        """Run it as an agent would, with a make and an az that write down how they were called."""
        notes = 'printf "%s\\n" "$@" >made; echo "$AZURE_SUBSCRIPTION_ID" >subscription; exit 3'
        for name, text in (("make", notes), ("az", 'echo "of $*"')):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)
        script = project.path / "azure_pipelines" / "templates" / "verb.sh"
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

        def ran(**values: str) -> subprocess.CompletedProcess[str]:
            environment = clean_environment(PATH=path, **values)
            return subprocess.run(
                ["bash", script], cwd=tmp_path, env=environment, capture_output=True, text=True
            )

        return ran

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"CI_VERB": "check"}, ["check"]),
            ({"CI_VERB": "submit", "CI_ENV": "dev"}, ["submit", "ENV=dev"]),
            (
                {"CI_VERB": "test", "CI_ENV": "", "CI_SUITE": "unit", "CI_ARGUMENTS": ""},
                ["test", "SUITE=unit", "REPORTS=build/reports"],
            ),
            (
                {"CI_VERB": "promote", "CI_ENV": "prod", "CI_ARGUMENTS": "--reason 'it''s $HOME'"},
                ["promote", "ENV=prod", "ARGS=--reason 'it''s $HOME'"],
            ),
        ],
    )
    def test_calls_make_and_prints_how_to_repeat_it(
        self, run: Callable[..., Any], tmp_path: Path, values: dict[str, str], words: list[str]
    ) -> None:
        step = run(**values)
        assert (tmp_path / "made").read_text().splitlines() == words
        assert step.returncode == 3  # as make ended
        (line,) = re.findall(r"^To repeat this on a laptop: (.*)$", step.stdout, re.M)
        assert shlex.split(line) == ["make", *words]

    def test_ends_its_verb_before_itself_when_the_run_is_cancelled(
        self, project: BakedProject, tmp_path: Path
    ) -> None:
        folder = "azure_pipelines/templates"
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(project.path / folder / "verb.sh", tmp_path / folder)
        ended = cancel(tmp_path, SCRIPT, (), {"CI_VERB": "check"})
        assert (ended.heard, ended.code) == ("INT", 130), ended.log

    def test_runs_nothing_of_a_value(self, run: Callable[..., Any], tmp_path: Path) -> None:
        run(CI_VERB="drift", CI_ARGUMENTS="$(touch hit) `touch hit`; touch hit")
        assert not (tmp_path / "hit").exists()
        assert "ARGS=$(touch hit) `touch hit`; touch hit" in (tmp_path / "made").read_text()

    @pytest.mark.parametrize(
        ("values", "subscription"),
        [
            ({}, ""),
            ({"AZURESUBSCRIPTION_CLIENT_ID": "x"}, "of account show --query id --output tsv"),
            ({"AZURESUBSCRIPTION_CLIENT_ID": "x", "AZURE_SUBSCRIPTION_ID": "mine"}, "mine"),
        ],
    )
    def test_takes_the_subscription_of_the_connection(
        self, run: Callable[..., Any], tmp_path: Path, values: dict[str, str], subscription: str
    ) -> None:
        run(CI_VERB="submit", CI_ENV="dev", **values)
        assert (tmp_path / "subscription").read_text().strip() == subscription


class TestPage:
    """docs/ci/azure_devops.md."""

    @pytest.fixture
    def blocks(self, project: BakedProject) -> list[str]:
        """Its commands, with words in the places that the reader fills."""
        found = re.findall(r"```bash\n(.*?)```", project.read("docs/ci/azure_devops.md"), re.S)
        return [re.sub(r"<[a-z ]+>", "WORD", block) for block in found]

    def test_names_each_pipeline_and_what_it_calls(
        self, project: BakedProject, jobs_of: Callable[..., list[Any]]
    ) -> None:
        page = project.read("docs/ci/azure_devops.md")
        rows = dict(re.findall(r"^\| `([\w-]+)\.yml` \|(.*)\|$", page, re.M))
        assert set(rows) == set(PIPELINES)
        for name in ("ci", "train", "deploy", "template-update"):
            verbs = {verb_of(step) for job in jobs_of(name) for step in job.steps}
            for verb in verbs - {None, "setup", "azure"}:
                assert f"`{verb}" in rows[name], (name, verb)

    def test_makes_a_connection_that_azure_trusts(self, blocks: list[str], tmp_path: Path) -> None:
        """Run its commands with an az and a jq that answer what they are asked."""
        (block,) = (block for block in blocks if "connection.json" in block)
        programs = {
            "az": """case "$*" in
                *configuration*) cat connection.json >sent; echo '{}' ;;
                *federated*) cat trust.json >trusted ;;
                *query*) while [ "$1" != --query ]; do shift; done; echo "of-$2" ;;
            esac""",
            "jq": 'echo "of $2"',
        }
        for name, text in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        shell = clean_environment(PATH=path, SLUG="slug", PROJECT="The Project")
        subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=shell, check=True)
        sent = json.loads((tmp_path / "sent").read_text())
        assert sent["name"] == "azure-slug-dev"
        assert sent["authorization"]["scheme"] == "WorkloadIdentityFederation"
        assert sent["authorization"]["parameters"]["serviceprincipalid"] == "of-appId"
        assert sent["data"]["subscriptionId"] == "WORD"
        (reference,) = sent["serviceEndpointProjectReferences"]
        assert reference["projectReference"] == {"id": "of-id", "name": "The Project"}
        trusted = json.loads((tmp_path / "trusted").read_text())
        assert trusted["subject"].endswith("workloadIdentityFederationSubject")
        assert not (tmp_path / "connection.json").exists()

    @pytest.mark.parametrize("page", ["azure_devops", "github"])
    def test_keeps_the_models_on_a_server(
        self, bake: Callable[..., BakedProject], page: str
    ) -> None:
        project = bake(ci_provider="both")
        found = re.findall(r"```bash\n(.*?)```", project.read(f"docs/ci/{page}.md"), re.S)
        (command,) = (line for block in found for line in block.splitlines() if 'azureml"' in line)
        folder = project.path / "operation" / "configuration"
        before = yaml.safe_load((folder / "prod" / "registry.yml").read_text("utf-8"))
        subprocess.run(["bash", "-euc", command], cwd=project.path, check=True)
        for env in ("dev", "stage", "prod"):
            keys = yaml.safe_load((folder / env / "registry.yml").read_text("utf-8"))
            assert keys["kind"] == "azureml"
        assert keys == before | {"kind": "azureml"}

    def test_has_commands_that_a_shell_can_read(self, blocks: list[str]) -> None:
        for block in blocks:
            read = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
            assert (read.returncode, read.stderr) == (0, ""), block
