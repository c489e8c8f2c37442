"""The workflows of this repository are valid, pinned and run the expected steps."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import release
import yaml

from tests.helpers import PROJECT, ROOT, clean_environment, tool
from tests.plugin.update.updating import git

TESTS, RELOCK, RELEASE = (f"workflows/{name}.yml" for name in ("tests", "relock", "release"))
SETUP, DEPENDABOT = "actions/setup/action.yml", "dependabot.yml"
RENDERED = ROOT / PROJECT
CHECKS = ["schema", "actions", "dependabot", "zizmor", "yamllint"]


def read(name: str) -> dict:
    """Return the content of a file, with scalars as text."""
    text = (ROOT / ".github" / name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the workflow files that a test may break."""
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    return tmp_path


def check(root: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run one of the checks."""
    folder = root / ".github"
    schema = [tool("check-jsonschema"), "--builtin-schema"]
    workflows, actions = sorted(folder.glob("workflows/*")), sorted(folder.glob("actions/*/*"))
    commands = {
        "schema": [*schema, "vendor.github-workflows", *workflows],
        "actions": [*schema, "vendor.github-actions", *actions],
        "dependabot": [*schema, "vendor.dependabot", folder / "dependabot.yml"],
        "zizmor": [tool("zizmor"), "--offline", "--persona=auditor", folder],
        "yamllint": [tool("yamllint"), "--strict", "-c", ROOT / ".yamllint.yml", folder],
    }
    return subprocess.run(
        [str(word) for word in commands[name]],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


DEFECTS = {
    "misspelt_key": ("schema", TESTS, "runs-on:", "run-on:", "run-on"),
    "action_without_steps": ("actions", SETUP, "  steps:", "  stepps:", "stepps"),
    "unknown_ecosystem": ("dependabot", DEPENDABOT, "github-actions", "github", "github"),
    "unpinned_action": ("zizmor", SETUP, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
                        "@v7", "unpinned-uses"),
    "no_permissions": ("zizmor", RELOCK, "permissions: {}\n\nconcurrency", "concurrency",
                       "excessive-permissions"),
    "persisted_credentials": ("zizmor", SETUP, "persist-credentials: false",
                              "persist-credentials: true", "artipacked"),
    "tag_in_run": ("zizmor", RELEASE, '--notes "$GITHUB_REF_NAME"',
                   "--notes ${{ github.ref_name }}", "template-injection"),
    "pull_request_target": ("zizmor", TESTS, "  pull_request:\n", "  pull_request_target:\n",
                            "dangerous-triggers"),
    "no_cooldown": ("zizmor", DEPENDABOT, "    cooldown:\n      default-days: 7\n", "",
                    "dependabot-cooldown"),
    "duplicate_key": ("yamllint", RELEASE, "name: release\n", "name: release\nname: r\n",
                    "duplication"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_checks_pass(broken: Path, name: str) -> None:
    checked = check(broken, name)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(("name", "file", "old", "new", "message"), DEFECTS.values(), ids=DEFECTS)
def test_checks_find_a_defect(
    broken: Path, name: str, file: str, old: str, new: str, message: str
) -> None:
    path = broken / ".github" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    checked = check(broken, name)
    assert checked.returncode not in (0, 2), checked.stdout + checked.stderr
    assert message in checked.stdout + checked.stderr


def pins(texts: list[str]) -> dict[str, str]:
    """Return the pinned actions with their pins, of which each may have only one."""
    uses = {use for text in texts for use in re.findall(r"uses: ([\w/-]+)@(.+)", text)}
    assert len({action for action, _ in uses}) == len(uses), uses
    return dict(uses)


def test_rendered_workflows_use_the_pins_of_this_repository() -> None:
    own_pins = pins([p.read_text("utf-8") for p in (ROOT / ".github").rglob("*.yml")])
    rendered_pins = pins([p.read_text("utf-8") for p in (RENDERED / ".github").rglob("*.yml*")])
    for action, pin in own_pins.items():
        assert rendered_pins.get(action, pin) == pin
        assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin)
    assert len(own_pins.keys() & rendered_pins.keys()) >= 3


def test_dependabot_sees_every_action_and_lock() -> None:
    actions, pip = read(DEPENDABOT)["updates"]
    folders = {
        "/" + p.parent.relative_to(ROOT).as_posix() for p in ROOT.glob(".github/actions/*/*")
    }
    assert all(any(Path(f).match(d) for d in actions["directories"]) for f in folders)
    assert (ROOT / pip["directory"].lstrip("/") / "dev.txt").is_file()


class TestTests:
    def test_run_on_three_systems_and_pythons(self) -> None:
        jobs = read(TESTS)["jobs"]
        systems = {name: jobs[name]["runs-on"] for name in ("linux", "macos", "windows")}
        assert [s.partition("-")[0] for s in systems.values()] == ["ubuntu", "macos", "windows"]
        for name in systems:
            assert jobs[name]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]

    def test_run_everything_on_linux(self) -> None:
        runs = [step["run"] for step in read(TESTS)["jobs"]["linux"]["steps"] if "run" in step]
        script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        assert runs == [line for line in script.splitlines() if line.startswith("make ")]

    def test_name_existing_files(self) -> None:
        for job in read(TESTS)["jobs"].values():
            for step in job["steps"]:
                for name in re.findall(
                    r"(?:tests|tools|requirements)/[\w./]+", step.get("run", "")
                ):
                    assert (ROOT / name).is_file(), name

    def test_call_existing_make_targets(self) -> None:
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
        called = set()
        for file in (ROOT / ".github").rglob("*.yml"):
            called |= set(re.findall(r"run: make ([a-z-]+)", file.read_text("utf-8")))
        assert {"check", "test", "setup", "docs", "relock"} <= called <= targets

    def test_require_all_jobs(self) -> None:
        jobs = read(TESTS)["jobs"]
        assert set(jobs["passed"]["needs"]) == set(jobs) - {"passed"}

    @pytest.mark.parametrize(
        ("event", "results", "code"),
        [
            ("push", "success success success success skipped", 0),
            ("pull_request", "success success success success success", 0),
            ("pull_request", "success success success skipped", 1),
            ("push", "success skipped success skipped", 1),
            ("push", "success failure success skipped", 1),
            ("push", "cancelled success success skipped", 1),
        ],
    )
    def test_pass_only_if_all_jobs_did(self, event: str, results: str, code: int) -> None:
        (step,) = read(TESTS)["jobs"]["passed"]["steps"]
        shell = ["bash", "-e", "-c", step["run"]]
        ran = subprocess.run(
            shell,
            env=clean_environment(RESULTS=results, EVENT=event),
            capture_output=True,
            check=False,
        )
        assert ran.returncode == code


# A stub of gh that lists the pull requests in a file through the given jq filter.
GH = """#!/bin/sh
echo "$*" >>calls
case "$*" in
    "pr list"*) while [ "$1" != --jq ]; do shift; done; jq -r "$2" pulls.json ;;
