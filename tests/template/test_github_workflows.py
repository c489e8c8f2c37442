"""The rendered GitHub workflows are valid, pinned and thin, with least permissions."""

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import BakedProject, tool, yamllint_of
from tests.template.ci_steps import WORKFLOWS

OPTIONS = [
    {"ci_provider": provider, "python_version": version}
    for provider in ("github_actions", "both")
    for version in ("3.11", "3.12", "3.13")
]


CHECKS = ["schema", "actions", "zizmor", "yamllint"]


def run_check(check: str, roots: list[Path]) -> subprocess.CompletedProcess[str]:
    """Run one of the checks as the project's hook does, on the workflows of many projects."""
    schema = [tool("check-jsonschema"), "--builtin-schema"]
    workflows = [f for root in roots for f in sorted(root.glob(".github/workflows/*"))]
    actions = [f for root in roots for f in sorted(root.glob(".github/actions/*/*"))]
    folders = [root / ".github" for root in roots]
    commands = {
        "schema": [*schema, "vendor.github-workflows", *workflows],
        "actions": [*schema, "vendor.github-actions", *actions],
        "zizmor": [tool("zizmor"), "--offline", "--persona=auditor", *folders],
        "yamllint": [*yamllint_of(roots[0]), *folders],
    }
    return BakedProject(roots[0]).run(*commands[check])


@pytest.fixture
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    return baked(ci_provider="both")


@pytest.fixture(params=OPTIONS, ids=lambda option: "-".join(option.values()))
def each_project(
    request: pytest.FixtureRequest, baked: Callable[..., BakedProject]
) -> BakedProject:
    """A project with workflows, for each combination of answers that changes them."""
    return baked(**request.param)


CI, TRAIN, DEPLOY = "workflows/ci.yml", "workflows/train.yml", "workflows/deploy.yml"
RETRAIN, UPDATE = "workflows/retrain.yml", "workflows/template-update.yml"
SETUP = "actions/setup/action.yml"
PULL = "  pull_request:\n"
CHECK_JOB = "    name: check and compile\n"
RESULTS = "          RESULTS:"
LAST = '          echo "check, test'

