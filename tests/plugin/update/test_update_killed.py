"""An update that is interrupted at any moment leaves the work tree unchanged."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.plugin.update.rendering import PROJECT, SOURCES
from tests.plugin.update.updating import Outcome, Project, Template, lines, two_releases

# Interrupts the updater before a given git subprocess, which is identified by words of its command
# line and the name of its index.
SITE = """
import os, signal, subprocess, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup ignores it
real, wanted, seen = subprocess.run, os.environ["DIE_BEFORE"].split(), 0

def run(command, *arguments, **options):
    global seen
    index = (options.get("env") or {}).get("GIT_INDEX_FILE", "")
    words = [*(str(word) for word in command), os.path.basename(index)]
    if words[0] == "git" and wanted[0].isdigit() and set(wanted[1:]) <= set(words):
        seen += 1
        if seen == int(wanted[0]):
            if os.environ["DIE_HOW"] == "TORN":
                with open("a.py", "w") as file:
                    file.write("half a li")
            if os.environ["DIE_HOW"] == "FAIL":
                raise OSError("the disk is full")
            how = "SIGKILL" if os.environ["DIE_HOW"] == "TORN" else os.environ["DIE_HOW"]
            os.kill(os.getpid(), getattr(signal, how))
    return real(command, *arguments, **options)

subprocess.run = run

# Or before a file is moved to its final path.
rename = os.replace

def replace(source, target, **options):
    if os.environ["DIE_BEFORE"] == "replace " + os.path.basename(target):
        if os.environ["DIE_HOW"] == "FAIL":
            raise OSError("the disk is broken")
        os.kill(os.getpid(), getattr(signal, os.environ["DIE_HOW"]))
    return rename(source, target, **options)

