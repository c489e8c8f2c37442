"""The rendered project's workflows: legal, pinned, least permissions, and nothing but verbs."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ci_steps import GITHUB_OPTIONS, calls_of_github, cancel, repeated, steps_of_github, words
from helpers import BakedProject, clean_environment, tool

OPTIONS = [
    {"ci_provider": provider, "python_version": version}
    for provider in ("github_actions", "both")
    for version in ("3.11", "3.12", "3.13")
]
WORKFLOWS = ["ci", "deploy", "retrain", "template-update", "train"]
ACTIONS = ["make", "setup"]


@dataclass(frozen=True)
class Copy:
    """A copy of the workflows of a project that may be broken, and the checks for it."""

    project: BakedProject
    root: Path

    @property
    def folder(self) -> Path:
        """The folder of the workflows."""
        return self.root / ".github"

    def replace(self, name: str, old: str, new: str) -> None:
        """Put a fault into one of the files."""
        file = self.folder / name
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    def run(self, check: str) -> subprocess.CompletedProcess[str]:
        """Run one of the checks as the project's hooks do."""
        workflows = sorted(self.folder.glob("workflows/*"))
        actions = sorted(self.folder.glob("actions/*/*"))
        schema = [tool("check-jsonschema"), "--builtin-schema"]
        commands = {
            "schema": [*schema, "vendor.github-workflows", *workflows],
            "actions": [*schema, "vendor.github-actions", *actions],
            "zizmor": [tool("zizmor"), "--offline", "--persona=auditor", self.folder],
            "yamllint": [tool("yamllint"), "--strict", "-c", ".yamllint.yml", self.folder],
            "references": [sys.executable, "-m", "tools.checks.github_workflows", self.folder],
            "shell": [
                sys.executable, "-m", "tools.checks.shell_in_yaml", *workflows, *actions,
            ],
        }  # fmt: skip
        return self.project.run(*commands[check])


CHECKS = ["schema", "actions", "zizmor", "yamllint", "references", "shell"]


def copied(project: BakedProject, folder: Path) -> Copy:
    """Return a copy of a project's workflows, beside what they name."""
    for name in (".github", "operation/configuration"):
        shutil.copytree(project.path / name, folder / name)
    shutil.copy2(project.path / "Makefile", folder)
    return Copy(project, folder)


@pytest.fixture
def broken(baked: Callable[..., BakedProject], tmp_path: Path) -> Copy:
    """A copy of the workflows to break."""
    return copied(baked(ci_provider="github_actions"), tmp_path)


@pytest.fixture
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    """A project with workflows."""
    return baked(ci_provider="both")


@pytest.fixture(params=OPTIONS, ids=lambda option: "-".join(option.values()))
def each(request: pytest.FixtureRequest, baked: Callable[..., BakedProject]) -> BakedProject:
    """A project with workflows, for each of the answers that change them."""
    return baked(**request.param)


CI, TRAIN, DEPLOY = "workflows/ci.yml", "workflows/train.yml", "workflows/deploy.yml"
RETRAIN, UPDATE = "workflows/retrain.yml", "workflows/template-update.yml"
MAKE, SETUP = "actions/make/action.yml", "actions/setup/action.yml"
PULL = "  pull_request:\n"
CHECK_JOB = "    name: check\n"
RESULTS = "          RESULTS:"
RUNNER_OF_TESTS = "runs-on: ubuntu-24.04\n    timeout-minutes: 45"
LAST = '          echo "check, test'

