"""The updater's command line: accepted and refused options; a refusal changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin.update.rendering import SOURCES
from tests.plugin.update.updating import (
    ADDRESSES,
    FIRST,
    SECOND,
    WORD,
    Project,
    Template,
    git,
    lines,
    read,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with two releases, and a release candidate of a third."""
    template = Template(tmp_path_factory.mktemp("template") / "small")
    template.release("v1.9.0", FIRST)
    template.release("v1.10.0", SECOND)
    template.release("v2.0.0rc1", {"same.py": "candidate\n"})
    return template


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project made from the first release, for copies."""
    return template.project("v1.9.0", tmp_path_factory.mktemp("rendered"))


@pytest.fixture
def project(rendered: Project, template: Template, tmp_path: Path) -> Project:
    """A project made from the first release."""
    return Project(Path(shutil.copytree(rendered.path, tmp_path / "demo", symlinks=True)), template)


@pytest.fixture(autouse=True)
def nothing_left_behind(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Check that an update leaves its own folder for temporary files empty."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(folder))
    yield
    assert list(folder.iterdir()) == []


class TestReleases:
    def test_the_highest_version_except_candidates_is_the_default(self, project: Project) -> None:
        assert project.update().status == 0
        assert project.state["checkout"] == "v1.10.0"

    def test_check_reports_a_newer_release_without_changes(self, project: Project) -> None:
        before = project.snapshot()
        newer = project.update("--check")
        assert newer.status == 1
        assert "at v1.9.0; the newest release is v1.10.0" in newer.out
        assert project.snapshot() == before

    def test_check_passes_for_the_newest_release(self, project: Project) -> None:
        project.update()
        assert project.update("--check").status == 0

    def test_to_selects_another_release(self, project: Project) -> None:
        assert project.update("--to", "v2.0.0rc1").status == 0
        assert project.text("same.py") == "candidate\n"
        assert project.state["checkout"] == "v2.0.0rc1"

    def test_to_accepts_a_branch_and_records_its_commit(self, project: Project) -> None:
        assert project.update("--to", "main").status == 0
        assert project.state["checkout"] is None
        assert project.state["commit"] == project.template.commits["v2.0.0rc1"]

    def test_check_reports_a_release_whose_tag_was_moved(self, tmp_path: Path) -> None:
        template = Template(tmp_path / "moving", "https://templates.example/moving.git")
        template.release("v1", {"a.py": lines("a")})
        project = template.project("v1", tmp_path / "project")
        assert project.update("--check").status == 0
        commit = template.release("later", {"a.py": lines("a", l3="TEMPLATE")})
        git(template.path, "tag", "--force", "v1")
        checked = project.update("--check")
        assert checked.status == 1
        assert f"the newest release is v1 at another commit, {commit[:12]}" in checked.out
        assert project.update().status == 0
        assert project.text("a.py") == lines("a", l3="TEMPLATE")

    def test_a_project_ahead_of_the_newest_release_is_not_changed(self, project: Project) -> None:
        project.update("--to", "main")
        project.commit()
        ahead = project.update()
        assert ahead.status == 0
        assert "nothing to do" in ahead.out
        assert project.update("--check").status == 0

    def test_an_unknown_revision_is_refused(self, project: Project) -> None:
        refused = project.update("--to", "v9")
        assert refused.status == 2
        assert "no tag, branch or commit v9 (tags: v1.10.0, v1.9.0, v2.0.0rc1)" in refused.err

    def test_a_template_without_releases_requires_a_branch(self, tmp_path: Path) -> None:
        template = Template(tmp_path / "young", "https://templates.example/young.git")
        template.release("draft", {"a.py": lines("a")})
        project = template.project("draft", tmp_path / "project")
        refused = project.update()
        assert refused.status == 2
        assert "has no release yet" in refused.err
        assert project.update("--check").status == 0
        assert project.update("--to", "main").status == 0


class TestDryRun:
    def test_reports_like_an_update_without_changes(self, project: Project) -> None:
        project.edit({"a.py": lines("a", l10="MINE")})
        before = project.snapshot()
        dry = project.update("--dry-run")
        assert project.snapshot() == before
        real = project.update()
        assert (dry.status, dry.report) == (real.status, real.report)
        assert dry.status == 1


class TestAbort:
    def test_restores_everything(self, project: Project) -> None:
        project.edit({"a.py": lines("a", l10="MINE"), "dropped.py": lines("dropped", l3="MINE")})
        before = project.snapshot()
        assert project.update().status == 1
        assert project.snapshot() != before
        assert project.update("--abort").status == 0
        assert project.snapshot() == before

    def test_saves_edits_made_since_the_update(self, project: Project) -> None:
        project.update()
        project.write({"a.py": "settled by hand\n", "notes.txt": "MINE\n"})
        aborted = project.update("--abort")
        assert aborted.status == 0
        assert project.text("a.py") == lines("a")
        assert project.text("notes.txt") == "MINE\n"
        folder = Path(aborted.out.strip().rpartition(" ")[2])
        assert (folder / "a.py").read_text(encoding="utf-8") == "settled by hand\n"
        assert len(read(folder)) == 1

    def test_saves_a_link_made_since_the_update(self, project: Project) -> None:
        project.update()
        (project.path / "a.py").unlink()
        (project.path / "a.py").symlink_to("same.py")
        aborted = project.update("--abort")
        assert (project.text("a.py"), project.status()) == (lines("a"), [])
        folder = Path(aborted.out.strip().rpartition(" ")[2])
        assert str((folder / "a.py").readlink()) == "same.py"
        assert len(read(folder)) == 1

    def test_is_refused_without_an_update(self, project: Project) -> None:
        assert project.update("--abort").status == 2

    def test_is_refused_after_a_commit(self, project: Project) -> None:
        project.update()
        project.commit()
        before = project.snapshot()
        assert project.update("--abort").status == 2
        assert project.snapshot() == before


class TestRefusals:
    """Each ends with status 2 and changes nothing."""

    def refused(self, project: Project, words: str, *arguments: str, **environment: str) -> None:
        before = project.snapshot()
        refused = project.update(*arguments, **environment)
        assert refused.status == 2, refused.printed
        assert words in refused.err
        assert "Traceback" not in refused.err
        assert project.snapshot() == before

    @pytest.mark.parametrize("staged", [False, True])
    def test_uncommitted_changes(self, project: Project, staged: bool) -> None:
        project.write({"same.py": "MINE\n"})
        if staged:
            git(project.path, "add", "same.py")
        self.refused(project, "  same.py")

    @pytest.mark.parametrize("skip", ["a.py", ["a.py", 1]])
    def test_a_skip_that_is_not_a_list_of_texts(self, project: Project, skip: object) -> None:
        project.edit({"pyproject.toml": f"[tool.cruft]\nskip = {skip}\n".replace("= a", "= 'a'#")})
        self.refused(project, "skip in [tool.cruft] of pyproject.toml must be a list of texts")
        project.edit({".cruft.json": json.dumps(project.state | {"skip": skip})})
        self.refused(project, "skip in .cruft.json must be a list of texts")

    @pytest.mark.parametrize("fault", ["x = \n", "<<<<<<< HEAD\n", "skip = []\n"])
    def test_a_pyproject_whose_skip_cannot_be_read(self, project: Project, fault: str) -> None:
        project.edit({"pyproject.toml": f"[tool.cruft]\nskip = ['a.py']\n{fault}"})
        self.refused(project, "[tool.cruft] of pyproject.toml, a list of files to skip, cannot be")

    def test_an_uncommitted_update(self, project: Project) -> None:
        project.update()
        self.refused(project, "--abort")

    def test_a_merge_in_progress(self, project: Project) -> None:
        git(project.path, "branch", "other")
        project.edit({"a.py": "one\n"})
        git(project.path, "checkout", "--quiet", "other")
        project.edit({"a.py": "two\n"})
        git(project.path, "merge", "main", check=False)
        self.refused(project, "a merge is in progress")

    def test_a_missing_record(self, project: Project) -> None:
        project.edit({".cruft.json": None})
        self.refused(project, "--link URL")

    @pytest.mark.parametrize("arguments", [(), ("--check",), ("--dry-run",)])
    def test_a_subfolder(self, project: Project, arguments: tuple[str, ...]) -> None:
        refused = Project(project.path / "sample", project.template).update(*arguments)
        assert refused.status == 2
        assert f"Run the command in {project.path}, which has one" in refused.err
        assert "--link" not in refused.err
        assert project.status() == []

    @pytest.mark.parametrize("key", ["template", "commit", "checkout", "directory"])
    def test_a_record_whose_texts_are_none(self, project: Project, key: str) -> None:
        for value in (None, 1) if key in ("template", "commit") else (1,):
            project.edit({".cruft.json": json.dumps(project.state | {key: value})})
            self.refused(project, f"{key} is {value}")
            git(project.path, "reset", "--quiet", "--hard", "HEAD~1")

    @pytest.mark.parametrize("text", ["", "{}", "[1]", "<<<<<<< yours\n"])
    def test_an_unreadable_record(self, project: Project, text: str) -> None:
        project.edit({".cruft.json": text})
        self.refused(project, ".cruft.json is not a record of a template")

    def test_a_commit_missing_from_the_template(self, project: Project) -> None:
        text = project.text(".cruft.json").replace(project.template.commits["v1.9.0"], "0" * 40)
        project.edit({".cruft.json": text})
        self.refused(project, "history rewritten")

    def test_an_unreachable_template(self, project: Project) -> None:
        self.refused(project, "could not be read", GIT_CONFIG_GLOBAL=os.devnull,
                     GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="url./nowhere/.insteadOf",
                     GIT_CONFIG_VALUE_0="https://templates.example/")  # fmt: skip

    def test_a_folder_outside_a_repository(self, project: Project) -> None:
        shutil.rmtree(project.path / ".git")
        before = read(project.path)
        refused = project.update(GIT_CEILING_DIRECTORIES=str(project.path.parent))
        assert refused.status == 2
        assert "git init" in refused.err
        assert read(project.path) == before

    def test_a_machine_without_git(self, project: Project, tmp_path: Path) -> None:
        (tmp_path / "no-programs").mkdir()
        self.refused(project, "git is not on PATH", PATH=str(tmp_path / "no-programs"))

    def test_an_outdated_git(self, project: Project, tmp_path: Path) -> None:
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "git").write_text("#!/bin/sh\necho git version 2.30.1\n", encoding="utf-8")
        (programs / "git").chmod(0o755)
        self.refused(project, "needs git 2.38", PATH=f"{programs}:{os.environ['PATH']}")

    def test_a_running_git_command(self, project: Project) -> None:
        (project.path / ".git" / "index.lock").touch()
        self.refused(project, "another git command")
        assert (project.path / ".git" / "index.lock").exists()

    def test_an_interpreter_without_cookiecutter(self, project: Project, tmp_path: Path) -> None:
        block = "import sys\nsys.modules['cookiecutter'] = None\n"
        program = tmp_path / "blocked.py"
        program.write_text(block, encoding="utf-8")
        # A separate interpreter starts the renderer without site-packages.
        bare = tmp_path / "bare" / "python"
        bare.parent.mkdir()
        bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n', encoding="utf-8")
        bare.chmod(0o755)
        site = tmp_path / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(
            f"import sys\nsys.executable = {str(bare)!r}\n", encoding="utf-8"
        )
        path = os.pathsep.join([str(site), str(SOURCES)])
        self.refused(project, "has no cookiecutter", PYTHONPATH=path)


class TestIsolation:
    def test_user_settings_are_ignored(self, project: Project, tmp_path: Path) -> None:
        home = tmp_path / "hostile"
        home.mkdir()
        (home / ".cookiecutterrc").write_text(
            "default_context:\n    project_name: HOSTILE\n    project_slug: hostile\n"
            "    _extensions: [no.such.Extension]\nabbreviations: broken\n",
            encoding="utf-8",
        )
        hooks = home / "hooks"
        hooks.mkdir()
        for name in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {home}/ran\nexit 1\n", encoding="utf-8")
            (hooks / name).chmod(0o755)
        settings = Path(project.template.shell["GIT_CONFIG_GLOBAL"]).read_text(encoding="utf-8")
        (home / ".gitconfig").write_text(
            f"{settings}[core]\n\thooksPath = {hooks}\n\tattributesFile = {home}/attributes\n"
            "[merge]\n\tconflictStyle = merge\n\trenames = false\n\tff = only\n"
            "[commit]\n\tgpgSign = true\n[diff]\n\trenames = false\n\tnoprefix = true\n"
            "[status]\n\tshort = true\n\tbranch = true\n\tshowUntrackedFiles = all\n"
            "[user]\n\tuseConfigOnly = true\n[color]\n\tui = always\n",
            encoding="utf-8",
        )
        (home / "attributes").write_text("* merge=ours\n", encoding="utf-8")
        project.edit({"old.py": lines("old", l25="MINE")})
        hostile = {
            "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
            "COOKIECUTTER_CONFIG": str(home / ".cookiecutterrc"),
            "HOME": str(home),
            "GIT_DIR": str(home / "elsewhere"),
            "GIT_INDEX_FILE": str(home / "elsewhere.index"),
        }
        outcome = project.update(**hostile)
        assert outcome.status == 0, outcome.printed
        assert project.text("new.py") == lines("old", l3="TEMPLATE", l25="MINE")
        assert "HOSTILE" not in project.text(".cruft.json")
        assert not (home / "ran").exists()
        assert {path.name for path in home.iterdir()} == {
            ".cookiecutterrc", ".gitconfig", "attributes", "hooks",
        }  # fmt: skip

    def test_needs_no_git_user(self, project: Project) -> None:
        outcome = project.update(GIT_COMMITTER_NAME="", GIT_AUTHOR_NAME="", EMAIL="")
        assert outcome.status == 0, outcome.printed

    def test_only_git_opens_connections(self, project: Project, tmp_path: Path) -> None:
        """The renderer ignores sitecustomize.py, so a wrapper makes it load the file."""
        code = (
            "import socket, sys\n"
            "def refuse(*arguments, **options):\n"
            "    raise RuntimeError('no connection')\n"
            "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        )
        (tmp_path / "sitecustomize.py").write_text(code, encoding="utf-8")
        wrapper = tmp_path / "python"
        render = "import runpy, sys; sys.argv = sys.argv[1:]; "
        render += "runpy.run_path(sys.argv[0], run_name='__main__')"
        wrapper.write_text(
            f"#!/bin/sh\nfor last; do :; done\nexport PYTHONPATH={tmp_path}\n"
            f'exec {sys.executable} -c "{render}" "$last"\n',
            encoding="utf-8",
        )
        wrapper.chmod(0o755)
        with (tmp_path / "sitecustomize.py").open("a", encoding="utf-8") as file:
            file.write(f"sys.executable = {str(wrapper)!r}\n")
        path = os.pathsep.join([str(tmp_path), str(SOURCES)])
        outcome = project.update(PYTHONPATH=path)
        assert outcome.status == 0, outcome.printed

    def test_template_hooks_are_executed(self, tmp_path: Path) -> None:
        template = Template(tmp_path / "hooked", "https://templates.example/hooked.git")
        hook = "from pathlib import Path\nPath('made.txt').write_text('{}\\n')\nprint('hello')\n"
        broken = {"hooks/post_gen_project.py": "raise SystemExit('broken')\n"}
        template.release("v0", {"a.py": lines("a")}, root=broken)
        template.release("v1", {}, root={"hooks/post_gen_project.py": hook.format("one")})
        template.release("v2", {}, root={"hooks/post_gen_project.py": hook.format("two")})
        project = template.project("v1", tmp_path / "project")
        assert project.text("made.txt") == "one\n"
        assert project.update().status == 0
        assert project.text("made.txt") == "two\n"
        # Projects can be updated from a release with a broken hook, but not to it.
        project.commit()
        assert project.update("--to", "v0").status == 2
        text = project.text(".cruft.json").replace(template.commits["v2"], template.commits["v0"])
        project.edit({".cruft.json": text})
        assert project.update().status == 0


class TestRender:
    """A file is rendered only once if, and only if, none of its dependencies has changed."""

    def test_depends_on_included_files(self, tmp_path: Path) -> None:
        template = Template(tmp_path / "parts", "https://templates.example/parts.git")
        files = {
            "whole.txt": "{% include 'part.txt' %}\n",
            "same.txt": "{% if cookiecutter.project_name %}{{ cookiecutter.level }}{% endif %}\n",
            "{{ cookiecutter.project_name }}/{{ cookiecutter.level }}.txt": "name\n",
            "{% if cookiecutter.level == '1' %}one.txt{% endif %}": "one\n",
        }
        template.questions["level"] = "1"
        template.release("v1", files, root={"templates/part.txt": "one\n"})
        template.questions["__unused"] = "1"
        template.release("v2", {}, root={"templates/part.txt": "two\n"})
        project = template.project("v1", tmp_path / "project", level="1")
        assert project.update().status == 0
        assert project.text("whole.txt") == "two\n\n"
        assert project.text("same.txt") == "1\n"
        project.commit()
        assert project.update("--answer", "level=2").status == 0
        assert project.text("same.txt") == "2\n"
        assert project.has("Demo/2.txt")
        assert not project.has("Demo/1.txt")
        assert not project.has("one.txt")


class TestMonorepo:
    def test_only_the_projects_folder_is_changed(self, project: Project, tmp_path: Path) -> None:
        root = tmp_path / "mono"
        shutil.copytree(project.path, root / "ml" / "demo")
        shutil.rmtree(root / "ml" / "demo" / ".git")
        (root / "other.txt").write_text("other\n", encoding="utf-8")
        git(root, "init", "--quiet", "--initial-branch=main")
        inner = Project(root / "ml" / "demo", project.template)
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", "all")
        inner.edit({"a.py": lines("a", l10="MINE"), "old.py": lines("old", l25="MINE")})
        (root / "other.txt").write_text("in the works\n", encoding="utf-8")
        before = {"mono": read(root), "index": git(root, "ls-files", "--stage")}
        outcome = inner.update()
        assert outcome.status == 1, outcome.printed
        assert inner.text("new.py") == lines("old", l3="TEMPLATE", l25="MINE")
        assert "UU ml/demo/a.py" in git(root, "status", "--porcelain")
        assert (root / "other.txt").read_text(encoding="utf-8") == "in the works\n"
        assert inner.update("--abort").status == 0
        assert {"mono": read(root), "index": git(root, "ls-files", "--stage")} == before


class TestPartialClone:
    @pytest.fixture
    def clone(self, project: Project, tmp_path: Path) -> Project:
        """A clone without the content of files outside ``sample``, some of which are edited."""
        project.edit({"folder/deep.py": None, "folder/mine.py": lines("deep", l25="MINE")})
        for name in ("allowFilter", "allowAnySHA1InWant"):
            git(project.path, "config", f"uploadpack.{name}", "true")
        path = tmp_path / "clone"
        options = ("--quiet", "--filter=blob:none", "--sparse")
        git(tmp_path, "clone", *options, project.path.as_uri(), str(path))
        git(path, "sparse-checkout", "set", "sample", "notebooks")
        return Project(path, project.template)

    def test_is_updated_if_all_changed_files_are_checked_out(self, clone: Project) -> None:
        assert not clone.has("folder")
        outcome = clone.update("--to", "v2.0.0rc1", "--dry-run")
        assert outcome.status == 2
        assert "git is set to ignore changes" in outcome.err
        assert "  folder/mine.py" in outcome.err
        git(clone.path, "sparse-checkout", "add", "folder")
        outcome = clone.update()
        assert outcome.status == 0, outcome.printed
        assert clone.text("folder/mine.py") == lines("deep", l3="TEMPLATE", l25="MINE")
        assert clone.text("sample/extra.py") == lines("extra")


class TestLink:
    def test_makes_a_project_without_a_record_updatable(self, project: Project) -> None:
        record = json.loads(project.text(".cruft.json"))
        project.edit({".cruft.json": None, "a.py": lines("a", l25="MINE")})
        linked = project.update("--link", project.template.url, "--to", "v1.9.0")
        assert linked.status == 0, linked.printed
        total = len(FIRST)
        assert f"Of the {total} files of such a project, {total - 1} are identical" in linked.out
        assert json.loads(project.text(".cruft.json")) == record
        project.commit()
        assert project.update().status == 0
        assert project.text("a.py") == lines("a", l10="TEMPLATE", l25="MINE")

    @pytest.mark.parametrize(("address", "public"), ADDRESSES)
    def test_records_no_credentials(self, project: Project, address: str, public: str) -> None:
        """The same rule as in a render (``test_record.py``)."""
        project.edit({".cruft.json": None})
        config = project.path.parent / "config"
        config.write_text(
            f'[url "{project.template.path.as_uri()}"]\n\tinsteadOf = {address}\n', "utf-8"
        )
        variables = {"GIT_CONFIG_GLOBAL": str(config)}
        linked = project.update("--link", address, "--to", "v1.9.0", **variables)
        assert linked.status == 0, linked.printed
        assert project.state["template"] == public
        assert project.state["context"]["cookiecutter"]["_template"] == public
        assert WORD not in project.text(".cruft.json") + linked.printed

    def test_a_relative_path_starts_at_the_project(self, project: Project) -> None:
        project.edit({".cruft.json": None})
        path = os.path.relpath(project.template.path, project.path)
        linked = project.update("--link", path, "--to", "v1.9.0")
        assert linked.status == 0, linked.printed
        assert project.state["template"] == str(project.template.path)
        project.commit()
        assert project.update().status == 0
        assert project.state["checkout"] == "v1.10.0"

    def test_a_folder_that_is_no_project_is_refused(self, project: Project) -> None:
        project.edit({".cruft.json": None})
        inside = Project(project.path / "sample", project.template)
        refused = inside.update("--link", project.template.url, "--to", "v1.9.0")
        assert refused.status == 2
        assert "no pyproject.toml" in refused.err
        assert project.status() == []

    def test_a_repository_without_a_template_at_its_top_is_refused(
        self, project: Project, tmp_path: Path
    ) -> None:
        project.edit({".cruft.json": None})
        other = tmp_path / "other"
        other.mkdir()
        git(other, "init", "--quiet")
        (other / "README.md").write_text("no template\n", encoding="utf-8")
        git(other, "add", "README.md")
        git(other, "commit", "--quiet", "--message", "no template")
        refused = project.update("--link", str(other), "--to", "HEAD")
        assert refused.status == 2
        assert f"of {other} has no cookiecutter.json" in refused.err
        assert "template-update-" not in refused.err
        assert project.status() == []

    def test_does_not_overwrite_a_record(self, project: Project) -> None:
        before = project.snapshot()
        assert project.update("--link", "https://elsewhere.example/x.git").status == 2
        assert project.snapshot() == before


def test_a_project_from_elsewhere_adopts_the_template(template: Template, tmp_path: Path) -> None:
    """Uses the commands of docs/how-to/updating.md."""
    fresh = template.project("v1.9.0", tmp_path / "fresh")
    mine = Project(tmp_path / "mine", template)
    mine.path.mkdir()
    git(mine.path, "init", "--quiet", "--initial-branch=main")
    mine.edit({"a.py": lines("a", l25="MINE"), "own.py": "MINE\n", "README.md": "MINE\n"})
    shutil.rmtree(fresh.path / ".git")
    copy = ["cp", "-Rn", f"{fresh.path}/.", "."]
    subprocess.run(copy, cwd=mine.path, check=False)
    mine.commit("adopted")
    assert mine.text("README.md") == mine.text("own.py") == "MINE\n"
    assert mine.update().status == 0
    assert mine.text("a.py") == lines("a", l10="TEMPLATE", l25="MINE")
    assert mine.text("README.md") == mine.text("own.py") == "MINE\n"
    assert mine.text("same.py") == lines("same")
