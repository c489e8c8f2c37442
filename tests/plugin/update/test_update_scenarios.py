"""A project's files after an update, one situation per test."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugin.update.updating import (
    FIRST,
    MARKERS,
    PNG,
    SECOND,
    Outcome,
    Project,
    Template,
    git,
    lines,
    read,
    two_releases,
)

NewProject = Callable[[], Project]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with two releases."""
    return two_releases(tmp_path_factory.mktemp("template") / "small")


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project made from the first release, for copies."""
    return template.project("v1", tmp_path_factory.mktemp("rendered"))


@pytest.fixture
def project(rendered: Project, template: Template, tmp_path: Path) -> Project:
    """A project made from the first release."""
    return Project(Path(shutil.copytree(rendered.path, tmp_path / "demo", symlinks=True)), template)


def fresh(template: Template, tmp_path: Path, tag: str = "v2") -> dict[str, bytes]:
    """Return the files of a fresh render."""
    return read(template.render(tag, tmp_path / "fresh"))


def without_record(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return files except the record."""
    return {name: content for name, content in files.items() if name != ".cruft.json"}


class TestWithoutEdits:
    def test_the_tree_is_a_fresh_render(self, project: Project, tmp_path: Path) -> None:
        outcome = project.update()
        assert outcome.status == 0, outcome.printed
        assert without_record(read(project.path)) == fresh(project.template, tmp_path)
        assert project.state["checkout"] == "v2"
        assert project.state["commit"] == project.template.commits["v2"]
        assert all(line[1] == " " for line in project.status()), "something is not staged"

    def test_a_second_update_does_nothing(self, project: Project) -> None:
        project.update()
        project.commit("updated")
        before = project.snapshot()
        again = project.update()
        assert again.status == 0
        assert "nothing to do: this project is at v2" in again.out
        assert project.snapshot() == before

    def test_a_fresh_clone_gets_the_same_update(self, project: Project, tmp_path: Path) -> None:
        git(tmp_path, "clone", "--quiet", str(project.path), str(tmp_path / "clone"))
        clone = Project(tmp_path / "clone", project.template)
        assert clone.update().status == 0
        assert project.update().status == 0
        assert read(clone.path) == read(project.path)

    def test_a_repository_with_longer_hashes_gets_the_same_update(
        self, project: Project, template: Template, tmp_path: Path
    ) -> None:
        project.edit({"a.py": lines("a", l10="MINE")})  # conflicts
        other = shutil.copytree(project.path, tmp_path / "sha256", ignore=lambda *_: [".git"])
        git(other, "init", "--quiet", "--object-format=sha256")
        longer = Project(Path(other), template)
        longer.commit("the same files")
        assert longer.update().status == project.update().status == 1
        assert longer.status() == project.status()
        files, expected = read(longer.path), read(project.path)
        assert b"MINE" in files.pop("a.py")  # a marker contains the hash of the commit
        expected.pop("a.py")
        assert files == expected

    def test_every_change_of_the_template_is_named(self, project: Project) -> None:
        reported = {path for _, path in project.update().report}
        assert reported == SECOND.keys() - {"old.py", "params.yml"}


