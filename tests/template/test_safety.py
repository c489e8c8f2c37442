"""The hooks of a rendered project find the defects seeded into it."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from tests.helpers import BakedProject, InstalledProject, tool
from tests.template.secret_seeds import HARMLESS, MULTILINE_SECRETS, NOT_FOUND, SECRETS

PROVIDERS = ("azure_pipelines", "github_actions", "both")

DOCKER = {
    "no_version": ("FROM python\nUSER 1000\n", "DL3006"),
    "latest_tag": ("FROM python:latest\nUSER 1000\n", "DL3007"),
    "root": ("FROM python:3.12-slim\nUSER root\n", "DL3002"),
    "unpinned": ("FROM python:3.12-slim\nRUN pip install --no-cache-dir pandas\n", "DL3013"),
    "add_instead_of_copy": ("FROM python:3.12-slim\nADD . /app\n", "DL3020"),
    "sudo": ("FROM python:3.12-slim\nRUN sudo apt-get update\n", "DL3004"),
    "shell_form": ("FROM python:3.12-slim\nCMD python -m app\n", "DL3025"),
}
SHELL = {
    "unquoted": ("rm -rf $1/build\n", "SC2086"),
    "cd_may_fail": ('cd "$1"\nrm -rf build\n', "SC2164"),
    "not_posix": ('names=(a b)\necho "${names[0]}"\n', "SC3030"),
    "unset_variable": ('echo "$typpo"\n', "SC2154"),
    "unfinished": ("if true; then\n  echo yes\n", "SC1046"),
}
YAML = {
    "duplicate_key": ("a: 1\nb: 2\na: 3\n", "duplication of key"),
    "wrong_indent": ("a:\n  b: 1\n c: 2\n", "syntax error"),
    "truthy": ("on: Yes\n", "truthy value"),
}
GOOD = {
    "good.Dockerfile": 'FROM python:3.12-slim\nUSER 1000\nCMD ["python", "-m", "app"]\n',
    "good.sh": '#!/bin/sh\nset -e\nrm -rf "$1/build"\n',
    "good.yml": "a: 1\nb:\n  - 2\n",
}


@pytest.fixture(scope="module")
def project(install: Callable[..., InstalledProject]) -> InstalledProject:
    return install(project_slug="sown", ci_provider="both")


def hook(
    project: BakedProject, name: str, files: Iterable[str]
) -> subprocess.CompletedProcess[str]:
    """Run one of the project's hooks on some files."""
    return project.run(".venv/bin/pre-commit", "run", name, "--files", *files)


def seed(project: BakedProject, folder: str, texts: dict[str, str]) -> list[str]:
    """Write files into a folder of the project and return their names."""
    for name, text in texts.items():
        file = project.path / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [f"{folder}/{name}" for name in texts]


# file name -> line of its secret
LINES = dict.fromkeys(SECRETS, 2)
LINES |= {name: len(text.splitlines()) for name, text in MULTILINE_SECRETS.items()}


@pytest.fixture(scope="module")
def hook_output(project: InstalledProject) -> str:
    """The output of the hooks for all seeded secrets."""
    seeds = {name: f"# seed\n{text}\n" for name, text in SECRETS.items()}
    seeds |= {name: f"{text}\n" for name, text in MULTILINE_SECRETS.items()}
    files = seed(project, "secret", seeds)
    runs = [hook(project, name, files) for name in ("detect-secrets", "azure-secrets")]
    assert [run.returncode for run in runs] == [1, 1], runs
    return "\n".join(run.stdout for run in runs)


