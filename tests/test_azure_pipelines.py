"""The check of Azure Pipelines: silent about the project's files, and every seeded defect found."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from azure_seeds import ACCEPTED, CI, DEFECTS, GOOD, RETRAIN, TRAIN
from helpers import BakedProject


@pytest.fixture(scope="module")
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    return baked(ci_provider="both")


@pytest.fixture(scope="module")
def checker(project: BakedProject) -> Iterator[ModuleType]:
    """The check as the project brings it, imported once: a process for each defect would last."""
    with pytest.MonkeyPatch.context() as shell:
        shell.syspath_prepend(str(project.path))
        yield importlib.import_module("tools.checks.azure_pipelines")
    for name in [n for n in sys.modules if n.split(".")[0] == "tools"]:
        del sys.modules[name]


Look = Callable[..., list[str]]


@pytest.fixture
def look(checker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Check the pipelines of a folder and return the faults as they are printed."""

    def looked(root: Path, project: Path | None = None) -> list[str]:
        monkeypatch.chdir(root)
        return [str(fault) for fault in checker.check(Path("azure_pipelines"), project)]

    return looked


def edited(project: BakedProject, root: Path, file: str, old: str, new: str) -> None:
    """Copy the project's pipelines and edit one of them."""
    shutil.copytree(project.path / "azure_pipelines", root / "azure_pipelines")
    text = (root / file).read_text(encoding="utf-8")
    assert old in text, "the table of edits is older than the file"
    (root / file).write_text(text.replace(old, new), encoding="utf-8")


class TestDefects:
    @pytest.mark.parametrize("name", DEFECTS)
    def test_is_found_where_it_is(
        self, project: BakedProject, look: Look, tmp_path: Path, name: str
    ) -> None:
        file, old, new, named, *other = DEFECTS[name]
        edited(project, tmp_path, file, old, new)
        found = look(tmp_path, project.path)
        file_of_fault = (other or [file])[0]
        telling = [f for f in found if any(word in f for word in named.split("|"))]
        assert telling, found
        assert any(fault.startswith(f"{file_of_fault}:") for fault in telling), found

    def test_names_the_line(self, project: BakedProject, look: Look, tmp_path: Path) -> None:
        shutil.copytree(project.path / "azure_pipelines", tmp_path / "azure_pipelines")
        file = tmp_path / CI
        lines = file.read_text(encoding="utf-8").splitlines()
        number = next(n for n, line in enumerate(lines, 1) if "ubuntu-24.04" in line)
        lines[number - 1] = "  vmImage: ubuntu-18.04"
        file.write_text("\n".join(lines), encoding="utf-8")
        assert [fault.partition(": ")[0] for fault in look(tmp_path)] == [f"{CI}:{number}"]


OPTIONS = [
    {"ci_provider": provider, "python_version": version}
    for provider in ("azure_pipelines", "both")
    for version in ("3.11", "3.12", "3.13")
]


class TestGoodFiles:
    @pytest.mark.parametrize("answers", OPTIONS, ids=lambda a: "-".join(a.values()))
    def test_of_the_project_have_no_fault(
        self, baked: Callable[..., BakedProject], look: Look, answers: dict[str, str]
    ) -> None:
        assert look(baked(**answers).path) == []

    def test_of_a_project_with_long_names_have_no_fault(
        self, baked: Callable[..., BakedProject], look: Look
    ) -> None:
        project = baked(ci_provider="both", project_name="Long " * 11 + "name")
        assert look(project.path) == []

    @pytest.mark.parametrize("name", ACCEPTED)
    def test_of_the_project_may_be_edited(
        self, project: BakedProject, look: Look, tmp_path: Path, name: str
    ) -> None:
        edited(project, tmp_path, *ACCEPTED[name])
        assert look(tmp_path, project.path) == []

    @pytest.mark.parametrize("name", GOOD)
    def test_that_others_write_have_no_fault(
        self, project: BakedProject, look: Look, tmp_path: Path, name: str
    ) -> None:
        for file, text in GOOD[name].items():
            path = tmp_path / "azure_pipelines" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert look(tmp_path, project.path) == []


class TestOfTheProject:
    """What the pipelines name is looked up in the project they are in."""

    def test_nothing_is_said_where_it_cannot_be_looked_up(
        self, project: BakedProject, look: Look, tmp_path: Path
    ) -> None:
        for what in ("verb", "environment", "suite"):
            edit = f"{what} that is not there"
            edited(project, tmp_path / edit, *DEFECTS[edit][:3])
            assert look(tmp_path / edit) == []

    def test_a_verb_that_left_the_makefile_is_missed(
        self, project: BakedProject, look: Look, tmp_path: Path
    ) -> None:
        edited(project, tmp_path, RETRAIN, "verb: drift", "verb: drift")
        makefile = project.read("Makefile").replace("\ndrift:", "\nshift:")
        (tmp_path / "Makefile").write_text(makefile, encoding="utf-8")
        [fault] = look(tmp_path)
        assert fault.startswith(f"{RETRAIN}:")
        assert "no target drift" in fault

    def test_an_output_that_left_the_verb_is_missed(
        self, project: BakedProject, look: Look, tmp_path: Path
    ) -> None:
        edited(project, tmp_path, RETRAIN, "verb: drift", "verb: drift")
        for folder in ("operation/execution", "operation/registry", "operation/deployment"):
            shutil.copytree(project.path / folder, tmp_path / folder)
        verb = tmp_path / "operation/execution/drift.py"
        (tmp_path / "operation/ci.py").touch()
        verb.write_text(verb.read_text(encoding="utf-8").replace("tell(drifted", "tell(moved"))
        [fault] = look(tmp_path)
        assert fault.startswith(f"{RETRAIN}:")
        assert "tells no drifted: it tells moved" in fault


class TestCommand:
    """The check as a hook of the project starts it."""

    def check(self, project: BakedProject, folder: str) -> subprocess.CompletedProcess[str]:
        return project.run(sys.executable, "-m", "tools.checks.azure_pipelines", folder)

    def test_is_silent_about_good_files(self, project: BakedProject) -> None:
        checked = self.check(project, "azure_pipelines")
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

    def test_prints_the_faults(self, bake: Callable[..., BakedProject]) -> None:
        project = bake(ci_provider="azure_pipelines")
        path = project.path / TRAIN
        path.write_text(project.read(TRAIN).replace("templates/train", "templates/trian"))
        checked = self.check(project, "azure_pipelines")
        assert checked.returncode == 1
        assert f"{TRAIN}:" in checked.stdout
        assert "no template templates/trian.yml" in checked.stdout

    def test_says_that_it_could_not_look(self, project: BakedProject, tmp_path: Path) -> None:
        checked = self.check(project, "pipelines")
        assert (checked.returncode, checked.stdout) == (2, "")
        assert "there is no folder pipelines" in checked.stderr
        assert self.check(project, str(tmp_path)).returncode == 2

    def test_says_that_a_file_is_no_text(self, project: BakedProject, tmp_path: Path) -> None:
        (tmp_path / "ci.yml").write_bytes(b"\xff\xfe")
        checked = self.check(project, str(tmp_path))
        assert checked.returncode == 2
        assert "ci.yml cannot be read" in checked.stderr


def test_only_projects_on_azure_pipelines_have_it(baked: Callable[..., BakedProject]) -> None:
    names = baked(ci_provider="github_actions").files
    assert [name for name in names if "azure_pipelines" in name or "checks/azure" in name] == []
    assert "docs/ci/azure_devops.md" not in names