class TestText:
    def test_edits_of_different_lines_are_merged(self, project: Project) -> None:
        project.edit({"a.py": lines("a", l25="MINE")})
        outcome = project.update()
        assert outcome.status == 0
        assert project.text("a.py") == lines("a", l10="TEMPLATE", l25="MINE")
        assert ("merged", "a.py") in outcome.report

    @pytest.mark.parametrize("line", ["l10", "l11", "l9"])
    def test_edits_of_the_same_or_the_adjacent_line_conflict(
        self, project: Project, line: str
    ) -> None:
        project.edit({"a.py": lines("a", **{line: "MINE"})})
        outcome = project.update()
        assert outcome.status == 1
        assert ("conflict", "a.py") in outcome.report
        text = project.text("a.py")
        assert all(marker in text for marker in (*MARKERS, "MINE\n", "TEMPLATE\n"))
        assert "UU a.py" in project.status()

    def test_the_same_edit_on_both_sides_is_no_conflict(self, project: Project) -> None:
        project.edit({"a.py": lines("a", l10="TEMPLATE")})
        outcome = project.update()
        assert outcome.status == 0
        assert ("already applied", "a.py") in outcome.report

    @pytest.mark.parametrize("how", ["indented", "crlf"])
    def test_a_reformatted_file_conflicts_and_keeps_both(self, project: Project, how: str) -> None:
        mine = lines("a").replace("\n", "\r\n" if how == "crlf" else "\n    ")
        project.edit({"a.py": mine})
        outcome = project.update()
        assert outcome.status == 1
        text = project.text("a.py")
        assert "TEMPLATE" in text
        assert all(line in text for line in mine.splitlines())

    def test_an_invalid_pyproject_is_merged_like_any_text(self, project: Project) -> None:
        project.edit({"pyproject.toml": "[project\n" + FIRST["pyproject.toml"] + "x = \n" * 9})
        outcome = project.update()
        assert outcome.status in (0, 1)
        assert project.text("pyproject.toml").startswith("[project\n")
        assert 'version = "2"' in project.text("pyproject.toml")

    def test_edits_of_files_that_the_template_does_not_change_are_kept(
        self, project: Project
    ) -> None:
        project.edit({"same.py": lines("mine")})
        outcome = project.update()
        assert outcome.status == 0
        assert project.text("same.py") == lines("mine")
        assert "same.py" not in outcome.out


class TestDeletedAndMoved:
    def test_a_deleted_sample_stays_deleted(self, project: Project) -> None:
        """The template changes one file of the sample and adds one."""
        project.edit({"sample/nodes.py": None, "sample/pipeline.py": None})
        outcome = project.update()
        assert outcome.status == 0
        assert not [name for name in read(project.path) if name.startswith("sample/")]
        assert ("left deleted", "sample/nodes.py") in outcome.report
        assert ("left out", "sample/extra.py") in outcome.report

    def test_a_file_is_added_to_a_partly_deleted_folder(self, project: Project) -> None:
        project.edit({"sample/nodes.py": None})
        outcome = project.update()
        assert project.text("sample/extra.py") == lines("extra")
        assert ("added", "sample/extra.py") in outcome.report
        assert ("left deleted", "sample/nodes.py") in outcome.report

    def test_an_edited_file_follows_the_templates_rename(self, project: Project) -> None:
        project.edit({"old.py": lines("old", l25="MINE")})
        outcome = project.update()
        assert outcome.status == 0
        assert not project.has("old.py")
        assert project.text("new.py") == lines("old", l3="TEMPLATE", l25="MINE")
        assert ("moved", "new.py") in outcome.report

    def test_a_deleted_file_stays_deleted_when_the_template_renames_it(
        self, project: Project
    ) -> None:
        project.edit({"old.py": None})
        outcome = project.update()
        assert outcome.status == 0
        assert not project.has("new.py")
        assert ("left deleted", "old.py") in outcome.report

    def test_a_rename_to_a_users_file_conflicts(self, project: Project) -> None:
        project.edit({"new.py": lines("quite different"), "old.py": lines("old", l25="MINE")})
        outcome = project.update()
        assert outcome.status == 1
        assert ("conflict", "new.py") in outcome.report
        text = project.text("new.py")
        assert all(line in text for line in lines("quite different").splitlines())
        assert "MINE" in text
        assert "TEMPLATE" in text

    def test_an_edited_file_that_the_template_deletes_is_kept_and_conflicts(
        self, project: Project
    ) -> None:
        project.edit({"dropped.py": lines("dropped", l25="MINE")})
        outcome = project.update()
        assert outcome.status == 1
        assert project.text("dropped.py") == lines("dropped", l25="MINE")
        assert ("conflict", "dropped.py") in outcome.report
        assert "UD dropped.py" in project.status()

    def test_an_unedited_file_that_the_template_deletes_is_removed(self, project: Project) -> None:
        outcome = project.update()
        assert not project.has("dropped.py")
        assert ("removed", "dropped.py") in outcome.report

    def test_a_moved_file_gets_the_templates_change(self, project: Project) -> None:
        project.move("folder/deep.py", "elsewhere/deep.py")
        outcome = project.update()
        assert outcome.status == 0
        assert project.text("elsewhere/deep.py") == lines("deep", l3="TEMPLATE")
        assert not project.has("folder/deep.py")
        assert ("merged", "elsewhere/deep.py") in outcome.report
        assert "folder/deep.py" in outcome.out

    def test_a_file_that_both_moved_conflicts(self, project: Project) -> None:
        project.move("old.py", "mine.py")
        outcome = project.update()
        assert outcome.status == 1
        assert project.text("mine.py") == project.text("new.py")
        assert {"conflict"} == {
            kind for kind, path in outcome.report if path in ("mine.py", "new.py")
        }