# name: check that finds it, file, old text, new text, part of the message
DEFECTS = {
    "misspelt_key": ("schema", CI, "runs-on:", "run-on:", "run-on"),
    "wrong_timeout": ("schema", CI, "timeout-minutes: 20", "timeout-minutes: soon", "soon"),
    "job_without_steps": ("schema", CI, "    steps:", "    stepps:", "stepps"),
    "unknown_permission": ("schema", CI, "contents: read", "content: read", "content"),
    "unknown_event": ("schema", CI, PULL, "  pull_requests:\n", "pull_requests"),
    "unknown_action_type": ("actions", SETUP, "using: composite", "using: compost", "compost"),
    "action_without_steps": ("actions", SETUP, "  steps:", "  stepps:", "stepps"),
    "unpinned_action": ("zizmor", CI, "@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0", "@v7",
                        "unpinned-uses"),
    "moving_branch": ("zizmor", SETUP, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
                      "@main", "unpinned-uses"),
    "reusable_workflow_of_a_branch": ("zizmor", RETRAIN, "$/.github/workflows/train.yml",
                                      "a/b/.github/workflows/train.yml@main", "unpinned-uses"),
    "no_permissions": ("zizmor", CI, "permissions: {}\n\nconcurrency", "concurrency",
                       "excessive-permissions"),
    "all_permissions": ("zizmor", CI, "permissions: {}\n\nconcurrency",
                        "permissions: write-all\n\nconcurrency", "excessive-permissions"),
    "permission_without_reason": ("zizmor", TRAIN, " # to sign in to Azure as the environment dev",
                                  "", "undocumented-permissions"),
    "title_in_run": ("zizmor", CI, LAST,
                     "          echo '${{ github.event.pull_request.title }}'\n" + LAST,
                     "template-injection"),
    "input_in_run": ("zizmor", SETUP, 'make "$TARGET"', "make ${{ inputs.install }}",
                     "template-injection"),
    "output_in_run": ("zizmor", TRAIN, '--job "$JOB"', "--job ${{ steps.train.outputs.job }}",
                      "template-injection"),
    "pull_request_target": ("zizmor", CI, PULL, "  pull_request_target:\n", "dangerous-triggers"),
    "workflow_run": ("zizmor", DEPLOY, "  workflow_dispatch:\n",
                     "  workflow_run: {workflows: [train], types: [completed]}\n",
                     "dangerous-triggers"),
    "persisted_credentials": ("zizmor", SETUP, "persist-credentials: false",
                              "persist-credentials: true", "artipacked"),
    "secret_without_environment": ("zizmor", CI, CHECK_JOB,
                                   CHECK_JOB + "    env: {TOKEN: '${{ secrets.TOKEN }}'}\n",
                                   "secrets-outside-env"),
    "all_secrets": ("zizmor", TRAIN, "    env:\n",
                    "    env:\n      ALL: ${{ toJSON(secrets) }}\n", "overprovisioned-secrets"),
    "inherited_secrets": ("zizmor", RETRAIN, "    uses: $/.github/workflows/train.yml",
                          "    uses: $/.github/workflows/train.yml\n    secrets: inherit",
                          "secrets-inherit"),
    "commands_on_output": ("zizmor", CI, "        env:\n          RESULTS:",
                           "        env:\n          ACTIONS_ALLOW_UNSECURE_COMMANDS: true\n"
                           + RESULTS, "insecure-commands"),
    "no_concurrency": ("zizmor", UPDATE,
                       "concurrency: {group: template-update, cancel-in-progress: false}\n\n",
                       "", "concurrency-limits"),
    "actor_as_authorization": ("zizmor", UPDATE, "if: vars.TEMPLATE_UPDATE == 'on'",
                         "if: github.actor == 'dependabot[bot]'", "bot-conditions"),
    "loose_condition": ("zizmor", UPDATE, "if: vars.TEMPLATE_UPDATE == 'on'",
                        "if: contains('refs/heads/main refs/heads/next', github.ref)",
                        "unsound-contains"),
    "text_around_a_condition": ("zizmor", RETRAIN, "if: ${{ !inputs.force }}",
                                "if: ${{ inputs.force }} == false", "unsound-condition"),
    "own_runner": ("zizmor", UPDATE, "runs-on: ubuntu-24.04", "runs-on: [self-hosted]",
                   "self-hosted-runner"),
    "action_of_the_work_tree": ("zizmor", CI, "$/.github/actions/setup", "./.github/actions/setup",
                                "self-repository"),
    "duplicate_key": ("yamllint", CI, "name: ci\n", "name: ci\nname: ci\n", "duplication"),
    "tab": ("yamllint", CI, "  pull_request:", "\tpull_request:", "syntax"),
}  # fmt: skip