class TestSecrets:
    @pytest.mark.parametrize("name", LINES)
    def test_are_found_except_those_that_stock_tools_miss(
        self, hook_output: str, name: str
    ) -> None:
        match = re.search(rf"\bsecret/{re.escape(name)}:{LINES[name]}\b", hook_output)
        assert bool(match) is (name not in NOT_FOUND)

    def test_are_not_reported_in_harmless_text(self, project: InstalledProject) -> None:
        files = seed(project, "harmless", {name: f"{text}\n" for name, text in HARMLESS.items()})
        for name in ("detect-secrets", "azure-secrets"):
            passed = hook(project, name, files)
            assert passed.returncode == 0, passed.stdout

    @pytest.mark.parametrize("name", ["client.pfx", "client.p12", "CLIENT.PFX"])
    def test_are_found_in_key_stores(self, project: InstalledProject, name: str) -> None:
        folder = project.path / "stores"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"0\x82\0\1")
        (folder / "picture.png").write_bytes(b"\x89PNG\r\n\0\0")
        assert hook(project, "key-stores", ["stores/picture.png"]).returncode == 0
        refused = hook(project, "key-stores", [f"stores/{name}"])
        assert refused.returncode == 1
        assert f"stores/{name}" in refused.stdout

    def test_are_found_in_locks(self, project: InstalledProject) -> None:
        """By the patterns only: locks would take most of the time of detect-secrets."""
        name = "requirements/run.txt"
        lock = project.path / name
        text = lock.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert hook(project, "azure-secrets", [name]).returncode == 0
        lock.write_text(f"{SECRETS['lock.txt']}\n{text}", encoding="utf-8")
        refused = hook(project, "azure-secrets", [name])
        skipped = hook(project, "detect-secrets", [name])
        lock.write_text(text, encoding="utf-8")
        assert refused.returncode == 1
        assert f"{name}:1" in refused.stdout
        assert "no files to check" in skipped.stdout


SEEDED = {
    "hadolint": (DOCKER, "Dockerfile"),
    "shellcheck": (SHELL, "sh"),
    "yamllint": (YAML, "yml"),
}


class TestDefects:
    @pytest.mark.parametrize("name", SEEDED)
    def test_are_found_in_their_files(self, project: InstalledProject, name: str) -> None:
        defects, suffix = SEEDED[name]
        start = "#!/bin/sh\n" if suffix == "sh" else ""
        texts = {f"{key}.{suffix}": start + text for key, (text, _) in defects.items()}
        refused = hook(project, name, seed(project, name, texts))
        assert refused.returncode == 1
        about = refused.stdout.split(f"{name}/")
        for key, (_, fault) in defects.items():
            reports = [text for text in about if text.startswith(f"{key}.{suffix}")]
            assert any(fault in text for text in reports), f"{key}: {refused.stdout}"

    @pytest.mark.parametrize("name", SEEDED)
    def test_are_not_reported_in_good_files(self, project: InstalledProject, name: str) -> None:
        passed = hook(project, name, seed(project, "good", GOOD))
        assert passed.returncode == 0, passed.stdout

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("github-workflows", "runs-on:", "runs_on:"),
            ("zizmor", "permissions: {}", "permissions: write-all"),
        ],
    )
    def test_in_a_workflow_are_found(
        self, project: InstalledProject, name: str, old: str, new: str
    ) -> None:
        file = ".github/workflows/ci.yml"
        text = project.read(file)
        assert old in text
        assert hook(project, name, [file]).returncode == 0
        (project.path / file).write_text(text.replace(old, new), encoding="utf-8")
        refused = hook(project, name, [file])
        (project.path / file).write_text(text, encoding="utf-8")
        assert refused.returncode == 1
        assert "ci.yml" in refused.stdout


@pytest.mark.slow
def test_check_reports_all_defects_together(install: Callable[..., InstalledProject]) -> None:
    project = install(project_slug="all-at-once", ci_provider="github_actions")
    first_defects = {name: next(iter(defects.values()))[0] for name, (defects, _) in SEEDED.items()}
    texts = {f"{name}.{SEEDED[name][1]}": text for name, text in first_defects.items()}
    texts["shellcheck.sh"] = "#!/bin/sh\n" + texts["shellcheck.sh"]
    texts["secret.md"] = SECRETS["signed_address.md"] + "\n"
    seed(project, "seeds", texts)
    refused = project.make("check")
    assert refused.returncode != 0
    failed = re.findall(r"^- hook id: (\S+)", refused.stdout, re.MULTILINE)
    assert set(failed) == {*SEEDED, "azure-secrets"}


@pytest.mark.slow
def test_check_finds_a_secret_that_was_added_although_it_is_ignored(
    install: Callable[..., InstalledProject],
) -> None:
    project = install(project_slug="forced", ci_provider="github_actions")
    folder = "operation/configuration/local"
    (file,) = seed(project, folder, {"credentials.yml": SECRETS["signed_address.md"] + " \n"})
    for name, status in ((file, 0), ("src/forced/credentials_check.py", 1)):
        checked = project.run("git", "check-ignore", "--no-index", "--quiet", name)
        assert checked.returncode == status, name
    ignored = project.make("check")
    assert ignored.returncode == 0, ignored.stdout
    assert project.run("git", "add", "--force", file).returncode == 0
    index = project.run("git", "ls-files", "--stage").stdout
    refused = project.make("check")
    assert refused.returncode != 0
    assert f"{file}:1" in refused.stdout
    assert project.run("git", "ls-files", "--stage").stdout == index
    seed(project, "src/forced", {"blank.py": "first = 1 \n"})
    assert project.make("fix").returncode == 0
    assert project.read("src/forced/blank.py") == "first = 1\n"
    assert project.read(file).endswith(" \n"), "fix does not change what git ignores"
    (project.path / "src/forced/blank.py").unlink()
    (project.path / file).unlink()  # its deletion is not staged
    accepted = project.make("check")
    assert accepted.returncode == 0, accepted.stdout