def replace_folder(project: Project, name: str, kind: str) -> None:
    """Replace a folder of the project by a file, a link or a submodule, and commit that."""
    git(project.path, "rm", "-r", "--quiet", name)
    outside = project.path.parent / "outside"
    outside.mkdir()
    (outside / "data.csv").write_text("1,2\n", encoding="utf-8")
    if kind == "file":
        project.write({name: "see the wiki\n"})
    elif kind == "link":
        (project.path / name).symlink_to(outside)
    else:
        git(outside, "init", "--quiet")
        git(outside, "add", "--all")
        git(outside, "commit", "--quiet", "--message", "data")
        add = ("submodule", "--quiet", "add", str(outside), name)
        git(project.path, "-c", "protocol.file.allow=always", *add)
    project.commit()


class TestReplaced:
    """Files and folders that became something else."""

    @pytest.mark.parametrize("kind", ["file", "link", "submodule"])
    def test_a_replaced_folder_stays(self, project: Project, kind: str) -> None:
        """The template changes one file of the sample and adds one."""
        replace_folder(project, "sample", kind)
        before = project.snapshot()["index"].splitlines()
        outcome = project.update()
        assert outcome.status == 0, outcome.printed
        assert ("left deleted", "sample/nodes.py") in outcome.report
        assert ("left out", "sample/extra.py") in outcome.report
        (mine,) = (line for line in before if line.endswith("\tsample"))
        assert mine in project.snapshot()["index"].splitlines()
        assert all(line[1] == " " for line in project.status())
        assert not [name for name in project.path.iterdir() if "~" in name.name]
        if kind != "file":
            assert [p.name for p in (project.path / "sample").glob("[!.]*")] == ["data.csv"]
        assert project.text("a.py") == lines("a", l10="TEMPLATE"), "the rest is updated"

    def test_files_moved_out_of_a_replaced_folder_are_merged(self, project: Project) -> None:
        project.move("folder/deep.py", "elsewhere/deep.py")
        shutil.rmtree(project.path / "folder", ignore_errors=True)
        project.edit({"folder": "MINE\n"})
        outcome = project.update()
        assert outcome.status == 0, outcome.printed
        assert project.text("elsewhere/deep.py") == lines("deep", l3="TEMPLATE")
        assert project.text("folder") == "MINE\n"

    def test_a_file_in_place_of_a_folder_that_the_template_adds_stays(self, tmp_path: Path) -> None:
        template = Template(tmp_path / "small")
        template.release("v1", {"conf": lines("conf"), "a.py": lines("a")})
        template.release("v2", {"conf": None})
        template.release("v3", {"conf/base.yml": "base: 1\n"})
        unedited = template.project("v1", tmp_path / "unedited")
        assert unedited.update().status == 0
        assert unedited.text("conf/base.yml") == "base: 1\n"
        edited = template.project("v1", tmp_path / "edited")
        edited.edit({"conf": lines("conf", l3="MINE")})
        outcome = edited.update()
        assert outcome.status == 1
        assert ("conflict", "conf") in outcome.report
        assert ("left out", "conf/base.yml") in outcome.report
        assert edited.text("conf") == lines("conf", l3="MINE")

    @pytest.mark.parametrize("name", ["a.py", "added.py"], ids=["changed", "added"])
    def test_your_link_is_kept_in_place_of_a_file_of_the_template(
        self, project: Project, name: str
    ) -> None:
        (project.path / name).unlink(missing_ok=True)
        (project.path / name).symlink_to("same.py")
        project.commit()
        outcome = project.update()
        assert outcome.status == 1
        assert [path for kind, path in outcome.report if kind == "conflict"] == [name]
        assert f"the file is yours; the template's version: git show :3:./{name}" in outcome.out
        assert str((project.path / name).readlink()) == "same.py"
        theirs = lines("a", l10="TEMPLATE") if name == "a.py" else lines("added")
        assert git(project.path, "show", f":3:./{name}") == theirs
        assert not [path for path in project.path.iterdir() if "~" in path.name]
        assert project.update("--abort").status == 0
        assert project.status() == []