# what: the check that finds it, file, what is replaced by what, words of the find
DEFECTS = {
    "misspelt_key": ("schema", CI, "runs-on:", "run-on:", "run-on"),
    "time_in_words": ("schema", CI, "timeout-minutes: 20", "timeout-minutes: soon", "soon"),
    "job_without_steps": ("schema", CI, "    steps:", "    stepps:", "stepps"),
    "unknown_permission": ("schema", CI, "contents: read", "content: read", "content"),
    "unknown_event": ("schema", CI, PULL, "  pull_requests:\n", "pull_requests"),
    "unknown_kind_of_action": ("actions", MAKE, "using: composite", "using: compost", "compost"),
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
    "input_in_run": ("zizmor", MAKE, 'make "$@" &', "make ${{ inputs.verb }} &",
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
                       "concurrency:\n  group: template-update\n  cancel-in-progress: false\n\n",
                       "", "concurrency-limits"),
    "actor_as_a_right": ("zizmor", UPDATE, "if: vars.TEMPLATE_UPDATE == 'on'",
                         "if: github.actor == 'dependabot[bot]'", "bot-conditions"),
    "loose_condition": ("zizmor", UPDATE, "if: vars.TEMPLATE_UPDATE == 'on'",
                        "if: contains('refs/heads/main refs/heads/next', github.ref)",
                        "unsound-contains"),
    "own_runner": ("zizmor", UPDATE, "runs-on: ubuntu-24.04", "runs-on: [self-hosted]",
                   "self-hosted-runner"),
    "action_of_the_work_tree": ("zizmor", CI, "$/.github/actions/setup", "./.github/actions/setup",
                                "self-repository"),
    "doubled_key": ("yamllint", CI, "name: ci\n", "name: ci\nname: ci\n", "duplication"),
    "tab": ("yamllint", CI, "  pull_request:", "\tpull_request:", "syntax"),
    "unknown_runner": ("references", CI, "ubuntu-24.04", "ubuntu-20.04", "runs-on ubuntu-20.04"),
    "unknown_job_needed": ("references", DEPLOY, "needs: stage", "needs: staging",
                           "needs staging, and there is no such job"),
    "result_of_a_job_not_needed": ("references", TRAIN, "    needs: train\n", "",
                                   "needs.train: job deploy does not need train"),
    "undeclared_output_of_a_job": ("references", DEPLOY, "needs.stage.outputs.digest",
                                   "needs.stage.outputs.model", "needs.stage.outputs.model"),
    "unknown_step": ("references", TRAIN, "id: submit", "id: send", "steps.submit: no step"),
    "later_step": ("references", RETRAIN, "        id: drift\n", "",
                   "steps.drift: no step before has this id"),
    "undeclared_output_of_an_action": ("references", TRAIN, "steps.register.outputs.is_champion",
                                       "steps.register.outputs.champion",
                                       "steps.register.outputs.champion"),
    "missing_action": ("references", CI, "$/.github/actions/setup", "$/.github/actions/set-up",
                       "there is no such action"),
    "missing_workflow": ("references", RETRAIN, "workflows/train.yml", "workflows/fit.yml",
                         "there is no such workflow"),
    "workflow_that_cannot_be_called": ("references", DEPLOY, "  workflow_call:", "  create:",
                                       "lacks `on: workflow_call`"),
    "unknown_input": ("references", CI, "          suite:", "          suites:",
                      "has no input suites"),
    "missing_input": ("references", CI, "          verb: check\n", "          env: dev\n",
                      "needs the input verb"),
    "undeclared_input": ("references", RETRAIN, "(inputs.force", "(inputs.must", "inputs.must"),
    "undeclared_input_of_an_action": ("references", MAKE, "inputs.suite", "inputs.suites",
                                      "inputs.suites"),
    "unknown_column": ("references", CI, "suite: ${{ matrix.suite }}",
                       "suite: ${{ matrix.tests }}", "matrix.tests"),
    "permission_not_passed_on": ("references", RETRAIN,
                                 "      id-token: write # to sign in to Azure\n", "",
                                 "asks for `id-token: write`"),
    "unknown_function": ("references", TRAIN, "if: cancelled() &&", "if: canceled() &&",
                         "canceled(): there is no such function"),
    "unknown_function_of_an_action": ("references", SETUP, "hashFiles(", "hashFile(", "hashFile()"),
    "status_outside_of_a_condition": ("references", CI, "suite: ${{ matrix.suite }}",
                                      "suite: ${{ cancelled() }}", "counts in `if` alone"),
    "too_many_values": ("references", CI, "join(needs.*.result, ' ')",
                        "contains(needs.*.result)", "contains() takes 2 to 2 values, and gets 1"),
    "unknown_context": ("references", TRAIN, "${{ vars.AZURE_TENANT_ID }}",
                        "${{ var.AZURE_TENANT_ID }}", "var: there is no such context"),
    "context_that_actions_lack": ("references", MAKE, "${{ inputs.suite }}", "${{ vars.SUITE }}",
                                  "vars: there is no such context here"),
    "misspelt_outputs": ("references", TRAIN, "steps.register.outputs.", "steps.register.output.",
                         "there is no output, there are outputs"),
    "double_quotes": ("references", SETUP, "if: inputs.cache == 'true'",
                      'if: inputs.cache == "true"', "single quotes, not double"),
    "single_equals": ("references", TRAIN, "is_champion == 'true'", "is_champion = 'true'",
                      "there is no operator =: write =="),
    "bracket_not_closed": ("references", DEPLOY, "(failure() || cancelled()) &&",
                           "(failure() || cancelled() &&", "unbalanced brackets: ) is missing"),
    "bracket_too_many": ("references", CI, "${{ join(needs.*.result, ' ') }}",
                         "${{ join(needs.*.result, ' ')) }}", "unbalanced brackets or a missing"),
    "mark_not_closed": ("references", CI, "${{ matrix.suite }}\n          reports",
                        "${{ matrix.suite }\n          reports", "is not closed"),
    "mark_not_opened": ("references", CI, "suite: ${{ matrix.suite }}", "suite: ${ matrix.suite }}",
                        "opens with one bracket"),
    "quote_not_closed": ("references", UPDATE, "TEMPLATE_UPDATE == 'on'", "TEMPLATE_UPDATE == 'on",
                         "the quote is not closed"),
    "quote_of_a_mark_not_closed": ("references", CI, "join(needs.*.result, ' ')",
                                   "join(needs.*.result, ' )", "is not closed"),
    "no_condition": ("references", UPDATE, "if: vars.TEMPLATE_UPDATE == 'on'", "if: ''",
                     "it ends too early"),
    "text_around_a_condition": ("references", RETRAIN, "if: ${{ !inputs.force }}",
                                "if: ${{ inputs.force }} == false", "always true"),
    "unknown_step_in_brackets": ("references", TRAIN, "steps.submit.outputs.job }} --wait",
                                 "steps['send'].outputs.job }} --wait", "steps.send: no step"),
    "unknown_output_in_brackets": ("references", TRAIN, "steps.submit.outputs.job }} --wait",
                                   "steps['submit']['outputs']['jobs'] }} --wait",
                                   "steps.submit.outputs.jobs"),
    "job_that_needs_itself": ("references", DEPLOY, "needs: stage", "needs: [stage, prod]",
                              "jobs wait for each other: prod -> prod"),
    "jobs_in_a_circle": ("references", CI, "  check:\n", "  check:\n    needs: [test, passed]\n",
                         "jobs wait for each other: check -> passed -> check"),
    "retired_runner_in_a_list": ("references", CI, "runs-on: ubuntu-24.04",
                                 "runs-on: [ubuntu-20.04]", "runs-on ubuntu-20.04"),
    "retired_runner_in_a_matrix": ("references", CI, RUNNER_OF_TESTS,
                                   RUNNER_OF_TESTS.replace("ubuntu-24.04", "${{ matrix.suite }}"),
                                   "runs-on data_validation"),
    "time_that_never_comes": ("references", RETRAIN, 'cron: "17 4', 'cron: "99 4',
                              "99 is no minute, write 0 to 59"),
    "time_without_day": ("references", RETRAIN, 'cron: "17 4 * * 1"', 'cron: "17 4 * *"',
                         "it has 4 fields"),
    "client_secret": ("references", TRAIN, "${{ vars.AZURE_TENANT_ID }}",
                      "${{ secrets.AZURE_CLIENT_SECRET }}", "sign in by GitHub's own token"),
    "client_secret_by_its_variable": ("references", TRAIN, "      AZURE_TENANT_ID:",
                                      "      AZURE_CLIENT_SECRET:", "is the secret of a client"),
    "storage_key": ("references", TRAIN, "${{ vars.AZURE_TENANT_ID }}",
                    "${{ secrets['AZURE_STORAGE_KEY'] }}", "secrets.AZURE_STORAGE_KEY"),
    "sign_in_without_right": ("references", TRAIN, "      id-token: write #", "      #",
                              "job train signs in to Azure"),
    "commit_without_version": ("references", SETUP, " # v7.0.1", "", "write its version behind it"),
    "commit_of_a_branch": ("references", CI, " # v7.0.0", " # main", "write its version behind it"),
    "unknown_verb": ("references", CI, "verb: check", "verb: chekc", "verb chekc: the Makefile"),
    "unknown_verb_of_a_matrix": ("references", CI, "verb: test\n          suite:", "verb:",
                                 "verb data_validation: the Makefile"),
    "unknown_environment": ("references", TRAIN, "env: dev", "env: develop",
                            "there is no folder operation/configuration/develop"),
    "unquoted_word": ("shell", MAKE, 'make "$@" &', "make $@ &", "SC2068"),
    "unquoted_word_of_a_workflow": ("shell", CI, 'test "$result" =', "test $result =", "SC2086"),
}  # fmt: skip


