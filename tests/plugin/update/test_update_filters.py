"""Git filters of the project apply in both directions; a failing one leaves no partial update.

git-lfs need not be installed: the driver in this file also replaces contents with pointers.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugin.update.updating import Files, Outcome, Project, Template, git, lines, read

PICTURES = {f"p{number}.png": bytes([number]) + bytes(range(256)) * 4 for number in range(1, 6)}
TRACK = "*.png filter=big diff=big merge=big -text\n"

CLEAN = """#!/bin/sh
test -z "$NO_CLEAN" || exit 1
copy=$(mktemp "{store}/new.XXXXXX")
cat > "$copy"
if test "$(head -c 8 "$copy" | tr -d '\\0')" = "pointer "; then cat "$copy"; rm "$copy"; exit; fi
name=$(sha256sum < "$copy" | cut -c 1-64)
mv "$copy" "{store}/$name"
echo "pointer $name"
"""
SMUDGE = """#!/bin/sh
case " $NO_SMUDGE " in *" $1 "*) echo "no $1 today" >&2; exit 1;; esac
read -r word name
cat "{store}/$name"
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template whose releases change all pictures and add one, then change one again."""
    template = Template(tmp_path_factory.mktemp("template") / "small")
    template.release("v1", {**PICTURES, "a.py": lines("a"), "b.txt": lines("b"), "gone.py": "x\n"})
    changed = {name: content[::-1] for name, content in PICTURES.items()}
    text = {"a.py": lines("a", l10="TEMPLATE"), "b.txt": lines("b", l10="TEMPLATE")}
    template.release("v2", {**changed, **text, "p6.png": b"\0six", "gone.py": None})
    template.release("v3", {"p1.png": b"\0one", "b.txt": lines("b", l10="AGAIN")})
    return template


def use_filter(project: Project, store: Path, *, required: bool = True) -> None:
    """Set up the driver like git-lfs."""
    store.mkdir(exist_ok=True)
    for name, text in {"clean": CLEAN, "smudge": SMUDGE}.items():
        (store / name).write_text(text.format(store=store), encoding="utf-8")
        (store / name).chmod(0o755)
    settings = {
        "clean": f"{store}/clean",
        "smudge": f"{store}/smudge %f",
        "required": str(required),
    }
    for key, value in settings.items():
        git(project.path, "config", f"filter.big.{key}", value)


@pytest.fixture(scope="module")
def filtered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pictures are filtered, for copies."""
    project = template.project("v1", tmp_path_factory.mktemp("filtered"))
    use_filter(project, tmp_path_factory.mktemp("store"))
    project.write({".gitattributes": TRACK})
    git(project.path, "add", "--renormalize", ".")
    project.commit("pictures in the store")
    return project


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project without a filter, for copies."""
    return template.project("v1", tmp_path_factory.mktemp("rendered"))


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Project], Project]:
    """Copy a project."""
    number = iter(range(9))

    def make(project: Project) -> Project:
        folder = shutil.copytree(project.path, tmp_path / f"{next(number)}" / "demo", symlinks=True)
        return Project(Path(folder), project.template)

    return make


@pytest.fixture
def project(filtered: Project, copy: Callable[[Project], Project]) -> Project:
    """A project whose pictures are filtered."""
    return copy(filtered)


def blob(project: Project, name: str, stage: int = 0) -> str:
    """Return the content of a file in the index."""
    return git(project.path, "cat-file", "blob", f":{stage}:{name}")


def update_and_commit(project: Project, to: str, **environment: str) -> Outcome:
    """Update, commit, and check that git reports no differences."""
    outcome = project.update("--to", to, **environment)
    assert outcome.status == 0, outcome.printed
    project.commit(to)
    git(project.path, "add", "--renormalize", ".")  # apply the current filters
    assert project.status() == []
    return outcome


class TestFilter:
    def test_pictures_of_the_template_are_cleaned_and_smudged(self, project: Project) -> None:
        outcome = update_and_commit(project, "v2")
        assert ("updated", "p3.png") in outcome.report
        assert ("added", "p6.png") in outcome.report
        for name in ("p3.png", "p6.png"):
            assert blob(project, name).startswith("pointer ")
        assert (project.path / "p3.png").read_bytes() == PICTURES["p3.png"][::-1]
        assert (project.path / "p6.png").read_bytes() == b"\0six"
        update_and_commit(project, "v3")
        assert (project.path / "p1.png").read_bytes() == b"\0one"

    def test_keeps_your_version_of_a_picture_that_both_changed(self, project: Project) -> None:
        project.edit({"p2.png": b"\0mine"})
        outcome = project.update("--to", "v2")
        assert outcome.status == 1
        assert [path for kind, path in outcome.report if kind == "conflict"] == ["p2.png"]
        assert (project.path / "p2.png").read_bytes() == b"\0mine"
        assert blob(project, "p2.png", stage=3).startswith("pointer ")
        shown = next(line for line in outcome.out.splitlines() if "p2.png" in line).split(
            "version: "
        )
        command = shown[1].rstrip(")").split()[1:]
        theirs = subprocess.run(["git", *command], cwd=project.path, capture_output=True).stdout
        assert theirs == PICTURES["p2.png"][::-1]

    def test_pictures_committed_before_the_filter_do_not_count_as_edits(
        self, rendered: Project, copy: Callable[[Project], Project], tmp_path: Path
    ) -> None:
        """`git add` does not store a file again after a change of its attributes."""
        project = copy(rendered)
        use_filter(project, tmp_path / "store")
        for name in PICTURES:
            os.utime(project.path / name, (1e9, 1e9))  # older than the index
        git(project.path, "update-index", "--refresh")
        project.write({".gitattributes": TRACK})
        git(project.path, "add", ".gitattributes")
        git(project.path, "commit", "--quiet", "--message", "from now on")
        assert not blob(project, "p1.png").startswith("pointer ")
        outcome = project.update("--to", "v2")
        assert outcome.status == 0, outcome.printed
        assert blob(project, "p1.png").startswith("pointer ")
        assert (project.path / "p1.png").read_bytes() == PICTURES["p1.png"][::-1]

    @pytest.mark.parametrize("where", ["info", "above"])
    def test_is_read_from_all_attribute_files_of_git(
        self, rendered: Project, copy: Callable[[Project], Project], tmp_path: Path, where: str
    ) -> None:
        project = copy(rendered)
        if where == "info":
            project.write({".git/info/attributes": TRACK})
        else:
            (project.path / ".git").rename(project.path.parent / ".git")
            (project.path.parent / ".gitattributes").write_text("demo/" + TRACK, encoding="utf-8")
        use_filter(project, tmp_path / "store")
        git(project.path, "add", "--renormalize", ".")
        git(project.path, "add", "--all", ":/")
        project.commit("pictures in the store")
        update_and_commit(project, "v2")
        assert git(project.path, "cat-file", "blob", ":./p6.png").startswith("pointer ")
        assert (project.path / "p6.png").read_bytes() == b"\0six"

    def test_added_by_the_template_applies_immediately(self, tmp_path: Path) -> None:
        template = Template(tmp_path / "bringing", "https://templates.example/bringing.git")
        template.release("v1", {"p1.png": PICTURES["p1.png"], "same.png": b"\0same"})
        attributes = TRACK + "*.txt text working-tree-encoding=UTF-16LE-BOM\n"
        text = "\ufeffgrüße\n".encode("utf-16-le")
        files: Files = {".gitattributes": attributes, "p1.png": b"\0new", "u.txt": text}
        template.release("v2", files)
        project = template.project("v1", tmp_path / "project")
        use_filter(project, tmp_path / "store")
        outcome = project.update()
        assert outcome.status == 0, outcome.printed
        assert "git add --renormalize ." in outcome.out
        assert blob(project, "p1.png").startswith("pointer ")
        assert (project.path / "p1.png").read_bytes() == b"\0new"
        assert blob(project, "u.txt") == "grüße\n"
        assert (project.path / "u.txt").read_bytes() == text

    def test_git_lfs_must_be_configured_for_changed_pictures(
        self, rendered: Project, copy: Callable[[Project], Project]
    ) -> None:
        project = copy(rendered)
        project.edit({".gitattributes": "*.png filter=lfs -text\n*.md filter=unknown\n"})
        before = project.snapshot()
        refused = project.update("--to", "v2")
        assert refused.status == 2
        assert "git lfs install" in refused.err
        assert project.snapshot() == before
        project.edit({".gitattributes": "*.gif filter=lfs -text\n*.py filter=unknown\n"})
        assert project.update("--to", "v2").status == 0


class TestLineEndsAndEncodings:
    def test_uses_line_ends_of_the_project(
        self, rendered: Project, copy: Callable[[Project], Project]
    ) -> None:
        project = copy(rendered)
        project.edit({".gitattributes": "*.txt text eol=crlf\n"})
        update_and_commit(project, "v2")
        text = lines("b", l10="TEMPLATE")
        assert blob(project, "b.txt") == text
        assert project.text("b.txt") == text.replace("\n", "\r\n")
        update_and_commit(project, "v3")

    def test_uses_line_ends_of_the_users_settings(
        self, rendered: Project, copy: Callable[[Project], Project]
    ) -> None:
        project = copy(rendered)
        git(project.path, "config", "core.autocrlf", "true")
        update_and_commit(project, "v2")
        text = lines("b", l10="TEMPLATE")
        assert blob(project, "b.txt") == text
        assert project.text("b.txt") == text.replace("\n", "\r\n")
        assert (project.path / "p1.png").read_bytes() == PICTURES["p1.png"][::-1]
        update_and_commit(project, "v3")

    @pytest.mark.parametrize("encoding", ["UTF-16", "UTF-16LE-BOM", "ISO-8859-1"])
    def test_uses_the_encoding_of_the_project(
        self, rendered: Project, copy: Callable[[Project], Project], encoding: str
    ) -> None:
        project = copy(rendered)
        name = {"UTF-16LE-BOM": "utf-16"}.get(encoding, encoding)
        project.write({".gitattributes": f"*.txt text working-tree-encoding={encoding}\n"})
        mine = lines("b", l25="größer")
        project.edit({"b.txt": mine.encode(name)})
        assert blob(project, "b.txt") == mine
        outcome = update_and_commit(project, "v2")
        assert ("merged", "b.txt") in outcome.report
        merged = lines("b", l10="TEMPLATE", l25="größer")
        assert blob(project, "b.txt") == merged
        assert (project.path / "b.txt").read_bytes().decode(name) == merged
        update_and_commit(project, "v3")

    def test_the_record_may_be_in_another_encoding(
        self, rendered: Project, copy: Callable[[Project], Project]
    ) -> None:
        project = copy(rendered)
        project.write({".gitattributes": "*.json text working-tree-encoding=UTF-16\n"})
        project.edit({".cruft.json": project.text(".cruft.json").encode("utf-16")})
        update_and_commit(project, "v2")
        assert '"checkout": "v2"' in (project.path / ".cruft.json").read_bytes().decode("utf-16")


class TestMerge:
    """Git's own ways to merge: yours is kept, or both sides are."""

    @pytest.mark.parametrize("attribute", ["binary", "-merge", "merge=binary"])
    def test_your_version_of_an_indivisible_file_is_kept(
        self, rendered: Project, copy: Callable[[Project], Project], attribute: str
    ) -> None:
        project = copy(rendered)
        mine = lines("b", l25="MINE")
        project.edit({".gitattributes": f"*.txt {attribute}\n", "b.txt": mine})
        outcome = project.update("--to", "v2")
        assert outcome.status == 1
        assert [path for kind, path in outcome.report if kind == "conflict"] == ["b.txt"]
        assert "the file is yours" in outcome.out
        assert project.text("b.txt") == mine
        assert blob(project, "b.txt", stage=3) == lines("b", l10="TEMPLATE")

    def test_a_file_merged_by_union_has_the_lines_of_both(
        self, rendered: Project, copy: Callable[[Project], Project]
    ) -> None:
        project = copy(rendered)
        project.edit({".gitattributes": "*.txt merge=union\n", "b.txt": lines("b", l10="MINE")})
        outcome = project.update("--to", "v2")
        assert outcome.status == 0, outcome.printed
        assert project.text("b.txt") == lines("b", l10="MINE\nTEMPLATE")

    def test_a_driver_of_the_project_does_not_apply(
        self, rendered: Project, copy: Callable[[Project], Project], tmp_path: Path
    ) -> None:
        project = copy(rendered)
        git(project.path, "config", "merge.mine.driver", f"touch {tmp_path}/called")
        project.edit({".gitattributes": "*.txt merge=mine\n", "b.txt": lines("b", l25="MINE")})
        assert project.update("--to", "v2").status == 0
        assert project.text("b.txt") == lines("b", l10="TEMPLATE", l25="MINE")
        assert not (tmp_path / "called").exists()

    def test_the_rule_applies_only_to_paths_that_it_names(self, tmp_path: Path) -> None:
        template = Template(tmp_path / "odd")
        names = ("a[1].txt", "a1.txt", "sub dir/*.txt", "sub dir/x.txt", '"q" #.txt')
        template.release("v1", {name: lines("a") for name in names})
        template.release("v2", {name: lines("a", l10="TEMPLATE") for name in names})
        project = template.project("v1", tmp_path / "project")
        kept = {"a[1].txt", "sub dir/*.txt", '"q" #.txt'}
        rules = "a\\[1\\].txt -merge\n*#.txt -merge\n"
        project.write({".gitattributes": rules, "sub dir/.gitattributes": "[*].txt -merge\n"})
        project.edit({name: lines("a", l25="MINE") for name in names})
        outcome = project.update()
        assert {path for kind, path in outcome.report if kind == "conflict"} == kept
        assert {path for kind, path in outcome.report if kind == "merged"} == {*names} - kept