class TestOwnFiles:
    def test_a_file_added_by_both_conflicts(self, project: Project) -> None:
        project.edit({"added.py": "MINE\n"})
        outcome = project.update()
        assert outcome.status == 1
        assert "MINE\n" in project.text("added.py")
        assert "added line 1\n" in project.text("added.py")
        assert ("conflict", "added.py") in outcome.report

    @pytest.mark.parametrize("name", ["added.py", "debug.log"], ids=["untracked", "ignored"])
    def test_an_untracked_file_is_never_overwritten(self, project: Project, name: str) -> None:
        project.write({name: "MINE\n"})
        before = project.snapshot()
        refused = project.update()
        assert refused.status == 2
        assert f"  {name}" in refused.err
        assert project.snapshot() == before
        (project.path / name).unlink()
        assert project.update().status == 0

    def test_a_file_in_place_of_a_template_folder_is_never_overwritten(
        self, project: Project
    ) -> None:
        project.edit({"folder/deep.py": None})
        git(project.path, "mv", "sample", "kept")
        project.commit()
        project.write({"sample": "MINE\n"})
        assert project.update().status == 0  # nothing is added to a folder that was moved
        assert project.text("sample") == "MINE\n"

    def test_a_rename_that_changes_only_case_is_done(self, tmp_path: Path) -> None:
        """A hard link stands for the second name that a disk without case has for a file."""
        template = Template(tmp_path / "cases", "https://templates.example/cases.git")
        template.release("v1", {"Readme.md": lines("readme")})
        template.release("v2", {"Readme.md": None, "README.md": lines("readme", l3="TEMPLATE")})
        project = template.project("v1", tmp_path / "project")
        project.write({"README.md": "MINE\n"})
        assert project.update().status == 2
        assert project.text("README.md") == "MINE\n"
        (project.path / "README.md").unlink()
        (project.path / "README.md").hardlink_to(project.path / "Readme.md")
        outcome = project.update()
        assert outcome.status == 0, outcome.printed
        assert project.text("README.md") == lines("readme", l3="TEMPLATE")
        assert not project.has("Readme.md")

    def test_other_untracked_files_are_allowed(self, project: Project) -> None:
        project.write({"notes.txt": "MINE\n", "private/key": "MINE\n"})
        assert project.update().status == 0
        assert project.text("notes.txt") == project.text("private/key") == "MINE\n"

    @pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
    def test_a_file_that_git_is_set_to_ignore_is_never_overwritten(
        self, project: Project, flag: str
    ) -> None:
        git(project.path, "update-index", flag, "a.py")
        project.write({"a.py": "MINE\n"})
        refused = project.update()
        assert refused.status == 2
        assert "  a.py" in refused.err
        assert project.text("a.py") == "MINE\n"


@pytest.mark.parametrize("name", ["a.py", "my $file's.py"])
def test_the_command_in_the_report_prints_the_templates_version(tmp_path: Path, name: str) -> None:
    template = Template(tmp_path / "small")
    template.release("v1", {name: lines("a"), "own.py": lines("a"), ".template-owned": f"{name}\n"})
    template.release("v2", {name: lines("a", l3="TEMPLATE")})
    project = template.project("v1", tmp_path / "project")

    def shown(outcome: Outcome) -> str:
        line = next(line for line in outcome.out.splitlines() if f"  {name}" in line)
        command = line.rpartition(": git")[2].rstrip(")")
        shell = ["sh", "-c", f"git{command}"]
        return subprocess.run(shell, cwd=project.path, capture_output=True).stdout.decode()

    project.edit({name: lines("a", l3="MINE")})
    assert "+TEMPLATE" in shown(project.update())
    project.update("--abort")
    project.edit({".template-owned": "# none\n"})
    assert shown(project.update()) == lines("a", l3="TEMPLATE")