class TestChecks:
    @pytest.mark.parametrize("check", CHECKS)
    def test_find_nothing_in_what_is_rendered(
        self, each: BakedProject, tmp_path: Path, check: str
    ) -> None:
        checked = copied(each, tmp_path).run(check)
        assert checked.returncode == 0, checked.stdout + checked.stderr

    @pytest.mark.parametrize(("check", "file", "old", "new", "said"), DEFECTS.values(), ids=DEFECTS)
    def test_find_a_defect(
        self, broken: Copy, check: str, file: str, old: str, new: str, said: str
    ) -> None:
        broken.replace(file, old, new)
        checked = broken.run(check)
        assert checked.returncode not in (0, 2), checked.stdout + checked.stderr
        found = checked.stdout + checked.stderr
        assert said in found
        assert Path(file).name in found

    def test_find_a_cache_that_others_can_poison(self, broken: Copy) -> None:
        """What is released must not hold what a pull request put into a cache."""
        cache = "- uses: actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5"
        broken.replace(DEPLOY, "  workflow_dispatch:", "  release:")
        broken.replace(
            DEPLOY, "steps:\n", f"steps:\n      {cache}\n        with: {{path: p, key: k}}\n"
        )
        assert "cache-poisoning" in broken.run("zizmor").stdout

    def test_tell_the_line(self, broken: Copy) -> None:
        broken.replace(TRAIN, "id: submit", "id: send")
        text = (broken.folder / TRAIN).read_text(encoding="utf-8").splitlines()
        lines = [n for n, line in enumerate(text, start=1) if "steps.submit." in line]
        found = broken.run("references").stdout
        assert [int(n) for n in re.findall(r"train\.yml:(\d+): steps\.submit", found)] == lines

    @pytest.mark.parametrize("fault", ["no_folder", "no_yaml"])
    def test_say_when_they_could_not_look(self, broken: Copy, fault: str) -> None:
        if fault == "no_folder":
            shutil.rmtree(broken.folder)
        else:
            broken.replace(CI, "name: ci\n", "name: [ci\n")
        checked = broken.run("references")
        assert checked.returncode == 2
        assert checked.stdout == ""
        assert checked.stderr.startswith("github_workflows: ")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("runs-on: ubuntu-24.04", "runs-on: [self-hosted, gpu]"),
            ("runs-on: ubuntu-24.04", "runs-on: {group: large}"),
            ("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.04-arm"),
            ("        suite: [unit, integration, data_validation]",
             "        include: [{suite: unit, more: 1}]"),
            ("needs: [check, test, compile, supply]", "needs: check"),
            ("RESULTS: ${{ join(needs.*.result, ' ') }}",
             "RESULTS: ${{ needs.check.result }} ${{ 'needs.nothing.outputs.x' }}"),
            ("RESULTS: ${{ join(needs.*.result, ' ') }}",
             "RESULTS: ${{ needs['check'].result }} ${{ fromJSON('[1, 2]')[0] > -1.5e3 }}"),
            ("RESULTS: ${{ join(needs.*.result, ' ') }}",
             "RESULTS: ${{ format('{0} it''s }} {1}', github.event.inputs['a b'], 0xff) }}"),
            ("RESULTS: ${{ join(needs.*.result, ' ') }}",
             "RESULTS: ${{ toJson(needs) }} ${{ !contains(github.event.*.labels.*.name, 'x') }}"),
            ("RESULTS: ${{ join(needs.*.result, ' ') }}",
             "RESULTS: ${{ needs[github.job].result && (vars.X || secrets.FEED_TOKEN) }}"),
            ("RESULTS: ${{ join(needs.*.result, ' ') }}", 'RESULTS: \'{"a": {"b": 1}}\''),
            ("    if: always()\n", "    if: ${{ always() }}\n"),
            ("    if: always()\n", "    if: Success() || (failure() && !cancelled())\n"),
            ("    if: always()\n", "    env: {if: yes == no}\n    if: always()\n"),
            ("        suite: [unit, integration, data_validation]",
             "        suite: [unit]\n        include: [{os: a}]\n    env: {A: '${{ matrix.os }}'}"),
            ("      matrix:\n        suite: [unit, integration, data_validation]",
             "      matrix: ${{ fromJSON(vars.MATRIX) }}"),
            ("runs-on: ubuntu-24.04", "runs-on: [gpu, linux]"),
            ("runs-on: ubuntu-24.04", "runs-on: ${{ vars.RUNNER || 'ubuntu-24.04' }}"),
            (PULL, f"{PULL}  schedule:\n    - cron: '*/15 0-6,22 1,15 JAN-mar mon-5/2'\n"),
            ("verb: check", "verb: ${{ vars.VERB }}"),
            ("    needs: [check, test, compile, supply]",
             "    env: {AZURE_CLIENT_ID: 'x'}\n    needs: [check]"),
            ("# v7.0.0", "# tag=v7.0.0"),
            ("test \"$result\" =", "test \"${result}}\" ="),
        ],
    )  # fmt: skip
    def test_take_what_is_unusual_and_legal(self, broken: Copy, old: str, new: str) -> None:
        broken.replace(CI, old, new)
        checked = broken.run("references")
        assert checked.returncode == 0, checked.stdout