def broken(project: BakedProject, root: Path, *edits: tuple[str, str, str]) -> Path:
    """Copy a project's workflows and apply edits that break them."""
    shutil.copytree(project.path / ".github", root / ".github")
    for name in (".pre-commit-config.yaml", ".gitignore"):
        shutil.copy(project.path / name, root)
    for name, old, new in edits:
        file = root / ".github" / name
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def output_of(
    baked: Callable[..., BakedProject], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """Return a check of all seeded defects in one process; one process each takes minutes."""

    @cache
    def run(check: str) -> str:
        folder = tmp_path_factory.mktemp(check)
        project = baked(ci_provider="github_actions")
        roots = [
            broken(project, folder / name, (file, old, new))
            for name, (kind, file, old, new, _) in DEFECTS.items()
            if kind == check
        ]
        checked = run_check(check, roots)
        assert checked.returncode not in (0, 2), checked.stdout + checked.stderr
        return checked.stdout + checked.stderr

    return run


class TestChecks:
    @pytest.mark.parametrize("check", CHECKS)
    def test_find_nothing_in_rendered_workflows(
        self, baked: Callable[..., BakedProject], check: str
    ) -> None:
        checked = run_check(check, [baked(**answers).path for answers in OPTIONS])
        assert checked.returncode == 0, checked.stdout + checked.stderr

    @pytest.mark.parametrize("name", DEFECTS)
    def test_find_a_defect(self, output_of: Callable[[str], str], name: str) -> None:
        check, file, *_, message = DEFECTS[name]
        # zizmor names the rule above the file, the others name the file first
        mark = r"\n\n" if check == "zizmor" else r"(?<!\S)(?=\S*/\.github/\w+/)"
        parts = re.split(mark, output_of(check))
        assert any(message in part and f"/{name}/.github/{file}" in part for part in parts)

    def test_find_a_cache_that_can_be_poisoned(
        self, baked: Callable[..., BakedProject], tmp_path: Path
    ) -> None:
        """A release must not read a cache that a pull request can write."""
        cache = "- uses: actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5"
        step = f"steps:\n      {cache}\n        with: {{path: p, key: k}}\n"
        edits = ((DEPLOY, "  workflow_dispatch:", "  release:"), (DEPLOY, "steps:\n", step))
        root = broken(baked(ci_provider="github_actions"), tmp_path / "poisoned", *edits)
        assert "cache-poisoning" in run_check("zizmor", [root]).stdout


class TestWorkflows:
    def test_exist_only_for_github(self, baked: Callable[..., BakedProject]) -> None:
        workflows = {f".github/workflows/{name}.yml" for name in WORKFLOWS}
        workflows |= {".github/actions/setup/action.yml"}
        assert workflows <= baked(ci_provider="github_actions").files
        assert workflows <= baked(ci_provider="both").files
        assert not workflows & baked(ci_provider="azure_pipelines").files

    def test_pin_actions_by_commit_and_name_their_version(self, project: BakedProject) -> None:
        texts = [project.read(name) for name in project.files if name.startswith(".github/")]
        used = [use for text in texts for use in re.findall(r"uses: (.*)", text)]
        others = {use for use in used if not use.startswith("$/.github/")}
        assert len(others) >= 4
        for action in others:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action

    def test_run_on_one_image(self, project: BakedProject) -> None:
        for name in WORKFLOWS:
            for job in project.yaml(f".github/workflows/{name}.yml")["jobs"].values():
                assert job.get("runs-on", "ubuntu-24.04") == "ubuntu-24.04"

    def test_use_the_chosen_python_version(self, each_project: BakedProject) -> None:
        steps = each_project.yaml(".github/actions/setup/action.yml")["runs"]["steps"]
        (step,) = (s for s in steps if "setup-python" in s.get("uses", ""))
        assert f"PYTHON ?= {step['with']['python-version']}\n" in each_project.read("Makefile")

    def test_have_only_the_permissions_they_need(self, project: BakedProject) -> None:
        rights = {}
        for name in WORKFLOWS:
            workflow = project.yaml(f".github/workflows/{name}.yml")
            assert workflow["permissions"] == {}
            for job, content in workflow["jobs"].items():
                rights[f"{name}/{job}"] = content["permissions"]
        read, azure = {"contents": "read"}, {"contents": "read", "id-token": "write"}
        assert rights == {
            "ci/check": read, "ci/test": read, "ci/supply": read, "ci/passed": {},
            "train/train": azure, "train/deploy": azure,
            "deploy/stage": azure, "deploy/prod": azure,
            "retrain/monitor": azure, "retrain/issue": {"issues": "write"},
            "retrain/train": azure,
            "template-update/update": {"contents": "write", "pull-requests": "write"},
        }  # fmt: skip

    def test_sign_in_without_a_secret(self, project: BakedProject) -> None:
        """GitHub's OIDC token proves the identity."""
        for name in WORKFLOWS:
            assert "secrets." not in project.read(f".github/workflows/{name}.yml")
            for job in project.yaml(f".github/workflows/{name}.yml")["jobs"].values():
                if "id-token" in job["permissions"] and "steps" in job:
                    assert job["env"] == {
                        f"AZURE_{key}": "${{ vars.AZURE_" + key + " }}"
                        for key in ("CLIENT_ID", "TENANT_ID", "SUBSCRIPTION_ID")
                    }

    def test_do_not_cache_packages_in_jobs_that_sign_in(self, project: BakedProject) -> None:
        for name in WORKFLOWS:
            for job in project.yaml(f".github/workflows/{name}.yml")["jobs"].values():
                for step in job.get("steps", []):
                    if step.get("uses") == "$/.github/actions/setup":
                        inputs = step.get("with", {})
                        caches = inputs.get("cache") == "true"
                        assert caches == (job["permissions"] == {"contents": "read"})
                        signs_in = "id-token" in job["permissions"]
                        assert (inputs.get("install") == "azure") == signs_in

    def test_contain_no_configuration_values(self, project: BakedProject) -> None:
        texts = [project.read(name) for name in project.files if name.startswith(".github/")]
        values = set()
        for env in ("dev", "stage", "prod"):
            for file in (project.path / "operation/configuration" / env).glob("*.yml"):
                candidates = re.findall(
                    r"^\s*[\w-]+: +([\w.-]{6,})$", file.read_text("utf-8"), re.M
                )
                values |= {value for value in candidates if not value.replace(".", "").isdigit()}
        values -= {"champion"}  # an alias and an ordinary word
        assert len(values) > 5
        words = {word for text in texts for word in re.findall(r"[\w.-]+", text)}
        assert not words & values

    def test_refer_only_to_existing_names(self, project: BakedProject) -> None:
        """No stock tool resolves the names of jobs, outputs, inputs, actions and workflows."""
        action = project.yaml(".github/actions/setup/action.yml")
        for name in WORKFLOWS:
            workflow = project.yaml(f".github/workflows/{name}.yml")
            events = ("workflow_dispatch", "workflow_call")
            inputs = {n for e in events for n in (workflow["on"].get(e) or {}).get("inputs", ())}
            for used in re.findall(
                r"\binputs\.(\w+)", project.read(f".github/workflows/{name}.yml")
            ):
                assert used in inputs
            for job in workflow["jobs"].values():
                _assert_references_exist(project, workflow["jobs"], job, action)


def _assert_references_exist(
    project: BakedProject, jobs: dict[str, Any], job: dict[str, Any], action: dict[str, Any]
) -> None:
    text = str(job)
    needs = job.get("needs", [])
    needs = [needs] if isinstance(needs, str) else needs
    assert set(needs) <= set(jobs)
    for needed, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", text):
        assert needed in needs
        assert output in jobs[needed]["outputs"]
    assert set(re.findall(r"needs\.(\w+)\.", text)) <= set(needs)
    ids: set[str] = set()
    for step in job.get("steps", []):
        assert set(re.findall(r"steps\.(\w+)\.", str(step))) <= ids
        ids |= {step["id"]} if "id" in step else set()
        if step.get("uses", "").startswith("$/"):
            assert step["uses"] == "$/.github/actions/setup"
            assert set(step.get("with", {})) <= set(action["inputs"])
    for called in re.findall(r"steps\.(\w+)\.outputs", str(job.get("outputs", {}))):
        assert called in ids
    if "uses" in job:
        called = project.yaml(job["uses"].removeprefix("$/"))
        assert set(job.get("with", {})) <= set(
            (called["on"]["workflow_call"] or {}).get("inputs", ())
        )
        rights = [set(one["permissions"].items()) for one in called["jobs"].values()]
        assert set().union(*rights) <= set(job["permissions"].items())


class TestCi:
    def test_runs_for_every_pull_request(self, project: BakedProject) -> None:
        assert project.yaml(".github/workflows/ci.yml")["on"]["pull_request"] == ""

    def test_requires_all_jobs(self, project: BakedProject) -> None:
        jobs = project.yaml(".github/workflows/ci.yml")["jobs"]
        assert set(jobs["passed"]["needs"]) == set(jobs) - {"passed"}
        assert jobs["passed"]["if"] == "always()"

    @pytest.mark.parametrize(
        ("results", "code"),
        [("success success", 0), ("success failure", 1), ("cancelled", 1), ("skipped success", 1)],
    )
    def test_passes_only_if_all_jobs_did(
        self, project: BakedProject, results: str, code: int
    ) -> None:
        (step,) = project.yaml(".github/workflows/ci.yml")["jobs"]["passed"]["steps"]
        ran = project.run("bash", "-e", "-c", step["run"], RESULTS=results)
        assert ran.returncode == code

    def test_uploads_reports_of_failed_tests(self, project: BakedProject) -> None:
        *_, test, upload = project.yaml(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
        assert f"--junitxml={upload['with']['path']}/" in test["run"]
        assert upload["if"] == "${{ !cancelled() }}"


class TestTraining:
    def test_trains_and_cancels_the_job_it_submitted(self, project: BakedProject) -> None:
        *_, train, cancel = project.yaml(".github/workflows/train.yml")["jobs"]["train"]["steps"]
        assert train["run"].endswith('train.py --env dev --data-of "$DATA_OF"')
        assert cancel["run"].endswith('kedro mlops cancel --env dev --job "$JOB"')
        assert cancel["env"] == {"JOB": "${{ steps.train.outputs.job }}"}
        assert cancel["if"] == "cancelled() && steps.train.outputs.job != ''"

    def test_ends_early_enough_to_cancel_the_cloud_job(self, project: BakedProject) -> None:
        """GitHub ends a job after six hours, without running its remaining steps."""
        job = project.yaml(".github/workflows/train.yml")["jobs"]["train"]
        assert int(job["timeout-minutes"]) <= 360 - 15

    def test_deploys_only_a_new_champion(self, project: BakedProject) -> None:
        deploy = project.yaml(".github/workflows/train.yml")["jobs"]["deploy"]
        assert deploy["if"] == (
            "${{ !cancelled() && needs.train.result == 'success' "
            "&& needs.train.outputs.is_champion == 'true' }}"
        )
        assert deploy["uses"] == "$/.github/workflows/deploy.yml"

    def test_monitors_first_unless_forced(self, project: BakedProject) -> None:
        jobs = project.yaml(".github/workflows/retrain.yml")["jobs"]
        *_, monitor, report = jobs["monitor"]["steps"]
        assert monitor["run"].endswith("monitor.py --env prod --answer")
        assert report["if"] == "${{ !cancelled() }}"  # also if monitoring failed
        assert report["with"]["path"] == "build/monitor/prod"
        assert report["with"]["if-no-files-found"] == "ignore"
        assert jobs["monitor"]["environment"] == "prod-read"  # needs no reviewer
        assert jobs["monitor"]["if"] == "${{ !inputs.force }}"
        good = "needs.monitor.outputs.quality == 'false'"
        assert jobs["train"]["if"] == f"${{{{ !cancelled() && (inputs.force || {good}) }}}}"
        inputs = {"data_of": "prod", "drifted": "${{ needs.monitor.outputs.drifted }}"}
        assert jobs["train"]["with"] == inputs

    def test_that_waits_for_approval_does_not_block_the_next_monitoring(
        self, project: BakedProject
    ) -> None:
        workflow = project.yaml(".github/workflows/retrain.yml")
        assert "concurrency" not in workflow
        groups = {name: job.get("concurrency") for name, job in workflow["jobs"].items()}
        assert groups["train"] is None
        for name in ("monitor", "issue"):
            assert groups[name] == {"group": name, "cancel-in-progress": "false"}

    def test_trains_if_the_update_policy_allows_it(self, project: BakedProject) -> None:
        job = project.yaml(".github/workflows/train.yml")["jobs"]["train"]
        _, decide, train, _ = job["steps"]
        assert decide["if"] == "inputs.drifted != ''"  # otherwise a code change or a forced run
        assert decide["run"].endswith('retrain.py --env dev --drifted "$DRIFTED" --answer')
        due = "!inputs.drifted || steps.decide.outputs.data_of"
        assert train["if"] == f"${{{{ {due} }}}}"
        data_of = "steps.decide.outputs.data_of || inputs.data_of"
        assert train["env"] == {"DATA_OF": f"${{{{ {data_of} }}}}"}

    @pytest.mark.parametrize("open_issue", ["", "7 OPEN The data of prod cannot be trusted"])
    def test_opens_one_issue_about_untrusted_data(
        self, project: BakedProject, tmp_path: Path, open_issue: str
    ) -> None:
        job = project.yaml(".github/workflows/retrain.yml")["jobs"]["issue"]
        assert job["if"] == "${{ needs.monitor.outputs.quality == 'true' }}"
        assert "environment" not in job  # it signs in to no environment
        (step,) = job["steps"]
        arguments = tmp_path / "said"
        program = tmp_path / "gh"
        program.write_text(
            f'#!/bin/sh\n[ "$2" = list ] && echo "{open_issue}" || echo "$@" >{arguments}\n'
        )
        program.chmod(0o755)
        title = "The data of `prod` $(touch hit)"
        ran = project.run(
            "bash", "-e", "-c", step["run"],
            PATH=f"{tmp_path}:/usr/bin:/bin", TITLE=title, BODY='see "run"',
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        if open_issue:
            assert not arguments.exists()
        else:
            assert arguments.read_text() == f'issue create --title {title} --body see "run"\n'
        assert not (project.path / "hit").exists()

    def test_runs_completely_after_a_skipped_monitor_job(self, project: BakedProject) -> None:
        """GitHub skips a job after a skipped one, unless its condition has a status function."""
        for name in ("train", "deploy"):
            for job in project.yaml(f".github/workflows/{name}.yml")["jobs"].values():
                assert "!cancelled()" in job["if"]
                needed = job.get("needs")
                assert not needed or f"needs.{needed}.result == 'success'" in job["if"]

    def test_template_update_is_off_by_default(self, project: BakedProject) -> None:
        job = project.yaml(".github/workflows/template-update.yml")["jobs"]["update"]
        assert job["if"] == "vars.TEMPLATE_UPDATE == 'on'"


class TestDeployment:
    @pytest.mark.parametrize("env", ["stage", "prod"])
    def test_rolls_back_only_what_this_run_moved(self, project: BakedProject, env: str) -> None:
        job = project.yaml(".github/workflows/deploy.yml")["jobs"][env]
        _, deploy, back = job["steps"]
        assert job["environment"] == env
        assert f"deploy.py --env {env}" in deploy["run"]
        failed, outputs = "(failure() || cancelled())", "steps.deploy.outputs"
        moved = f"{outputs}.moved == 'true'"
        assert back["if"] == f"{failed} && ({moved} || {outputs}.champion != '')"
        assert back["env"] == {  # an empty value changes nothing
            "DEPLOYMENT": f"${{{{ {moved} && {outputs}.deployment || '' }}}}",
            "CHAMPION": f"${{{{ {outputs}.champion }}}}",
        }
        options = '--back --if-deployment "$DEPLOYMENT" --if-champion "$CHAMPION" --reason "'
        assert f"deploy.py --env {env} {options}" in back["run"]

    def test_prod_deploys_the_digest_of_stage(self, project: BakedProject) -> None:
        jobs = project.yaml(".github/workflows/deploy.yml")["jobs"]
        assert jobs["stage"]["outputs"]["digest"] == "${{ steps.deploy.outputs.digest }}"
        assert jobs["prod"]["needs"] == "stage"
        deploy = jobs["prod"]["steps"][1]
        assert deploy["env"] == {"DIGEST": "${{ needs.stage.outputs.digest }}"}
        assert '--digest "$DIGEST" --approved-by "' in deploy["run"]

    def test_runs_one_at_a_time_and_is_never_cancelled(self, project: BakedProject) -> None:
        workflow = project.yaml(".github/workflows/deploy.yml")
        assert workflow["concurrency"] == {"group": "deploy", "cancel-in-progress": "false"}
