"""Projects rendered with every value of every option, before any tool reformats them."""

import ast
import json
import re
import subprocess
from collections.abc import Callable

import hygiene
import pytest

from tests.helpers import PROJECT, ROOT, BakedProject, read_manifest, tool, yamllint_of

PROVIDERS = {
    "azure_pipelines": ["azure_pipelines"],
    "github_actions": ["github_actions", "github_actions_alone"],
    "both": ["azure_pipelines", "github_actions"],
}

SAMPLES = {"temperature anomalies": "sample", "none": "no_sample"}

OPTIONS = {
    "defaults": {},
    "no_sample": {"sample": "none"},
    "python_3_11": {"python_version": "3.11"},
    "python_3_13": {"python_version": "3.13"},
    "github_actions": {"ci_provider": "github_actions"},
    "both_providers": {"ci_provider": "both"},
    "apache": {"license": "Apache-2.0"},
    "bsd": {"license": "BSD-3-Clause"},
    "proprietary": {"license": "Proprietary"},
    # Imports are sorted by name, and a long name breaks lines.
    "long_package": {"package_name": "p" * 40},
    "short_package": {"package_name": "p"},
    "package_before_kedro": {"package_name": "aaa"},
    "package_after_kedro": {"package_name": "zzz"},
    "no_sample_both_providers": {"sample": "none", "ci_provider": "both"},
    "no_sample_long_package": {"sample": "none", "package_name": "p" * 40},
    "no_sample_package_before_kedro": {"sample": "none", "package_name": "aaa"},
    "no_sample_package_after_kedro": {"sample": "none", "package_name": "zzz"},
}

# locks, data, the wheel and Cruft's state file
NOT_OWNED = re.compile(r"requirements/\w+\.txt|.*\.csv$|wheels/|\.cruft\.json")
# pipelines, infrastructure, tools and checks
PLATFORM = re.compile(
    r"azure_pipelines/|\.github/|operation/infrastructure/|tools/|renovate\.json|\.pre-commit|"
    r"CODEOWNERS|SECURITY"
)


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def project(request: pytest.FixtureRequest, baked: Callable[..., BakedProject]) -> BakedProject:
    """A project rendered with one value of one option."""
    return baked(**request.param)


class TestFiles:
    @pytest.mark.parametrize("provider", PROVIDERS)
    @pytest.mark.parametrize("sample", SAMPLES)
    def test_are_exactly_those_of_the_manifest(
        self, baked: Callable[..., BakedProject], provider: str, sample: str
    ) -> None:
        names = ["always", SAMPLES[sample], *PROVIDERS[provider]]
        expected = set().union(*(read_manifest(name, "other") for name in names))
        files = baked(ci_provider=provider, sample=sample, package_name="other").files
        assert sorted(files - expected) == []
        assert sorted(expected - files) == []

    @pytest.mark.parametrize(
        "option", [o for o in OPTIONS if "provider" not in o and o != "github_actions"]
    )
    def test_depend_on_no_other_option(
        self, baked: Callable[..., BakedProject], option: str
    ) -> None:
        answers = {"package_name": "temperature_anomalies"} | OPTIONS[option]
        names = ("always", SAMPLES[answers.get("sample", next(iter(SAMPLES)))], "azure_pipelines")
        expected = set().union(*(read_manifest(name, answers["package_name"]) for name in names))
        assert baked(**answers).files == expected

    @pytest.mark.parametrize("provider", PROVIDERS)
    @pytest.mark.parametrize("sample", SAMPLES)
    def test_leave_no_folder_empty(
        self, baked: Callable[..., BakedProject], provider: str, sample: str
    ) -> None:
        """Cookiecutter also creates folders of unselected options; none may stay empty."""
        project = baked(ci_provider=provider, sample=sample)
        folders = {p for p in project.path.rglob("*") if p.is_dir() and ".git" not in p.parts}
        full = {parent for name in project.files for parent in (project.path / name).parents}
        assert folders - full == set()

    @pytest.mark.parametrize("provider", ["azure_pipelines", "github_actions"])
    @pytest.mark.parametrize(
        ("sample", "most_files", "most_lines"),
        [("temperature anomalies", 90, 5_000), ("none", 80, 2_600)],
    )
    def test_are_few(
        self,
        baked: Callable[..., BakedProject],
        provider: str,
        sample: str,
        most_files: int,
        most_lines: int,
    ) -> None:
        """Count the files and lines a team maintains, without locks, data and the wheel."""
        project = baked(ci_provider=provider, sample=sample)
        own = {name for name in project.files if not NOT_OWNED.match(name)}
        lines = {name: len(project.read(name).splitlines()) for name in own}
        assert len(own) <= most_files
        assert sum(lines.values()) <= most_lines
        platform = {n: k for n, k in lines.items() if PLATFORM.match(n)}
        assert len(platform) <= 35
        assert sum(platform.values()) <= 1_300

    @pytest.mark.parametrize("sample", SAMPLES)
    def test_are_identical_in_every_render(
        self, bake: Callable[..., BakedProject], sample: str
    ) -> None:
        answers = {"ci_provider": "both", "sample": sample}
        first, second = bake(**answers), bake(**answers)
        assert first.path != second.path
        assert first.files == second.files
        for name in first.files:
            assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name
            assert (first.path / name).stat().st_mode == (second.path / name).stat().st_mode, name

    def test_of_the_template_have_names_valid_on_windows(self) -> None:
        paths = hygiene.files_below(ROOT)
        names = [path.relative_to(ROOT).as_posix() for path in paths]
        assert any(name.startswith(f"{PROJECT}/src/") for name in names)
        assert list(hygiene.faults_of_names(names)) == []

    def test_do_not_contain_the_path_of_the_render(self, project: BakedProject) -> None:
        for name in project.files:
            content = (project.path / name).read_bytes()
            assert str(project.path.parent).encode() not in content, name


