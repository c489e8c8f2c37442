"""The check of Azure Pipelines accepts the rendered files and reports every seeded defect."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import BakedProject
from tests.template.azure_checks.pipelines import CannotCheckError, check
from tests.template.azure_seeds import ACCEPTED, CI, DEFECTS, GOOD, TRAIN


@pytest.fixture(scope="module")
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    return baked(ci_provider="both")


FaultsIn = Callable[..., list[str]]


@pytest.fixture
def faults_in(monkeypatch: pytest.MonkeyPatch) -> FaultsIn:
    """Return a function that checks the pipelines of a folder and returns the printed faults."""

    def run(root: Path, project: Path | None = None) -> list[str]:
        monkeypatch.chdir(root)
        return [str(fault) for fault in check(Path("azure_pipelines"), project)]

    return run


def copy_with_edit(project: BakedProject, root: Path, file: str, old: str, new: str) -> None:
    """Copy the project's pipelines and edit one of them."""
    shutil.copytree(project.path / "azure_pipelines", root / "azure_pipelines")
    text = (root / file).read_text(encoding="utf-8")
    assert old in text, "the edit no longer matches the file"
    (root / file).write_text(text.replace(old, new), encoding="utf-8")


class TestDefects:
    @pytest.mark.parametrize("name", DEFECTS)
    def test_is_reported_in_its_file(
        self, project: BakedProject, faults_in: FaultsIn, tmp_path: Path, name: str
    ) -> None:
        file, old, new, expected, *other = DEFECTS[name]
        copy_with_edit(project, tmp_path, file, old, new)
        faults = faults_in(tmp_path, project.path)
        file_of_fault = (other or [file])[0]
        matching = [f for f in faults if any(word in f for word in expected.split("|"))]
        assert matching, faults
        assert any(fault.startswith(f"{file_of_fault}:") for fault in matching), faults

    def test_is_reported_with_its_line(
        self, project: BakedProject, faults_in: FaultsIn, tmp_path: Path
    ) -> None:
        shutil.copytree(project.path / "azure_pipelines", tmp_path / "azure_pipelines")
        file = tmp_path / CI
        lines = file.read_text(encoding="utf-8").splitlines()
        number = next(n for n, line in enumerate(lines, 1) if "ubuntu-24.04" in line)
        lines[number - 1] = "  vmImage: ubuntu-18.04"
        file.write_text("\n".join(lines), encoding="utf-8")
        assert [fault.partition(": ")[0] for fault in faults_in(tmp_path)] == [f"{CI}:{number}"]


OPTIONS = [
    {"ci_provider": provider, "python_version": version}
    for provider in ("azure_pipelines", "both")
    for version in ("3.11", "3.12", "3.13")
]


class TestGoodFiles:
    @pytest.mark.parametrize("answers", OPTIONS, ids=lambda a: "-".join(a.values()))
    def test_of_the_project_have_no_faults(
        self, baked: Callable[..., BakedProject], faults_in: FaultsIn, answers: dict[str, str]
    ) -> None:
        assert faults_in(baked(**answers).path) == []

    def test_of_a_project_with_long_names_have_no_faults(
        self, baked: Callable[..., BakedProject], faults_in: FaultsIn
    ) -> None:
        project = baked(ci_provider="both", project_name="Long " * 11 + "name")
        assert faults_in(project.path) == []

    @pytest.mark.parametrize("name", ACCEPTED)
    def test_stay_valid_after_harmless_edits(
        self, project: BakedProject, faults_in: FaultsIn, tmp_path: Path, name: str
    ) -> None:
        copy_with_edit(project, tmp_path, *ACCEPTED[name])
        assert faults_in(tmp_path, project.path) == []

    @pytest.mark.parametrize("name", GOOD)
    def test_of_other_projects_have_no_faults(
        self, project: BakedProject, faults_in: FaultsIn, tmp_path: Path, name: str
    ) -> None:
        for file, text in GOOD[name].items():
            path = tmp_path / "azure_pipelines" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert faults_in(tmp_path, project.path) == []


def test_names_that_cannot_be_resolved_are_not_faults(
    project: BakedProject, faults_in: FaultsIn, tmp_path: Path
) -> None:
    for kind in ("script", "target", "environment"):
        copy_with_edit(project, tmp_path / kind, *DEFECTS[f"missing {kind}"][:3])
        assert faults_in(tmp_path / kind) == []


def test_a_removed_script_is_reported(
    project: BakedProject, faults_in: FaultsIn, tmp_path: Path
) -> None:
    copy_with_edit(project, tmp_path, TRAIN, "monitor.py", "monitor.py")
    scripts = tmp_path / "operation" / "execution"
    shutil.copytree(project.path / "operation" / "execution", scripts)
    assert faults_in(tmp_path) == []
    (scripts / "monitor.py").rename(scripts / "watch.py")
    (fault,) = faults_in(tmp_path)
    assert "named monitor" in fault


def test_missing_or_unreadable_files_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotCheckError, match="the folder pipelines does not exist"):
        check(Path("pipelines"))
    with pytest.raises(CannotCheckError, match="no YAML file"):
        check(tmp_path)
    (tmp_path / "ci.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(CannotCheckError, match="cannot be read"):
        check(tmp_path)


def test_only_azure_projects_have_azure_pipelines(baked: Callable[..., BakedProject]) -> None:
    project = baked(ci_provider="github_actions")
    assert not (project.path / "azure_pipelines").exists()
    assert not (baked(ci_provider="azure_pipelines").path / ".github").exists()
