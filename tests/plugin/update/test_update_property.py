"""Random edits: no update loses them, and each update reports all of its changes.

SEEDS=200 tests more of them.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.plugin.update.update_seeds import User, judge, release, resolve_conflicts, unmerged
from tests.plugin.update.updating import Project, Template, git

SEEDS = int(os.environ.get("SEEDS", "40"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with three releases."""
    template = Template(tmp_path_factory.mktemp("template") / "small")
    for number in (1, 2, 3):
        gone = {} if number == 1 else {n for n, c in release(number - 1).items() if c is None}
        files = {n: c for n, c in release(number).items() if n not in gone or c is not None}
        template.release(f"v{number}", files)
    return template


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project made from the first release, for copies."""
    return template.project("v1", tmp_path_factory.mktemp("rendered"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost(rendered: Project, tmp_path: Path, seed: int) -> None:
    copy = shutil.copytree(rendered.path, tmp_path / "demo", symlinks=True)
    project = Project(Path(copy), rendered.template)
    user = User(seed, project.path)
    for number in (2, 3):
        user.edit_randomly(number)
        project.commit()
        outcome = project.update("--to", f"v{number}")
        assert outcome.status in (0, 1), outcome.printed
        verdict = judge(user, number, outcome.status, outcome.out)
        assert verdict.is_good, f"{verdict}\n{outcome.printed}"
        # Every changed file is reported, and so is every conflict.
        options = ("--name-only", "--no-renames", "-z", "HEAD")
        touched = set(git(project.path, "diff", *options).split("\0")) - {"", ".cruft.json"}
        assert [path for path in touched if path not in outcome.out] == []
        named = {path for kind, path in outcome.report if kind == "conflict"}
        assert unmerged(project.path).keys() <= {*named, *(p for p in touched if p in outcome.out)}
        resolve_conflicts(project.path)


def test_the_judge_reports_losses(rendered: Project, tmp_path: Path) -> None:
    """The counterexample: an update that overwrites the project with the template's files."""
    copy = shutil.copytree(rendered.path, tmp_path / "demo", symlinks=True)
    project = Project(Path(copy), rendered.template)
    user = User(1, project.path)
    user.insert("OWN2X900Z")
    user.redraw("OWN2X901Z")
    user.delete("OWN2X902Z")
    project.commit()
    for path in project.path.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(rendered.template.render("v1", tmp_path / "v1"), copy, dirs_exist_ok=True)
    verdict = judge(user, 2, 1, "")
    assert sorted(verdict.lost) == ["OWN2X900Z", "OWN2X901Z"]
    assert verdict.resurrected
    assert verdict.unmentioned
    assert verdict.wrong_status