def texts_of(project: BakedProject) -> set[str]:
    return {name for name in project.files if not name.startswith("wheels/")}


class TestText:
    def test_contains_no_leftover_jinja(self, project: BakedProject) -> None:
        for name in texts_of(project) - {"data/raw/temperatures.csv"}:
            text = project.read(name)
            # GitHub's own expressions begin with ${{.
            assert not re.search(r"(?<!\$)\{\{|\{%|\{#", text), name
            assert "cookiecutter." not in text, name

    def test_follows_the_house_rules(self, project: BakedProject) -> None:
        assert list(hygiene.faults_below(project.path)) == []

    def test_contains_no_secrets(self, baked: Callable[..., BakedProject]) -> None:
        assert list(hygiene.secrets_below(baked(ci_provider="both").path)) == []

    def test_is_clean_python(self, project: BakedProject) -> None:
        for command in (["check"], ["format", "--check"]):
            ruff = project.run(tool("ruff"), *command, "--no-cache", ".")
            assert ruff.returncode == 0, ruff.stdout + ruff.stderr

    def test_is_clean_yaml(self, project: BakedProject) -> None:
        yamllint = project.run(*yamllint_of(project.path), ".")
        assert yamllint.returncode == 0, yamllint.stdout
        assert any(name.endswith(".yml") for name in project.files)

    def test_can_be_parsed(self, project: BakedProject) -> None:
        assert project.toml("pyproject.toml")["project"]["name"] == project.path.name
        for name in project.files:
            match name.rpartition(".")[2]:
                case "toml":
                    project.toml(name)
                case "json" | "ipynb":
                    json.loads(project.read(name))
                case "py":
                    ast.parse(project.read(name), filename=name)
                case "sh":
                    shell = "bash" if "bash" in project.read(name).splitlines()[0] else "sh"
                    shell = subprocess.run([shell, "-n", project.path / name], check=False)
                    assert shell.returncode == 0, name

    def test_is_executable_only_in_scripts(self, project: BakedProject) -> None:
        for name in project.files:
            starts_as_script = (project.path / name).read_bytes().startswith(b"#!")
            is_executable = bool((project.path / name).stat().st_mode & 0o100)
            assert starts_as_script == is_executable, name


class TestAnswers:
    @pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
    def test_python_version_reaches_the_makefile(
        self, baked: Callable[..., BakedProject], version: str
    ) -> None:
        assert f"PYTHON ?= {version}\n" in baked(python_version=version).read("Makefile")

    @pytest.mark.parametrize(
        ("license_", "first_words", "identifier"),
        [
            ("MIT", "MIT License", "MIT"),
            ("Apache-2.0", "Apache License Version 2.0", "Apache-2.0"),
            ("BSD-3-Clause", "BSD 3-Clause License", "BSD-3-Clause"),
            ("Proprietary", "Copyright (c) Ada All rights reserved.", "LicenseRef-Proprietary"),
        ],
    )
    def test_license_matches_the_answer(
        self,
        baked: Callable[..., BakedProject],
        license_: str,
        first_words: str,
        identifier: str,
    ) -> None:
        project = baked(license=license_, author_name="Ada")
        text = project.read("LICENSE")
        assert " ".join(text.split()).startswith(first_words)
        assert "[yyyy] [name" not in text.partition("APPENDIX")[0]
        assert project.toml("pyproject.toml")["project"]["license"] == identifier

    def test_repository_and_project_pin_the_same_linter(
        self, baked: Callable[..., BakedProject]
    ) -> None:
        ours = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
        pins = {re.search(r"^ruff==\S+", text, re.M)[0] for text in (
            ours, baked().read("requirements/dev.txt"))}  # fmt: skip
        assert len(pins) == 1