class TestWorkflows:
    def test_are_there_for_github_alone(self, baked: Callable[..., BakedProject]) -> None:
        there = {f".github/workflows/{name}.yml" for name in WORKFLOWS}
        there |= {f".github/actions/{name}/action.yml" for name in ACTIONS}
        there |= {"docs/ci/github.md", "tools/checks/github_workflows.py"}
        assert there <= baked(ci_provider="github_actions").files
        assert there <= baked(ci_provider="both").files
        assert not there & baked(ci_provider="azure_pipelines").files

    def test_pin_actions_by_commit_and_name_their_version(self, project: BakedProject) -> None:
        texts = [project.read(name) for name in project.files if name.startswith(".github/")]
        used = [use for text in texts for use in re.findall(r"uses: (.*)", text)]
        others = {use for use in used if not use.startswith("$/.github/")}
        assert len(others) >= 4
        for action in others:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action

    def test_run_the_python_of_the_answer(self, each: BakedProject) -> None:
        steps = each.yaml(".github/actions/setup/action.yml")["runs"]["steps"]
        (step,) = (s for s in steps if "setup-python" in s.get("uses", ""))
        assert f"PYTHON ?= {step['with']['python-version']}\n" in each.read("Makefile")

    def test_may_do_no_more_than_they_need(self, project: BakedProject) -> None:
        rights = {}
        for name in WORKFLOWS:
            workflow = project.yaml(f".github/workflows/{name}.yml")
            assert workflow["permissions"] == {}
            for job, content in workflow["jobs"].items():
                rights[f"{name}/{job}"] = content["permissions"]
        read, azure = {"contents": "read"}, {"contents": "read", "id-token": "write"}
        assert rights == {
            "ci/check": read, "ci/test": read, "ci/compile": read, "ci/supply": read,
            "ci/passed": {},
            "train/train": azure, "train/deploy": azure,
            "deploy/stage": azure, "deploy/prod": azure,
            "retrain/drift": azure, "retrain/train": azure,
            "template-update/update": {"contents": "write", "pull-requests": "write"},
        }  # fmt: skip

    def test_sign_in_as_the_environment_whose_verbs_they_call(self, project: BakedProject) -> None:
        """And hold no secret: the identity is proved by GitHub's own token."""
        for name in WORKFLOWS:
            assert "secrets." not in project.read(f".github/workflows/{name}.yml")
            for job in project.yaml(f".github/workflows/{name}.yml")["jobs"].values():
                if "id-token" in job["permissions"] and "steps" in job:
                    told = {s["with"]["env"] for s in job["steps"] if "env" in s.get("with", {})}
                    assert told == {job["environment"].removesuffix("-read")}
                    assert job["env"] == {
                        f"AZURE_{key}": "${{ vars.AZURE_" + key + " }}"
                        for key in ("CLIENT_ID", "TENANT_ID", "SUBSCRIPTION_ID")
                    }

    def test_keep_no_packages_where_they_sign_in(self, project: BakedProject) -> None:
        for name in WORKFLOWS:
            for job in project.yaml(f".github/workflows/{name}.yml")["jobs"].values():
                for step in job.get("steps", []):
                    if step.get("uses") == "$/.github/actions/setup":
                        keeps = step.get("with", {}).get("cache") == "true"
                        assert keeps == (job["permissions"] == {"contents": "read"})

    def test_hold_no_value_of_an_environment(self, project: BakedProject) -> None:
        texts = [project.read(name) for name in project.files if name.startswith(".github/")]
        values = set()
        for env in ("base", "dev", "stage", "prod"):
            for file in (project.path / "operation/configuration" / env).glob("*.yml"):
                found = re.findall(r"^\s*[\w-]+: +([\w.-]{6,})$", file.read_text("utf-8"), re.M)
                values |= {value for value in found if not value.replace(".", "").isdigit()}
        values -= {"champion"}  # an alias, and a word
        assert len(values) > 5
        told = {word for text in texts for word in re.findall(r"[\w.-]+", text)}
        assert not told & values

    def test_call_one_verb_a_step(self, project: BakedProject) -> None:
        verbs = set(re.findall(r"^([a-z-]+):", project.read("Makefile"), re.M))
        called = dict(calls_of_github(project))
        assert {told["verb"] for told in called.values()} <= verbs
        for name in WORKFLOWS:
            for job in project.yaml(f".github/workflows/{name}.yml")["jobs"].values():
                scripts = [step["run"] for step in job.get("steps", []) if "run" in step]
                assert all("make" not in script for script in scripts)
        script = project.yaml(".github/actions/make/action.yml")["runs"]["steps"]
        assert len(re.findall(r"^\s*make ", script[0]["run"], re.M)) == 1


