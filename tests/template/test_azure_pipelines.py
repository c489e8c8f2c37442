"""The check of Azure Pipelines: silent about what is rendered, and every seeded defect found."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import BakedProject
from tests.template.azure_checks.pipelines import LookError, check
from tests.template.azure_seeds import ACCEPTED, CI, DEFECTS, GOOD, TRAIN


@pytest.fixture(scope="module")
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    return baked(ci_provider="both")


Look = Callable[..., list[str]]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """Check the pipelines of a folder and return the faults as they are printed."""

    def looked(root: Path, project: Path | None = None) -> list[str]:
        monkeypatch.chdir(root)
        return [str(fault) for fault in check(Path("azure_pipelines"), project)]

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


def test_what_cannot_be_looked_up_is_no_fault(
    project: BakedProject, look: Look, tmp_path: Path
) -> None:
    for what in ("script", "target", "environment"):
        edited(project, tmp_path / what, *DEFECTS[f"{what} that is not there"][:3])
        assert look(tmp_path / what) == []


def test_a_script_that_left_the_project_is_missed(
    project: BakedProject, look: Look, tmp_path: Path
) -> None:
    edited(project, tmp_path, TRAIN, "monitor.py", "monitor.py")
    scripts = tmp_path / "operation" / "execution"
    shutil.copytree(project.path / "operation" / "execution", scripts)
    assert look(tmp_path) == []
    (scripts / "monitor.py").rename(scripts / "watch.py")
    (fault,) = look(tmp_path)
    assert "named monitor" in fault


def test_where_there_is_nothing_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LookError, match="there is no folder pipelines"):
        check(Path("pipelines"))
    with pytest.raises(LookError, match="there is no YAML file"):
        check(tmp_path)
    (tmp_path / "ci.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(LookError, match="cannot be read"):
        check(tmp_path)


def test_only_projects_on_azure_pipelines_have_them(baked: Callable[..., BakedProject]) -> None:
    project = baked(ci_provider="github_actions")
    assert not (project.path / "azure_pipelines").exists()
    assert not (baked(ci_provider="azure_pipelines").path / ".github").exists()