os.replace = replace
"""

PREPARING = ["1 clone", "1 merge-tree", "2 update-ref --stdin"]
# Change the index, write files, mark conflicts.
WRITING = [
    "1 update-index template-update.index",
    "1 checkout-index template-update.index",
    "2 update-index template-update.index",
]
# The first and the last file, the index, and the record of completion.
PLACING = ["replace README.md", "replace settings.yml", "replace index", "replace journal.json"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with two releases."""
    return two_releases(tmp_path_factory.mktemp("template") / "small")


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose update moves, merges, adds, removes and leaves a conflict."""
    project = template.project("v1", tmp_path_factory.mktemp("rendered"))
    project.edit({"a.py": lines("a", l10="MINE"), "old.py": lines("old", l25="MINE")})
    return project


@pytest.fixture
def project(rendered: Project, template: Template, tmp_path: Path) -> Project:
    """A copy of that project, with an untracked file."""
    copy = shutil.copytree(rendered.path, tmp_path / "demo", symlinks=True)
    project = Project(Path(copy), template)
    project.write({"notes.txt": "MINE\n"})
    return project


def interrupt_update(project: Project, moment: str, how: str, *arguments: str) -> Outcome:
    """Update, and interrupt the update at a moment."""
    site = project.path.parent / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    path = os.pathsep.join([str(site), str(SOURCES)])
    return project.update(*arguments, PYTHONPATH=path, DIE_BEFORE=moment, DIE_HOW=how)


@pytest.mark.parametrize("moment", [PREPARING[0], PREPARING[1], *WRITING, *PLACING[:3]])
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_an_interrupted_update_changes_nothing(project: Project, moment: str, how: str) -> None:
    before = project.snapshot()
    outcome = interrupt_update(project, moment, how)
    assert outcome.status in (130, 143, -signal.SIGTERM)
    assert "Traceback" not in outcome.err
    assert project.snapshot() == before
    assert project.update().status == 1


@pytest.mark.parametrize("moment", PREPARING)
def test_an_update_killed_while_preparing_changes_nothing(project: Project, moment: str) -> None:
    before = project.snapshot()
    assert interrupt_update(project, moment, "SIGKILL").status == -signal.SIGKILL
    assert project.snapshot() == before


@pytest.mark.parametrize("moment", WRITING)
@pytest.mark.parametrize("how", ["SIGKILL", "TORN"])
def test_the_next_call_undoes_an_update_killed_while_writing(
    project: Project, moment: str, how: str
) -> None:
    before = project.snapshot()
    assert interrupt_update(project, moment, how).status == -signal.SIGKILL
    repaired = project.update("--check")
    assert "the work tree was restored" in repaired.out
    assert project.snapshot() == before
    assert project.update().status == 1


@pytest.mark.parametrize("moment", PLACING)
def test_the_next_call_undoes_an_update_killed_while_replacing_files(
    project: Project, moment: str
) -> None:
    before = project.snapshot()
    assert interrupt_update(project, moment, "SIGKILL").status == -signal.SIGKILL
    repaired = project.update("--check")
    assert "the work tree was restored" in repaired.out
    assert project.snapshot() == before
    assert project.update().status == 1


@pytest.mark.parametrize(("old", "new"), [(0o755, 0o644), (0o644, 0o755), (0o755, 0o755)])
@pytest.mark.parametrize("how", ["aborted", "killed"])
def test_undoing_an_update_restores_whether_a_script_is_executable(
    tmp_path: Path, old: int, new: int, how: str
) -> None:
    template = Template(tmp_path / "template")
    template.release("v0", {"run.sh": "#!/bin/sh\n"})
    for tag, mode in (("v1", old), ("v2", new)):
        (template.path / PROJECT / "run.sh").chmod(mode)
        template.release(tag, {"README.md": f"{tag}\n"})
    project = template.project("v1", tmp_path / "rendered")
    before = project.snapshot()
    if how == "killed":
        assert interrupt_update(project, "replace index", "SIGKILL").status == -signal.SIGKILL
        undone = project.update("--check")
    else:
        assert project.update().status == 0
        undone = project.update("--abort")
    assert project.snapshot() == before
    assert "Your edits since then" not in undone.out


@pytest.mark.parametrize("moment", ["replace README.md", "replace settings.yml", "replace index"])
def test_a_killed_abort_can_be_repeated(project: Project, moment: str) -> None:
    before = project.snapshot()
    assert project.update().status == 1
    moment = moment.replace("settings.yml", "params.yml")  # its previous name
    assert interrupt_update(project, moment, "SIGKILL", "--abort").status == -signal.SIGKILL
    assert project.update("--abort").status == 0
    assert project.snapshot() == before


@pytest.mark.parametrize("moment", [WRITING[1], *PLACING[:3]])
def test_an_update_that_cannot_write_is_undone_immediately(project: Project, moment: str) -> None:
    before = project.snapshot()
    assert interrupt_update(project, moment, "FAIL").status not in (0, 1)
    assert project.snapshot() == before
    assert "no update is waiting" in project.update("--abort").err


def test_edits_made_after_a_kill_are_saved(project: Project) -> None:
    interrupt_update(project, WRITING[2], "SIGKILL")
    project.write({"folder/deep.py": "edited since\n"})
    repaired = project.update("--check")
    folder = Path(repaired.out.splitlines()[1].rpartition(" ")[2])
    assert (folder / "folder" / "deep.py").read_text(encoding="utf-8") == "edited since\n"
    assert project.text("folder/deep.py") == lines("deep")


def break_after(folder: Path, function: str, how: str) -> dict[str, str]:
    """Return the environment in which the updater ends after one of its functions was called."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    code = f"""
import kedro_azure_mlops.update.update as update

whole = update.{function}

def broken(*arguments, **options):
    whole(*arguments, **options)
    {how}

update.{function} = broken
"""
    (site / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(site), str(SOURCES)])}


@pytest.mark.parametrize(
    ("how", "status"), [("raise KeyboardInterrupt", 130), ("1 / 0", 2)], ids=["interrupt", "bug"]
)
def test_an_update_that_ends_after_writing_is_reported_as_staged(
    project: Project, how: str, status: int
) -> None:
    before = project.snapshot()
    earlier = project.update(**break_after(project.path.parent, "prepare", how))
    assert earlier.status == status
    assert "; no update is staged" in earlier.err
    assert project.snapshot() == before
    outcome = project.update(**break_after(project.path.parent, "write", how))
    assert outcome.status == status
    assert "; an update is staged" in outcome.err
    assert "To undo it: kedro mlops update --abort" in outcome.err
    assert project.snapshot() != before
    assert project.update("--abort").status == 0
    assert project.snapshot() == before


def test_an_abort_interrupted_at_its_end_is_reported_as_done(project: Project) -> None:
    before = project.snapshot()
    assert project.update().status == 1
    how = "raise KeyboardInterrupt"
    outcome = project.update("--abort", **break_after(project.path.parent, "journal.abort", how))
    assert outcome.status == 130
    assert "; no update is staged" in outcome.err
    assert project.snapshot() == before