class TestFailure:
    """Failing filters: the update is refused with git's message, and changes nothing."""

    def refused(self, project: Project, words: str, **environment: str) -> None:
        before = read(project.path), git(project.path, "ls-files", "--stage")
        refused = project.update("--to", "v2", **environment)
        assert refused.status == 2, refused.printed
        assert "git could not convert a file" in refused.err
        assert words in refused.err
        assert "Traceback" not in refused.err
        assert not (project.path / ".git" / "index.lock").exists()
        assert project.update("--abort").status == 2  # nothing is left to undo
        assert (read(project.path), git(project.path, "ls-files", "--stage")) == before

    @pytest.mark.parametrize("name", ["p1.png", "p3.png", "p6.png"])
    @pytest.mark.parametrize("required", [True, False])
    def test_while_smudging_a_file(self, project: Project, name: str, required: bool) -> None:
        git(project.path, "config", "filter.big.required", str(required))
        self.refused(project, f"no {name} today", NO_SMUDGE=name)
        assert project.update("--to", "v2").status == 0

    @pytest.mark.parametrize("required", [True, False])
    def test_while_cleaning_a_render(self, project: Project, required: bool) -> None:
        git(project.path, "config", "filter.big.required", str(required))
        self.refused(project, "clean", NO_CLEAN="1")
        assert project.update("--to", "v2").status == 0

    @pytest.mark.parametrize("way", ["clean", "smudge", "process"])
    def test_of_a_missing_program(self, project: Project, way: str) -> None:
        config = project.path / ".git" / "config"
        working = config.read_text(encoding="utf-8")
        git(project.path, "config", f"filter.big.{way}", "no-such-program")
        self.refused(project, "no-such-program")
        config.write_text(working, encoding="utf-8")
        assert project.update("--to", "v2").status == 0

    def test_of_a_missing_object(
        self, rendered: Project, copy: Callable[[Project], Project], tmp_path: Path
    ) -> None:
        project = copy(rendered)
        use_filter(project, tmp_path / "store")
        project.write({".gitattributes": TRACK})
        git(project.path, "add", "--renormalize", ".")
        project.commit("pictures in the store")
        clean = tmp_path / "store" / "clean"
        text = clean.read_text(encoding="utf-8")
        clean.write_text(text.replace("mv ", "rm "), encoding="utf-8")  # stores nothing
        self.refused(project, "No such file")

    @pytest.mark.parametrize("conflict", [False, True])
    def test_does_not_prevent_undoing_an_update(self, project: Project, conflict: bool) -> None:
        if conflict:
            project.edit({"a.py": lines("a", l10="MINE"), "p2.png": b"\0mine"})
        before = project.snapshot()
        assert project.update("--to", "v2").status == int(conflict)
        settings = {way: git(project.path, "config", f"filter.big.{way}").strip()
                    for way in ("clean", "smudge")}  # fmt: skip
        for way in settings:
            git(project.path, "config", f"filter.big.{way}", "no-such-program")
        undone = project.update("--abort")
        assert undone.status == 0, undone.printed
        for way, command in settings.items():
            git(project.path, "config", f"filter.big.{way}", command)
        assert project.snapshot() == before
        assert not (project.path / ".git" / "template-update" / "old").exists()

    def test_keeps_later_edits_when_an_update_is_undone(self, project: Project) -> None:
        before = project.snapshot()
        assert project.update("--to", "v2").status == 0
        project.write({"p3.png": b"\0edited"})
        undone = project.update("--abort", NO_CLEAN="1", NO_SMUDGE="p3.png")
        assert undone.status == 0, undone.printed
        folder = Path(undone.out.strip().rpartition(" ")[2])
        assert (folder / "p3.png").read_bytes() == b"\0edited"
        assert [path.name for path in folder.iterdir()] == ["p3.png"]
        assert project.snapshot() == before