class TestBinaries:
    def test_an_unedited_one_is_updated(self, project: Project) -> None:
        assert project.update().status == 0
        assert (project.path / "picture.png").read_bytes() == PNG[::-1]

    def test_the_users_version_is_kept_if_both_changed_it(self, project: Project) -> None:
        project.edit({"picture.png": PNG + b"\0mine"})
        outcome = project.update()
        assert outcome.status == 1
        assert (project.path / "picture.png").read_bytes() == PNG + b"\0mine"
        assert ("conflict", "picture.png") in outcome.report
        theirs = git(project.path, "rev-parse", ":3:picture.png")
        assert theirs == git(
            project.template.path, "rev-parse", "v2:./{{cookiecutter.project_slug}}/picture.png"
        )

    def test_the_users_version_is_kept_if_the_template_did_not_change_it(
        self, project: Project
    ) -> None:
        project.edit({"mine.png": PNG, "notebooks/plot.png": PNG * 2})
        assert project.update().status == 0
        assert (project.path / "mine.png").read_bytes() == PNG
        assert (project.path / "notebooks" / "plot.png").read_bytes() == PNG * 2


class TestOwnedByTheUser:
    def test_is_updated_while_unedited(self, project: Project) -> None:
        outcome = project.update()
        assert project.text("README.md") == lines("readme", l3="TEMPLATE")
        assert ("updated", "README.md") in outcome.report

    def test_is_not_changed_once_edited(self, project: Project) -> None:
        project.edit({"README.md": lines("readme", l25="MINE"), "notebooks/look.ipynb": "MINE\n"})
        outcome = project.update()
        assert outcome.status == 0
        assert project.text("README.md") == lines("readme", l25="MINE")
        assert project.text("notebooks/look.ipynb") == "MINE\n"
        kept = {path for kind, path in outcome.report if kind == "yours kept"}
        assert kept == {"README.md", "notebooks/look.ipynb"}
        shown = git(project.path, "diff", "template/old", "template/new", "--", "README.md")
        assert "+TEMPLATE" in shown

    def test_follows_a_rename_and_keeps_its_edits(self, project: Project) -> None:
        project.edit({"params.yml": lines("params", l3="MINE")})
        outcome = project.update()
        assert outcome.status == 0
        assert project.text("settings.yml") == lines("params", l3="MINE")
        assert not project.has("params.yml")
        assert ("yours kept", "settings.yml") in outcome.report

    def test_stays_deleted(self, project: Project) -> None:
        project.edit({"README.md": None})
        outcome = project.update()
        assert outcome.status == 0
        assert not project.has("README.md")
        assert ("left deleted", "README.md") in outcome.report

    def test_the_users_list_takes_precedence(self, project: Project) -> None:
        project.edit(
            {".template-owned": "/a.py\n", "a.py": lines("a", l25="MINE"),
             "README.md": lines("readme", l25="MINE")}
        )  # fmt: skip
        outcome = project.update()
        assert ("yours kept", "a.py") in outcome.report
        assert ("merged", "README.md") in outcome.report

    def test_files_skipped_by_cruft_are_skipped(self, project: Project) -> None:
        state = project.state | {"skip": ["sample", "a.py"]}
        project.edit({".cruft.json": json.dumps(state, indent=2) + "\n"})
        outcome = project.update()
        assert outcome.status == 0
        assert project.text("a.py") == lines("a")
        assert project.text("sample/nodes.py") == lines("nodes")
        assert not project.has("sample/extra.py")
        assert project.state["skip"] == ["sample", "a.py"]
        kept = {path for kind, path in outcome.report if kind == "yours kept"}
        assert kept == {"a.py", "sample/extra.py", "sample/nodes.py"}

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_files_skipped_by_cruft_in_pyproject_are_skipped(
        self, project: Project, mark: str
    ) -> None:
        project.edit({
            ".cruft.json": json.dumps(project.state | {"skip": ["sample"]}),
            "pyproject.toml": f"{mark}{FIRST['pyproject.toml']}[tool.cruft]\nskip = ['a.py']\n",
        })  # fmt: skip
        outcome = project.update()
        assert project.text("a.py") == lines("a")
        assert project.text("sample/nodes.py") == lines("nodes")
        assert project.text("folder/deep.py") == lines("deep", l3="TEMPLATE")
        kept = {path for kind, path in outcome.report if kind == "yours kept"}
        assert kept == {"a.py", "sample/extra.py", "sample/nodes.py"}