esac
"""


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, which gh includes")
class TestRelock:
    @pytest.fixture
    def propose(self, tmp_path: Path) -> Callable[..., list[str]]:
        """Return a function that runs the step which proposes the changed locks."""
        bare, work = tmp_path / "bare.git", tmp_path / "work"
        git(tmp_path, "init", "--quiet", "--bare", str(bare))
        git(tmp_path, "init", "--quiet", "--initial-branch=main", str(work))
        (work / "lock.txt").write_text("a==1\n", encoding="utf-8")
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "--message", "Locks")
        git(work, "remote", "add", "origin", str(bare))
        (tmp_path / "gh").write_text(GH, encoding="utf-8")
        (tmp_path / "gh").chmod(0o755)
        step = read(RELOCK)["jobs"]["relock"]["steps"][-1]
        path = f"{tmp_path}{os.pathsep}{clean_environment()['PATH']}"

        def run(pulls: list[dict], locks: str = "a==2\n") -> list[str]:
            (work / "lock.txt").write_text(locks, encoding="utf-8")
            (work / "pulls.json").write_text(json.dumps(pulls), encoding="utf-8")
            subprocess.run(
                ["bash", "-e", "-c", step["run"]],
                cwd=work,
                env=clean_environment(TITLE=step["env"]["TITLE"], PATH=path),
                capture_output=True,
                check=True,
            )
            calls = work / "calls"
            called_with = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
            if called_with:
                assert git(bare, "show", "refs/heads/relock:lock.txt") == locks
            return [" ".join(call.split()[:2]) for call in called_with]

        return run

    @pytest.mark.parametrize(
        ("pulls", "opens"),
        [
            ([], True),
            ([{"number": 3, "isCrossRepository": True}], True),
            ([{"number": 4, "isCrossRepository": False}], False),
            ([{"number": n, "isCrossRepository": n == 3} for n in (3, 4)], False),
        ],
    )
    def test_opens_a_pull_request_unless_one_is_open(
        self, propose: Callable[..., list[str]], pulls: list[dict], opens: bool
    ) -> None:
        assert propose(pulls) == ["auth setup-git", "pr list"] + ["pr create"] * opens

    def test_does_nothing_without_a_newer_pin(self, propose: Callable[..., list[str]]) -> None:
        assert propose([], locks="a==1\n") == []


CHANGELOG = """# Changelog

