"""Defects sown into rendered projects are found by the hooks that the projects have."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from tests.helpers import BakedProject, InstalledProject, tool
from tests.template.secret_seeds import HARMLESS, NOT_FOUND, SECRETS, SECRETS_OF_LINES

PROVIDERS = ("azure_pipelines", "github_actions", "both")

DOCKER = {
    "no_version": ("FROM python\nUSER 1000\n", "DL3006"),
    "newest": ("FROM python:latest\nUSER 1000\n", "DL3007"),
    "root": ("FROM python:3.12-slim\nUSER root\n", "DL3002"),
    "unpinned": ("FROM python:3.12-slim\nRUN pip install --no-cache-dir pandas\n", "DL3013"),
    "added": ("FROM python:3.12-slim\nADD . /app\n", "DL3020"),
    "more_rights": ("FROM python:3.12-slim\nRUN sudo apt-get update\n", "DL3004"),
    "no_list": ("FROM python:3.12-slim\nCMD python -m app\n", "DL3025"),
}
SHELL = {
    "unquoted": ("rm -rf $1/build\n", "SC2086"),
    "cd_may_fail": ('cd "$1"\nrm -rf build\n', "SC2164"),
    "not_of_sh": ('names=(a b)\necho "${names[0]}"\n', "SC3030"),
    "never_set": ('echo "$typpo"\n', "SC2154"),
    "half": ("if true; then\n  echo yes\n", "SC1046"),
}
YAML = {
    "key_twice": ("a: 1\nb: 2\na: 3\n", "duplication of key"),
    "indented_anyhow": ("a:\n  b: 1\n c: 2\n", "syntax error"),
    "truth": ("on: Yes\n", "truthy value"),
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
    """Run one hook of the project, as it is configured there, on some files."""
    return project.run(".venv/bin/pre-commit", "run", name, "--files", *files)


def sow(project: BakedProject, folder: str, texts: dict[str, str]) -> list[str]:
    """Write files into a folder of the project and return their names."""
    for name, text in texts.items():
        file = project.path / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [f"{folder}/{name}" for name in texts]


# name of a file -> the line of its secret
LINES = dict.fromkeys(SECRETS, 2)
LINES |= {name: len(text.splitlines()) for name, text in SECRETS_OF_LINES.items()}


@pytest.fixture(scope="module")
def said(project: InstalledProject) -> str:
    """Return what the hooks print about all seeds at once."""
    seeds = {name: f"# seed\n{text}\n" for name, text in SECRETS.items()}
    seeds |= {name: f"{text}\n" for name, text in SECRETS_OF_LINES.items()}
    files = sow(project, "secret", seeds)
    runs = [hook(project, name, files) for name in ("detect-secrets", "azure-secrets")]
    assert [run.returncode for run in runs] == [1, 1], runs
    return "\n".join(run.stdout for run in runs)


class TestSecrets:
    @pytest.mark.parametrize("name", LINES)
    def test_are_found_but_for_those_that_stock_tools_do_not_know(
        self, said: str, name: str
    ) -> None:
        found = re.search(rf"\bsecret/{re.escape(name)}:{LINES[name]}\b", said)
        assert bool(found) is (name not in NOT_FOUND)

    def test_are_not_seen_in_what_is_harmless(self, project: InstalledProject) -> None:
        files = sow(project, "harmless", {name: f"{text}\n" for name, text in HARMLESS.items()})
        for name in ("detect-secrets", "azure-secrets"):
            passed = hook(project, name, files)
            assert passed.returncode == 0, passed.stdout

    @pytest.mark.parametrize("name", ["client.pfx", "client.p12", "CLIENT.PFX"])
    def test_are_found_in_stores_of_keys(self, project: InstalledProject, name: str) -> None:
        folder = project.path / "stores"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"0\x82\0\1")
        (folder / "picture.png").write_bytes(b"\x89PNG\r\n\0\0")
        assert hook(project, "key-stores", ["stores/picture.png"]).returncode == 0
        found = hook(project, "key-stores", [f"stores/{name}"])
        assert found.returncode == 1
        assert f"stores/{name}" in found.stdout

    def test_are_found_in_locks(self, project: InstalledProject) -> None:
        lock = project.path / "requirements" / "run.txt"
        text = lock.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert hook(project, "detect-secrets", ["requirements/run.txt"]).returncode == 0
        lock.write_text(f"{SECRETS['lock.txt']}\n{text}", encoding="utf-8")
        found = hook(project, "detect-secrets", ["requirements/run.txt"])
        lock.write_text(text, encoding="utf-8")
        assert found.returncode == 1
        assert "requirements/run.txt:1" in found.stdout


SOWN = {
    "hadolint": (DOCKER, "Dockerfile"),
    "shellcheck": (SHELL, "sh"),
    "yamllint": (YAML, "yml"),
}


class TestDefects:
    @pytest.mark.parametrize("name", SOWN)
    def test_are_found_each_in_its_file(self, project: InstalledProject, name: str) -> None:
        defects, suffix = SOWN[name]
        start = "#!/bin/sh\n" if suffix == "sh" else ""
        texts = {f"{key}.{suffix}": start + text for key, (text, _) in defects.items()}
        refused = hook(project, name, sow(project, name, texts))
        assert refused.returncode == 1
        about = refused.stdout.split(f"{name}/")
        for key, (_, fault) in defects.items():
            said = [text for text in about if text.startswith(f"{key}.{suffix}")]
            assert any(fault in text for text in said), f"{key}: {refused.stdout}"

    @pytest.mark.parametrize("name", SOWN)
    def test_are_not_seen_in_good_files(self, project: InstalledProject, name: str) -> None:
        passed = hook(project, name, sow(project, "good", GOOD))
        assert passed.returncode == 0, passed.stdout

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("github-workflows", "runs-on:", "runs_on:"),
            ("zizmor", "permissions: {}", "permissions: write-all"),
        ],
    )
    def test_of_a_workflow_are_found(
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
def test_check_refuses_all_at_once(install: Callable[..., InstalledProject]) -> None:
    project = install(project_slug="all-at-once", ci_provider="github_actions")
    kinds = {name: next(iter(defects.values()))[0] for name, (defects, _) in SOWN.items()}
    texts = {f"{name}.{SOWN[name][1]}": text for name, text in kinds.items()}
    texts["shellcheck.sh"] = "#!/bin/sh\n" + texts["shellcheck.sh"]
    texts["secret.md"] = SECRETS["signed_address.md"] + "\n"
    sow(project, "seeds", texts)
    refused = project.make("check")
    assert refused.returncode != 0
    failed = re.findall(r"^- hook id: (\S+)", refused.stdout, re.MULTILINE)
    assert set(failed) == {*SOWN, "azure-secrets"}


@pytest.mark.slow
def test_check_passes_what_kedro_writes_for_a_new_pipeline(
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
    """Whoever asks for newer versions can read what we pin, and nothing else is touched."""

    def test_come_from_one_bot(self, baked: Callable[..., BakedProject], provider: str) -> None:
        project = baked(ci_provider=provider)
        is_github = provider == "github_actions"
        assert project.has_file(".github/dependabot.yml") == is_github
        assert project.has_file("renovate.json") != is_github

    def test_fit_the_schema(
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
        wanted = locks(project)
        assert {"requirements/run.in", "requirements/serve.txt"} <= wanted
        if provider == "github_actions":
            asked = yaml.safe_load(project.read(".github/dependabot.yml"))["updates"]
            kinds = {one["package-ecosystem"]: one for one in asked}
            assert set(kinds) == {"github-actions", "uv"}
            assert kinds["uv"]["directory"] == "/requirements"
            inside = {name for name in project.files if name.startswith("requirements/")}
            assert {name for name in inside if name.endswith((".in", ".txt"))} == wanted
            assert kinds["github-actions"]["directories"] == ["/", "/.github/actions/*"]
            for one in asked:
                assert one["cooldown"]["default-days"] >= 7
                assert list(one["groups"].values()) == [{"patterns": ["*"]}]
            return
        renovate = json.loads(project.read("renovate.json"))
        assert self._matched(project, renovate["pip_requirements"]) == wanted
        pipelines = {name for name in project.files if name.startswith("azure_pipelines/")}
        found = self._matched(project, renovate["azure-pipelines"])
        assert found == {name for name in pipelines if name.endswith(".yml")}
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
