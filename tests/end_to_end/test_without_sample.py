"""A project without the sample runs, says what to write first, and is green; the sample can go."""

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


def is_green(project: InstalledProject) -> None:
    """Fail where a person who types these three would see red."""
    for target in ("check", "test", "local"):
        done = project.make(target, *(["ENV=dev"] if target == "local" else []))
        assert done.returncode == 0, f"{target}: {done.stdout[-5000:]}{done.stderr}"


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
    def test_says_at_the_end_what_to_write_first_and_where(self, empty: InstalledProject) -> None:
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

    def test_is_green(self, empty: InstalledProject) -> None:
        is_green(empty)

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
    def test_commands_answer_in_sentences(
        self, empty: InstalledProject, command: str, status: int, words: str
    ) -> None:
        done = empty.run(".venv/bin/kedro", "mlops", *command.split())
        said = done.stdout + done.stderr
        assert (done.returncode, "Traceback" in said) == (status, False), said
        assert words in " ".join(said.split("\n"))

    def test_a_doctor_finds_no_fault_in_it(self, empty: InstalledProject) -> None:
        done = empty.run(".venv/bin/kedro", "mlops", "doctor")
        faults = [line for line in done.stdout.splitlines() if "FAULT" in line]
        assert [line for line in faults if "signing in" not in line] == []


@pytest.fixture(scope="module")
def released(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """This very template as a release."""
    folder = tmp_path_factory.mktemp("released") / "this"
    shutil.copytree(template, folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    made = Template(folder, "https://templates.example/this.git")
    made.questions = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    made.release("v1", {})
    return made


@pytest.fixture
def project(released: Template, tmp_path: Path, environment: Path) -> Project:
    """A project with the sample, as it was recorded before there was such a question."""
    project = Project(released.render("v1", tmp_path / "project", **NAMES), released)
    project.record("v1", **NAMES)
    shutil.rmtree(project.path / ".git")
    git(project.path, "init", "--quiet", "--initial-branch=main")
    project.commit("rendered")
    (project.path / ".venv").symlink_to(environment)
    for stamp in (".run", ".dev", ".azure"):
        (environment / stamp).touch()
    # what a run has left: git and updates leave it, and Kedro would take it for a pipeline
    bytecode = project.path / "src/wards/pipelines/score/__pycache__/nodes.cpython-311.pyc"
    write(project.path, {bytecode.relative_to(project.path).as_posix(): b"made of nodes.py"})
    return project


class TestProjectWithTheSample:
    """``kedro mlops update --answer sample=none``, at the release that it was made from."""

    def test_loses_what_nobody_edited(
        self, project: Project, released: Template, tmp_path: Path
    ) -> None:
        done = project.update("--answer", "sample=none")
        assert done.status == 0, done.said
        assert ("removed", "src/wards/detector.py") in done.report
        assert project.state["context"]["cookiecutter"]["sample"] == "none"
        found = read(project.path)
        expected = read(released.render("v1", tmp_path / "fresh", sample="none", **NAMES))
        more = {name for name in found.keys() - expected.keys() if "__pycache__" not in name}
        assert more == {".cruft.json", ".venv"}
        assert {name for name in expected if found[name] != expected[name]} == set()
        assert (project.path / "src/wards/pipelines/score/__pycache__").exists()
        project.commit("without the sample")
        is_green(InstalledProject(project.path))

    def test_keeps_and_names_what_someone_edited(self, project: Project) -> None:
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
        done = project.update("--answer", "sample=none")
        assert done.status == 0, done.said
        for name, text in mine.items():
            assert project.text(name) == text
        kept = {path for kind, path in done.report if kind == "yours kept"}
        assert kept | {"README.md"} == mine.keys() - {"operation/tests/unit/test_own.py"}
        assert project.text("operation/configuration/base/catalog.yml") != catalog
        project.commit("without the sample")
        is_green(InstalledProject(project.path))

    def test_may_have_edited_what_both_hold_and_settles_that(self, project: Project) -> None:
        """The catalog belongs to both sides: it is merged, and named as a conflict."""
        name = "operation/configuration/base/catalog.yml"
        own = "\nwards: {type: pandas.CSVDataset, filepath: data/raw/wards.csv}\n"
        project.edit({name: project.text(name) + own})
        done = project.update("--answer", "sample=none")
        assert done.status == 1
        assert ("conflict", name) in done.report
        assert "wards: {type" in project.text(name)
        assert project.update("--abort").status == 0
        assert project.has("src/wards/detector.py")

    def test_is_refused_an_answer_that_fits_no_sample(self, project: Project) -> None:
        before = project.picture()
        refused = project.update("--answer", "sample=foo")
        assert refused.status == 2
        assert '--answer "sample=temperature anomalies" or --answer sample=none' in refused.err
        assert project.picture() == before
