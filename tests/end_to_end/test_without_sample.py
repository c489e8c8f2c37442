"""A project without the sample: it runs, lists the first files to write, and passes its checks."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import InstalledProject
from tests.plugin.update.updating import Project, Template, git, read, write

pytestmark = pytest.mark.slow

NAMES = {
    "project_name": "Wards",
    "project_slug": "wards",
    "package_name": "wards",
    "description": "Counts beds.",
}


def assert_checks_pass(project: InstalledProject) -> None:
    """Fail if one of these three commands fails."""
    for target in ("check", "test", "local"):
        process = project.make(target, *(["ENV=dev"] if target == "local" else []))
        assert process.returncode == 0, f"{target}: {process.stdout[-5000:]}{process.stderr}"


@pytest.fixture(scope="module")
def empty(install: Callable[..., InstalledProject]) -> InstalledProject:
    """A project without the sample after its first run."""
    project = install(sample="none", **NAMES)
    first = project.make("run")
    assert first.returncode == 0, first.stdout + first.stderr
    (project.path / "build").mkdir()
    (project.path / "build" / "first.log").write_text(first.stdout, encoding="utf-8")
    return project


class TestNewProject:
    def test_ends_its_run_with_a_list_of_files_to_write_first(
        self, empty: InstalledProject
    ) -> None:
        *_, report = empty.read("build/first.log").partition("Write first:")
        files = re.findall(r"[\w./-]+/[\w.]*", report)
        assert len(files) == 5
        for name in files:
            assert (empty.path / name).exists(), name
        assert "the rules of the gate; none are set" in report

    def test_tracks_its_runs_and_registers_nothing(self, empty: InstalledProject) -> None:
        tracked = empty.tracked()
        assert [run["status"] for run in tracked.runs] == ["FINISHED"]
        assert tracked.runs[0]["metrics"] == {"rows": 3.0}
        assert tracked.models == {}

    def test_passes_its_checks(self, empty: InstalledProject) -> None:
        assert_checks_pass(empty)

    @pytest.mark.parametrize(
        ("command", "status", "words"),
        [
            ("compile", 0, "wrote build/azureml/"),
            ("gate", 2, "holds no model: no run has made one here"),
            ("register", 2, "holds no model: no run has made one here"),
            ("champion", 1, "has no champion in MLflow"),
            ("monitor", 2, "has no champion"),
            ("bundle", 2, "has no champion"),
            ("promote --env stage", 2, "dev has no champion"),
            ("init", 0, "kept   operation/configuration/base/mlops.yml"),
        ],
    )
    def test_commands_print_clear_messages(
        self, empty: InstalledProject, command: str, status: int, words: str
    ) -> None:
        process = empty.run(".venv/bin/kedro", "mlops", *command.split())
        output = process.stdout + process.stderr
        assert (process.returncode, "Traceback" in output) == (status, False), output
        assert words in " ".join(output.split("\n"))

    def test_doctor_finds_no_problem(self, empty: InstalledProject) -> None:
        process = empty.run(".venv/bin/kedro", "mlops", "doctor")
        problems = [line for line in process.stdout.splitlines() if "PROBLEM" in line]
        assert [line for line in problems if "signing in" not in line] == []


@pytest.fixture(scope="module")
def released(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """This template as a release."""
    folder = tmp_path_factory.mktemp("released") / "this"
    shutil.copytree(template, folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    template_repository = Template(folder, "https://templates.example/this.git")
    template_repository.questions = json.loads(
        (template / "cookiecutter.json").read_text(encoding="utf-8")
    )
    template_repository.release("v1", {})
    return template_repository


@pytest.fixture
def project(released: Template, tmp_path: Path, environment: Path) -> Project:
    """A project with the sample, whose record has no answer to the question about it."""
    project = Project(released.render("v1", tmp_path / "project", **NAMES), released)
    project.record("v1", **NAMES)
    shutil.rmtree(project.path / ".git")
    git(project.path, "init", "--quiet", "--initial-branch=main")
    project.commit("rendered")
    (project.path / ".venv").symlink_to(environment)
    for stamp in (".run", ".dev", ".azure"):
        (environment / stamp).touch()
    # left by a run: git and updates ignore it, and Kedro would take it for a pipeline
    bytecode = project.path / "src/wards/pipelines/score/__pycache__/nodes.cpython-311.pyc"
    write(project.path, {bytecode.relative_to(project.path).as_posix(): b"made of nodes.py"})
    return project


class TestProjectWithTheSample:
    """``kedro mlops update --answer sample=none``, at the release of the project."""

    def test_loses_unedited_sample_files(
        self, project: Project, released: Template, tmp_path: Path
    ) -> None:
        outcome = project.update("--answer", "sample=none")
        assert outcome.status == 0, outcome.printed
        assert ("removed", "src/wards/detector.py") in outcome.report
        assert project.state["context"]["cookiecutter"]["sample"] == "none"
        files = read(project.path)
        expected = read(released.render("v1", tmp_path / "fresh", sample="none", **NAMES))
        extra = {name for name in files.keys() - expected.keys() if "__pycache__" not in name}
        assert extra == {".cruft.json", ".venv"}
        assert {name for name in expected if files[name] != expected[name]} == set()
        assert (project.path / "src/wards/pipelines/score/__pycache__").exists()
        project.commit("without the sample")
        assert_checks_pass(InstalledProject(project.path))

    def test_keeps_and_reports_edited_files(self, project: Project) -> None:
        parameters = project.text("operation/configuration/base/parameters.yml")
        catalog = project.text("operation/configuration/base/catalog.yml")
        mine = {
            "README.md": "# Wards\n",
            "docs/data/readings.md": "# Our loggers\n",
            "operation/configuration/base/parameters.yml": parameters.replace("0.4", "0.5"),
            "operation/configuration/dev/mlops.yml": "deployment: {endpoint: wards-dev}\n",
            "operation/tests/unit/test_own.py": "def test_own() -> None:\n    assert 1 + 1 == 2\n",
            "src/wards/detector.py": '"""Ours."""\n',
        }
        assert "0.5" in mine["operation/configuration/base/parameters.yml"]
        project.edit(mine)
        outcome = project.update("--answer", "sample=none")
        assert outcome.status == 0, outcome.printed
        for name, text in mine.items():
            assert project.text(name) == text
        kept = {path for kind, path in outcome.report if kind == "yours kept"}
        assert kept | {"README.md"} == mine.keys() - {"operation/tests/unit/test_own.py"}
        assert project.text("operation/configuration/base/catalog.yml") != catalog
        project.commit("without the sample")
        assert_checks_pass(InstalledProject(project.path))

    def test_gets_a_conflict_for_an_edited_catalog(self, project: Project) -> None:
        """The catalog belongs to both sides: it is merged, and reported as a conflict."""
        name = "operation/configuration/base/catalog.yml"
        own = "\nwards: {type: pandas.CSVDataset, filepath: data/raw/wards.csv}\n"
        project.edit({name: project.text(name) + own})
        outcome = project.update("--answer", "sample=none")
        assert outcome.status == 1
        assert ("conflict", name) in outcome.report
        assert "wards: {type" in project.text(name)
        assert project.update("--abort").status == 0
        assert project.has("src/wards/detector.py")

    def test_rejects_an_unknown_sample(self, project: Project) -> None:
        before = project.snapshot()
        refused = project.update("--answer", "sample=foo")
        assert refused.status == 2
        assert '--answer "sample=temperature anomalies" or --answer sample=none' in refused.err
        assert project.snapshot() == before