## Unreleased

### What to do after updating

Nothing.

## v1.1.0 (2026-01-02)

* Something.

### What to do after updating

Type `make lock`.

## v1.0.0

### What to do after updating

Nothing.
"""


class TestRelease:
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        git(tmp_path, "init", "--quiet", "--initial-branch=main")
        (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
        project = '[project]\nname = "x"\nversion = "1.1.0"\n'
        (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
        (tmp_path / "template" / "wheels").mkdir(parents=True)
        (tmp_path / "template" / "wheels" / "x-1.1.0-py3-none-any.whl").touch()
        git(tmp_path, "add", "--all")
        for tag in ("v1.0.0", "v1.1.0"):
            git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", tag)
            git(tmp_path, "tag", tag)
        return tmp_path

    def notes(self, repository: Path, tag: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, Path(release.__file__), "--notes", tag]
        return subprocess.run(
            command,
            cwd=repository,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def test_has_the_notes_of_its_section(self, repository: Path) -> None:
        printed = self.notes(repository, "v1.1.0")
        assert printed.returncode == 0, printed.stderr
        assert printed.stdout == (
            "* Something.\n\n### What to do after updating\n\nType `make lock`.\n"
        )

    @pytest.mark.parametrize(
        ("tag", "reason"),
        [
            ("v2.0.0", "the tag v2.0.0 has no section '## v2.0.0'"),
            ("latest", "latest: a release must be named like v1.2.3"),
            ("Unreleased", "Unreleased: a release must be named like v1.2.3"),
        ],
    )
    def test_is_rejected_without_a_section(self, repository: Path, tag: str, reason: str) -> None:
        refused = self.notes(repository, tag)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert reason in refused.stderr

    def test_is_rejected_if_another_release_has_no_section(self, repository: Path) -> None:
        git(repository, "tag", "v0.9.0")
        refused = self.notes(repository, "v1.1.0")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "the tag v0.9.0 has no section" in refused.stderr

    def test_is_rejected_if_the_plugin_has_another_version(self, repository: Path) -> None:
        (wheel,) = repository.glob("*/wheels/*.whl")
        wheel.rename(wheel.with_name("x-1.0.9-py3-none-any.whl"))
        refused = self.notes(repository, "v1.1.0")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "the template carries x-1.0.9-py3-none-any.whl, the tag is v1.1.0" in refused.stderr
        refused = self.notes(repository, "v1.0.0")
        assert "the plugin is 1.1.0, the tag is v1.0.0" in refused.stderr

    def test_publishes_the_checked_notes_and_wheel(self) -> None:
        jobs = read(RELEASE)["jobs"]
        assert read(RELEASE)["on"]["push"]["tags"] == ["v*"]
        assert [job.get("needs") for job in jobs.values()] == [None, "check", "publish"]
        _, check, notes, upload = jobs["check"]["steps"]
        assert check["run"] == "make check"  # which rebuilds the wheel and compares bytes
        makefile = (ROOT / "Makefile").read_text("utf-8")
        assert "tools/wheel.py --check" in makefile.partition("\ncheck:")[2].partition("\n\n")[0]
        assert "tools/release.py --notes" in notes["run"]
        assert f"cp '{PROJECT}'/wheels/*.whl {upload['with']['path']}/" in notes["run"]
        for name in ("publish", "release"):
            (download,) = (
                s for s in jobs[name]["steps"] if "download-artifact" in s.get("uses", "")
            )
            assert download["with"] == {
                "name": upload["with"]["name"],
                "path": upload["with"]["path"],
            }
        assert "--verify-tag" in jobs["release"]["steps"][-1]["run"]

    def test_publishes_without_a_token(self) -> None:
        publish = read(RELEASE)["jobs"]["publish"]
        assert publish["environment"] == "pypi"
        assert publish["permissions"] == {"contents": "read", "id-token": "write"}
        assert "publish --trusted-publishing always" in publish["steps"][-1]["run"]
        assert "secrets." not in (ROOT / ".github" / RELEASE).read_text("utf-8")