@pytest.mark.slow
def test_check_accepts_a_pipeline_that_kedro_creates(
    install: Callable[..., InstalledProject],
) -> None:
    project = install(project_slug="one-more", ci_provider="github_actions")
    made = project.run(".venv/bin/kedro", "pipeline", "create", "extra")
    assert made.returncode == 0, made.stderr
    assert project.has_file("src/one_more/pipelines/extra/pipeline.py")
    checked = project.make("check")
    assert checked.returncode == 0, checked.stdout


def locks(project: BakedProject) -> set[str]:
    return {name for name in project.files if re.fullmatch(r"requirements/\w+\.(in|txt)", name)}


@pytest.mark.parametrize("provider", PROVIDERS)
class TestUpdates:
    """The update bot covers every pinned file and nothing else."""

    def test_come_from_one_bot(self, baked: Callable[..., BakedProject], provider: str) -> None:
        project = baked(ci_provider=provider)
        is_github = provider == "github_actions"
        assert project.has_file(".github/dependabot.yml") == is_github
        assert project.has_file("renovate.json") != is_github

    def test_match_the_schema(
        self, baked: Callable[..., BakedProject], provider: str, tmp_path: Path
    ) -> None:
        project = baked(ci_provider=provider)
        is_github = provider == "github_actions"
        kind, name = (
            ("dependabot", ".github/dependabot.yml") if is_github else ("renovate", "renovate.json")
        )
        check = (tool("check-jsonschema"), "--builtin-schema", f"vendor.{kind}")
        good, bad = tmp_path / Path(name).name, tmp_path / f"broken{Path(name).suffix}"
        shutil.copy(project.path / name, good)
        text = project.read(name)
        bad.write_text(re.sub(r'(version: |"schedule": ).*', r"\1{}" + "," * (not is_github), text))
        assert project.run(*check, good).returncode == 0
        assert project.run(*check, bad).returncode == 1

    def test_read_every_lock_and_every_workflow(
        self, baked: Callable[..., BakedProject], provider: str
    ) -> None:
        project = baked(ci_provider=provider)
        expected = locks(project)
        assert {"requirements/run.in", "requirements/serve.txt"} <= expected
        if provider == "github_actions":
            updates = yaml.safe_load(project.read(".github/dependabot.yml"))["updates"]
            kinds = {one["package-ecosystem"]: one for one in updates}
            assert set(kinds) == {"github-actions", "uv"}
            assert kinds["uv"]["directory"] == "/requirements"
            inside = {name for name in project.files if name.startswith("requirements/")}
            assert {name for name in inside if name.endswith((".in", ".txt"))} == expected
            assert kinds["github-actions"]["directories"] == ["/", "/.github/actions/*"]
            for one in updates:
                assert one["cooldown"]["default-days"] >= 7
                assert list(one["groups"].values()) == [{"patterns": ["*"]}]
            return
        renovate = json.loads(project.read("renovate.json"))
        assert self._matched(project, renovate["pip_requirements"]) == expected
        pipelines = {name for name in project.files if name.startswith("azure_pipelines/")}
        matched = self._matched(project, renovate["azure-pipelines"])
        assert matched == {name for name in pipelines if name.endswith(".yml")}
        (images,) = renovate["customManagers"]
        texts = [project.read(name) for name in self._matched(project, images)]
        (pattern,) = images["matchStrings"]
        pattern = pattern.replace("(?<", "(?P<")
        seen = [match["currentValue"] for text in texts for match in re.finditer(pattern, text)]
        assert len(seen) == 1
        assert {"pip_requirements", "github-actions"} <= set(renovate["enabledManagers"])

    @staticmethod
    def _matched(project: BakedProject, manager: dict[str, list[str]]) -> set[str]:
        patterns = [one.strip("/") for one in manager["managerFilePatterns"]]
        return {name for name in project.files if any(re.search(p, name) for p in patterns)}