class TestCi:
    def test_runs_every_suite_and_compiles_every_environment(self, project: BakedProject) -> None:
        jobs = project.yaml(".github/workflows/ci.yml")["jobs"]
        tests = [n for n in project.files if re.fullmatch(r"operation/tests/.*/test_\w+\.py", n)]
        suites = {name.split("/")[2] for name in tests}
        assert set(jobs["test"]["strategy"]["matrix"]["suite"]) == suites
        told = [step["with"] for step in jobs["compile"]["steps"][1:]]
        assert [(t["verb"], t["env"], t["arguments"]) for t in told] == [
            ("compile", env, "--check") for env in ("dev", "stage", "prod")
        ]

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
        self, baked: Callable[..., BakedProject], tmp_path: Path, results: str, code: int
    ) -> None:
        (step,) = steps_of_github(baked(ci_provider="github_actions"), "ci.yml", "passed")
        assert step.run(tmp_path, {}, RESULTS=results).returncode == code

    def test_keeps_reports_of_failed_tests_too(self, project: BakedProject) -> None:
        steps = project.yaml(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
        assert steps[-2]["with"]["reports"] == steps[-1]["with"]["path"] == "build/reports"
        assert steps[-1]["if"] == "${{ !cancelled() }}"


class TestTraining:
    def test_follows_registers_and_cancels_the_job_it_submitted(
        self, project: BakedProject
    ) -> None:
        steps = project.yaml(".github/workflows/train.yml")["jobs"]["train"]["steps"][1:]
        job = "--job ${{ steps.submit.outputs.job }}"
        assert [(s["with"]["verb"], s["with"].get("arguments", "")) for s in steps] == [
            ("submit", ""), ("submit", f"{job} --wait"), ("register", job), ("cancel", job),
        ]  # fmt: skip
        assert steps[-1]["if"] == "cancelled() && steps.submit.outputs.job != ''"

    def test_ends_early_enough_to_cancel_the_cloud_job(self, project: BakedProject) -> None:
        """After six hours GitHub ends a job with all its steps."""
        job = project.yaml(".github/workflows/train.yml")["jobs"]["train"]
        assert int(job["timeout-minutes"]) <= 360 - 15

    def test_deploys_a_new_champion_alone(self, project: BakedProject) -> None:
        deploy = project.yaml(".github/workflows/train.yml")["jobs"]["deploy"]
        assert deploy["if"] == (
            "${{ !cancelled() && needs.train.result == 'success' "
            "&& needs.train.outputs.is_champion == 'true' }}"
        )
        assert deploy["uses"] == "$/.github/workflows/deploy.yml"

    def test_follows_drift_or_force(self, project: BakedProject) -> None:
        jobs = project.yaml(".github/workflows/retrain.yml")["jobs"]
        told = [step["with"] for step in jobs["drift"]["steps"][2:]]
        assert [(t["verb"], t["env"]) for t in told] == [("run", "prod"), ("drift", "prod")]
        assert told[1]["arguments"] == "--answer"
        assert jobs["drift"]["if"] == "${{ !inputs.force }}"
        drifted = "needs.drift.outputs.drifted == 'true'"
        assert jobs["train"]["if"] == f"${{{{ !cancelled() && (inputs.force || {drifted}) }}}}"

    def test_runs_to_its_end_where_the_look_was_skipped(self, project: BakedProject) -> None:
        """What follows a skipped job is skipped, unless its condition names a status."""
        for name in ("train", "deploy"):
            for job in project.yaml(f".github/workflows/{name}.yml")["jobs"].values():
                assert "!cancelled()" in job["if"]
                needed = job.get("needs")
                assert not needed or f"needs.{needed}.result == 'success'" in job["if"]

    def test_template_update_is_off_until_it_is_switched_on(self, project: BakedProject) -> None:
        job = project.yaml(".github/workflows/template-update.yml")["jobs"]["update"]
        assert job["if"] == "vars.TEMPLATE_UPDATE == 'on'"


class TestDeployment:
    @pytest.mark.parametrize("env", ["stage", "prod"])
    def test_promotes_deploys_asks_and_takes_back(self, project: BakedProject, env: str) -> None:
        job = project.yaml(".github/workflows/deploy.yml")["jobs"][env]
        steps = job["steps"][1:]
        assert [s["with"]["verb"] for s in steps] == [
            "promote", "deploy", "invoke", "deploy", "rollback",
        ]  # fmt: skip
        assert job["environment"] == env
        traffic, champion = steps[3:]
        failed = "(failure() || cancelled())"
        deployment = "${{ steps.deploy.outputs.deployment }}"
        assert traffic["with"]["arguments"] == f"--back --if-deployment {deployment}"
        assert traffic["if"] == f"{failed} && steps.deploy.outputs.moved == 'true'"
        moved = f"{failed} && steps.promote.outputs.moved == 'true'"
        assert champion["if"] == f"{moved} && steps.promote.outputs.before != ''"
        version = "--if-champion ${{ steps.promote.outputs.version }} --reason '"
        assert champion["with"]["arguments"].startswith(version)

    def test_takes_to_prod_the_digest_that_stage_took(self, project: BakedProject) -> None:
        jobs = project.yaml(".github/workflows/deploy.yml")["jobs"]
        assert jobs["stage"]["outputs"]["digest"] == "${{ steps.promote.outputs.digest }}"
        assert jobs["prod"]["needs"] == "stage"
        arguments = jobs["prod"]["steps"][1]["with"]["arguments"]
        assert arguments.startswith("--digest ${{ needs.stage.outputs.digest }} --approved-by '")

    def test_is_one_at_a_time_and_never_stopped_in_the_middle(self, project: BakedProject) -> None:
        workflow = project.yaml(".github/workflows/deploy.yml")
        assert workflow["concurrency"] == {"group": "deploy", "cancel-in-progress": "false"}


RECORDER = """#!/bin/sh
for word in "$@"; do echo "told: $word"; done
exit "${STUB_CODE:-0}"
"""


class TestMake:
    """The action that calls one verb, run by bash with a program in make's place."""

    @pytest.fixture
    def call(
        self, baked: Callable[..., BakedProject], tmp_path: Path
    ) -> Callable[..., subprocess.CompletedProcess[str]]:
        program = tmp_path / "bin" / "make"
        program.parent.mkdir()
        program.write_text(RECORDER, encoding="utf-8")
        program.chmod(0o755)
        (step,) = baked(ci_provider="github_actions").yaml(".github/actions/make/action.yml")[
            "runs"
        ]["steps"]
        names = {re.search(r"inputs\.(\w+)", v)[1]: key for key, v in step["env"].items()}

        def called(code: int = 0, **inputs: str) -> subprocess.CompletedProcess[str]:
            given = {key: inputs.get(name, "") for name, key in names.items()}
            path = f"{program.parent}:{clean_environment()['PATH']}"
            return subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=tmp_path,
                env=clean_environment(
                    **given,
                    PATH=path,
                    STUB_CODE=str(code),
                    GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"),
                ),
                capture_output=True,
                text=True,
                check=False,
            )

        return called

    @pytest.mark.parametrize(
        ("inputs", "told"),
        [
            ({"verb": "check"}, ["check"]),
            ({"verb": "test", "suite": "unit", "reports": "build/reports"},
             ["test", "SUITE=unit", "REPORTS=build/reports"]),
            ({"verb": "compile", "env": "dev", "arguments": "--check"},
             ["compile", "ENV=dev", "ARGS=--check"]),
            ({"verb": "promote", "env": "prod", "arguments": "--digest 0a --reason 'it is good'"},
             ["promote", "ENV=prod", "ARGS=--digest 0a --reason 'it is good'"]),
        ],
    )  # fmt: skip
    def test_tells_the_verb_what_the_line_to_repeat_says(
        self,
        call: Callable[..., subprocess.CompletedProcess[str]],
        tmp_path: Path,
        inputs: dict[str, str],
        told: list[str],
    ) -> None:
        done = call(**inputs)
        assert done.returncode == 0, done.stderr
        assert re.findall(r"^told: (.*)$", done.stdout, re.M) == told
        assert words(repeated(done.stdout)) == ["make", *told]
        assert done.stdout.startswith("To repeat this on a laptop: ")
        summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
        assert summary == f"* passed: `{repeated(done.stdout)}`\n"

    @pytest.mark.parametrize("code", [1, 2])
    def test_ends_as_the_verb_does_and_says_so(
        self, call: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, code: int
    ) -> None:
        assert call(code, verb="check").returncode == code
        assert "**failed**" in (tmp_path / "summary.md").read_text(encoding="utf-8")

    def test_ends_its_verb_before_itself_when_the_run_is_cancelled(
        self, project: BakedProject, tmp_path: Path
    ) -> None:
        (step,) = project.yaml(".github/actions/make/action.yml")["runs"]["steps"]
        given = dict.fromkeys(step["env"], "") | {"GIVEN_VERB": "check"}
        given["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
        ended = cancel(tmp_path, step["run"], GITHUB_OPTIONS, given)
        assert (ended.heard, ended.code) == ("INT", 130), ended.log
        assert "**failed**" in (tmp_path / "summary.md").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        "value", ["$(id)", "a; id", "a`id`", "a\nid", "a | id", 'a" id', "a && id", "a > b", "a\\b"]
    )
    @pytest.mark.parametrize("name", ["env", "arguments"])
    def test_refuses_what_a_shell_would_obey(
        self, call: Callable[..., subprocess.CompletedProcess[str]], name: str, value: str
    ) -> None:
        refused = call(**{"verb": "submit", name: value})
        assert refused.returncode == 2
        assert "told:" not in refused.stdout
        assert "a shell may obey" in refused.stderr

    def test_declares_every_output_that_a_workflow_reads(
        self, baked: Callable[..., BakedProject]
    ) -> None:
        project = baked(ci_provider="github_actions")
        outputs = project.yaml(".github/actions/make/action.yml")["outputs"]
        for name, output in outputs.items():
            assert output["value"] == "${{ steps.make.outputs." + name + " }}"
