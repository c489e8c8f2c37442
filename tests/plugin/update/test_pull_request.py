"""A newer release of the template, proposed as a pull request: what was pushed and asked for."""

import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.update.hosting import AzureRepos, GitHub
from tests.plugin.update.hostile import hostile_shell
from tests.plugin.update.rendering import SOURCES
from tests.plugin.update.updating import Outcome, Project, Template, git, lines, read, two_releases

GITHUB, AZURE = "https://github.com/acme/demo.git", "https://acme@dev.azure.com/acme/ml/_git/demo"
BRANCH = "template-update/v2"
HEAD = f"refs/heads/{BRANCH}"

# Stands in for `gh` and `az`: notes what it was asked and answers from a file.
PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path

here = Path(__file__).parent
words = sys.argv[1:]
call = {{"words": words, "pat": os.environ.get("AZURE_DEVOPS_EXT_PAT")}}
if "--body-file" in words:
    call["body"] = Path(words[words.index("--body-file") + 1]).read_text(encoding="utf-8")
with (here / "calls").open("a", encoding="utf-8") as file:
    file.write(json.dumps(call) + "\\n")
answers = json.loads((here / "answers.json").read_text(encoding="utf-8"))
kind = next(word for word in ("list", "create", "edit", "update") if word in words)
if kind not in answers:
    sys.exit(f"{{kind}} is forbidden")
print(answers[kind])
"""


@dataclass
class Origin:
    """A project, the bare repository it is pushed to, and the services around it."""

    project: Project
    bare: Path
    programs: Path

    def propose(self, *arguments: str, **variables: str) -> Outcome:
        """Call the updater as CI does."""
        path = os.pathsep.join((str(self.programs), os.environ["PATH"]))
        where = {"PYTHONPATH": str(SOURCES), "PATH": path}
        process = subprocess.run(
            [sys.executable, "-m", "kedro_azure_mlops", "update", "--pull-request", *arguments],
            cwd=self.project.path,
            env=self.project.template.shell | where | variables,
            capture_output=True,
            encoding="utf-8",
        )
        return Outcome(process.returncode, process.stdout, process.stderr)

    def answer(self, **answers: str | list[Any] | dict[str, Any]) -> None:
        """Set what the programs print."""
        text = json.dumps(
            {k: v if isinstance(v, str) else json.dumps(v) for k, v in answers.items()}
        )
        (self.programs / "answers.json").write_text(text, encoding="utf-8")

    def calls(self) -> list[dict[str, Any]]:
        """Return what the programs were asked since the last look."""
        file = self.programs / "calls"
        found = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in found]

    def branches(self) -> dict[str, str]:
        """Return the branches of the bare repository."""
        said = git(self.bare, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
        return dict(line.split() for line in said.splitlines())

    def clone(self, folder: Path) -> Path:
        """Check out the branch that was pushed."""
        git(folder.parent, "clone", "--quiet", "--branch", BRANCH, str(self.bare), str(folder))
        return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with two releases."""
    return two_releases(tmp_path_factory.mktemp("template") / "small")


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project made from the first release, for copies."""
    return template.project("v1", tmp_path_factory.mktemp("rendered"))


def pushed_to(address: str, rendered: Project, template: Template, folder: Path) -> Origin:
    """Copy the project; git finds its origin on disk, whatever its address."""
    path = Path(shutil.copytree(rendered.path, folder / "demo", symlinks=True))
    bare, programs = folder / "bare.git", folder / "bin"
    git(folder, "clone", "--quiet", "--bare", str(path), str(bare))
    git(path, "remote", "add", "origin", address)
    git(path, "config", f"url.{bare.as_uri()}.insteadOf", address)
    programs.mkdir()
    for name in ("gh", "az"):
        (programs / name).write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
        (programs / name).chmod(0o755)
    origin = Origin(Project(path, template), bare, programs)
    if address == GITHUB:
        origin.answer(list=[], create="https://github.com/acme/demo/pull/7", edit="")
    else:
        origin.answer(list=[], create={"pullRequestId": 7}, update={"pullRequestId": 7})
    return origin


def at_github(
    number: int = 7, state: str = "OPEN", body: str = "", fork: bool = False
) -> dict[str, Any]:
    """A pull request as gh lists it."""
    return {"number": number, "state": state, "body": body, "isCrossRepository": fork}


def at_azure(
    number: int = 7, status: str = "active", text: str = "", fork: bool = False
) -> dict[str, Any]:
    """A pull request as the Azure CLI lists it, which shows how its text begins."""
    found = {"pullRequestId": number, "status": status, "description": text[:400] or None}
    return found | ({"forkSource": {"name": "refs/heads/x"}} if fork else {})


@pytest.fixture
def github(rendered: Project, template: Template, tmp_path: Path) -> Origin:
    """A project at GitHub."""
    return pushed_to(GITHUB, rendered, template, tmp_path)


@pytest.fixture
def azure(rendered: Project, template: Template, tmp_path: Path) -> Origin:
    """A project at Azure Repos."""
    return pushed_to(AZURE, rendered, template, tmp_path)


def test_an_update_is_pushed_and_proposed_and_nothing_changes_here(
    github: Origin, tmp_path: Path
) -> None:
    github.project.edit({"a.py": lines("a", l25="MINE")})
    git(github.project.path, "push", "--quiet", "origin", "main")
    before, main = github.project.picture(), github.branches()
    done = github.propose()
    assert done.status == 0, done.said
    assert github.project.picture() == before
    assert git(github.project.path, "branch", "--list").split() == ["*", "main"]
    assert github.branches() == main | {HEAD: github.branches()[HEAD]}
    clone = github.clone(tmp_path / "clone")
    assert git(clone, "rev-parse", "HEAD^").strip() == main["refs/heads/main"]
    assert (clone / "a.py").read_text() == lines("a", l10="TEMPLATE", l25="MINE")
    assert github.project.update().status == 0
    assert read(clone) == read(github.project.path), "as kedro mlops update would"
    looked, opened = github.calls()
    assert looked["words"][:4] == ["pr", "list", "--head", BRANCH]
    words = opened["words"]
    assert words[:6] == ["pr", "create", "--base", "main", "--head", BRANCH]
    assert words[words.index("--title") + 1] == "Update the template to v2"
    assert "  merged       a.py  (your changes and the template's)" in opened["body"]
    assert "update: opened: https://github.com/acme/demo/pull/7" in done.out


def test_azure_repos_is_asked_with_the_names_and_the_token_of_the_agent(azure: Origin) -> None:
    names = {
        "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
        "SYSTEM_TEAMPROJECT": "ml",
        "BUILD_REPOSITORY_NAME": "demo",
        "SYSTEM_ACCESSTOKEN": "of the agent",
    }
    done = azure.propose(**names)
    assert done.status == 0, done.said
    looked, opened = azure.calls()
    place = ["--organization", "https://dev.azure.com/acme/"]
    place += ["--project", "ml", "--repository", "demo"]
    assert looked["words"][:9] == ["repos", "pr", "list", *place]
    words = opened["words"]
    assert words[:9] == ["repos", "pr", "create", *place]
    assert words[9:13] == ["--source-branch", BRANCH, "--target-branch", "main"]
    description = words[words.index("--description") + 1 : words.index("--output")]
    assert "  updated      a.py" in description, "a line is a word"
    assert not [line for line in description if line.startswith(("-", "@"))]
    assert opened["pat"] == "of the agent"
    assert "of the agent" not in " ".join(words) + done.said
    assert HEAD in azure.branches()


def test_the_clone_of_an_agent_has_no_branch_checked_out(azure: Origin) -> None:
    git(azure.project.path, "checkout", "--quiet", "--detach")
    lost = azure.propose()
    assert lost.status == 2
    assert "no branch is checked out" in lost.err
    assert azure.propose(BUILD_SOURCEBRANCH="refs/heads/main").status == 0
    words = azure.calls()[-1]["words"]
    assert words[words.index("--target-branch") + 1] == "main"


def test_the_second_time_the_pull_request_is_brought_up_to_date(github: Origin) -> None:
    github.propose()
    first = github.branches()
    github.calls()
    github.answer(list=[at_github()], edit="https://github.com/acme/demo/pull/7")
    again = github.propose()
    assert again.status == 0, again.said
    assert github.branches() == first, "the same update is not pushed again"
    assert [call["words"][:3] for call in github.calls()] == [
        ["pr", "list", "--head"],
        ["pr", "edit", "7"],
    ]
    github.project.edit({"mine.py": "MINE\n"})
    assert github.propose().status == 0
    assert github.branches()[HEAD] != first[HEAD]
    parent = git(github.bare, "rev-parse", f"{HEAD}^").strip()
    assert parent == git(github.project.path, "rev-parse", "HEAD").strip()


def test_azure_repos_is_not_asked_twice_for_a_pull_request(azure: Origin) -> None:
    azure.propose()
    azure.calls()
    azure.answer(list=[at_azure()], update={"pullRequestId": 7})
    assert azure.propose().status == 0
    changed = azure.calls()[-1]["words"]
    assert changed[:5] == ["repos", "pr", "update", "--id", "7"]
    assert "--repository" not in changed


def made(calls: list[dict[str, Any]]) -> list[str]:
    """Return what was asked for besides looking."""
    kinds = ("list", "create", "edit", "update")
    asked = [next(word for word in kinds if word in call["words"]) for call in calls]
    return [kind for kind in asked if kind != "list"]


def test_a_pull_request_of_a_fork_is_not_taken_for_ours(github: Origin) -> None:
    create = "https://github.com/acme/demo/pull/8"
    github.answer(list=[at_github(3, fork=True)], create=create)
    done = github.propose()
    assert done.status == 0, done.said
    assert f"opened: {create}" in done.out
    github.calls()
    github.answer(list=[at_github(3, fork=True), at_github(8)], edit=create)
    assert github.propose().status == 0
    assert github.calls()[-1]["words"][:3] == ["pr", "edit", "8"]


def test_azure_repos_has_forks_too(azure: Origin) -> None:
    azure.answer(list=[at_azure(3, fork=True)], create={"pullRequestId": 8})
    assert azure.propose().status == 0
    assert made(azure.calls()) == ["create"]


@pytest.mark.parametrize("service", ["github", "azure"])
def test_what_a_person_has_closed_is_not_proposed_again(
    request: pytest.FixtureRequest, service: str
) -> None:
    origin: Origin = request.getfixturevalue(service)
    origin.propose()
    words = origin.calls()[-1]
    if service == "github":
        closed, merged = (
            at_github(7, "CLOSED", words["body"]),
            at_github(6, "MERGED", words["body"]),
        )
        of_fork = at_github(5, "CLOSED", words["body"], fork=True)
        again = {"create": "https://github.com/acme/demo/pull/8"}
    else:
        description = words["words"][words["words"].index("--description") + 1 :]
        text = "\n".join(description)
        closed, merged = at_azure(7, "abandoned", text), at_azure(6, "completed", text)
        of_fork = at_azure(5, "abandoned", text, fork=True)
        again = {"create": {"pullRequestId": 8}}
    # the service may have deleted the branch with the pull request
    git(origin.bare, "update-ref", "-d", HEAD)
    branches, before = origin.branches(), origin.project.picture()
    origin.answer(list=[closed])
    done = origin.propose()
    assert done.status == 0, done.said
    assert "pull request 7 proposed this same update and was closed" in done.out
    assert made(origin.calls()) == []
    assert (origin.branches(), origin.project.picture()) == (branches, before)

    origin.answer(list=[merged, of_fork], **again)
    assert origin.propose().status == 0
    assert made(origin.calls()) == ["create"], "no one in this project closed it"

    origin.project.edit({"mine.py": "MINE\n"})
    origin.answer(list=[closed], **again)
    assert origin.propose().status == 0
    assert made(origin.calls()) == ["create"], "another update than the one that was closed"


def test_one_that_is_open_beside_a_closed_one_is_brought_up_to_date(github: Origin) -> None:
    github.propose()
    closed = at_github(7, "CLOSED", github.calls()[-1]["body"])
    github.answer(list=[at_github(8), closed], edit="https://github.com/acme/demo/pull/8")
    assert github.propose().status == 0
    assert github.calls()[-1]["words"][:3] == ["pr", "edit", "8"]


def test_a_branch_that_somebody_has_worked_on_is_left_to_them(
    github: Origin, tmp_path: Path
) -> None:
    github.propose()
    github.calls()
    clone = github.clone(tmp_path / "clone")
    (clone / "a.py").write_text("settled by hand\n")
    git(clone, "commit", "--quiet", "--all", "--amend", "--no-edit")
    git(clone, "push", "--quiet", "--force")
    theirs = github.branches()
    done = github.propose()
    assert done.status == 0
    assert "someone else has worked on" in done.out
    assert github.branches() == theirs
    assert made(github.calls()) == []


def test_what_is_staged_beside_the_project_is_not_pushed_along(
    rendered: Project, template: Template, tmp_path: Path
) -> None:
    origin = pushed_to(GITHUB, rendered, template, tmp_path)
    whole, project = origin.project.path, origin.project.path / "demo"
    project.mkdir()
    for entry in [entry for entry in whole.iterdir() if entry.name not in (".git", "demo")]:
        entry.rename(project / entry.name)
    origin.project.commit("one of several")
    inside = Origin(Project(project, template), origin.bare, origin.programs)
    (whole / "other.txt").write_text("not yet\n")
    git(whole, "add", "other.txt")
    refused = inside.propose()
    assert refused.status == 2
    assert "something is staged and not committed" in refused.err
    assert HEAD not in origin.branches()
    git(whole, "reset", "--quiet")
    assert inside.propose().status == 0
    pushed = git(origin.bare, "ls-tree", "-r", "--name-only", HEAD).splitlines()
    assert {"demo/added.py", "demo/a.py"} <= set(pushed)
    assert all(name.startswith("demo/") for name in pushed)


def test_nothing_new_is_said_and_nothing_is_asked(github: Origin) -> None:
    github.project.update()
    github.project.commit("updated")
    before, branches = github.project.picture(), github.branches()
    done = github.propose()
    assert done.status == 0
    assert "nothing to do: this project is at v2" in done.out
    assert github.calls() == []
    assert github.branches() == branches
    assert github.project.picture() == before


def test_conflicts_are_told_and_leave_no_branch(github: Origin) -> None:
    github.project.edit({"a.py": lines("a", l10="MINE")})
    before, branches = github.project.picture(), github.branches()
    done = github.propose()
    assert done.status == 1
    assert "  conflict     a.py" in done.out
    assert "Settle them on a laptop: kedro mlops update" in done.out
    assert github.calls() == []
    assert github.branches() == branches
    assert github.project.picture() == before
    assert github.project.update().status == 1, "the command that is named shows the same"


@pytest.mark.parametrize("mine", [False, True])
def test_the_author_is_whoever_git_knows(github: Origin, mine: bool) -> None:
    if mine:
        git(github.project.path, "config", "user.name", "Ada")
        git(github.project.path, "config", "user.email", "ada@example.com")
    assert github.propose().status == 0
    author = git(github.bare, "log", "-1", "--format=%an %ae %cn", HEAD).strip()
    nobody = "template-update template-update@localhost template-update"
    assert author == ("Ada ada@example.com Ada" if mine else nobody)


def test_what_could_not_be_opened_is_opened_the_next_time(github: Origin) -> None:
    before = github.project.picture()
    github.answer(list=[])
    failed = github.propose()
    assert failed.status == 2
    assert "create is forbidden" in failed.err
    assert github.project.picture() == before
    github.answer(list=[], create="https://github.com/acme/demo/pull/8")
    done = github.propose()
    assert done.status == 0
    assert "holds this update already" in done.out
    assert "opened: https://github.com/acme/demo/pull/8" in done.out


def test_a_push_that_is_refused_asks_for_no_pull_request(github: Origin) -> None:
    hook = github.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\necho 'refusing to update workflow without permission' >&2\nexit 1\n"
    )
    hook.chmod(0o755)
    before = github.project.picture()
    done = github.propose()
    assert done.status == 2
    assert f"{BRANCH} could not be pushed to origin" in done.err
    assert "GITHUB_TOKEN may never" in done.err
    assert made(github.calls()) == []
    assert github.project.picture() == before


@pytest.mark.parametrize(
    ("address", "variables", "program"),
    [
        ("git@github.com:acme/demo.git", {}, "gh"),
        ("https://x:y@github.com/acme/demo", {"TF_BUILD": "True"}, "gh"),
        ("https://acme.visualstudio.com/ml/_git/demo", {}, "repos"),
        ("git@ssh.dev.azure.com:v3/acme/ml/demo", {"GITHUB_ACTIONS": "true"}, "repos"),
        ("https://git.acme.example/demo", {"GITHUB_ACTIONS": "true"}, "gh"),
        ("https://git.acme.example/demo", {"TF_BUILD": "True"}, "repos"),
    ],
)
def test_the_service_is_found_by_address_else_by_the_ci_system(
    rendered: Project,
    template: Template,
    tmp_path: Path,
    address: str,
    variables: dict[str, str],
    program: str,
) -> None:
    origin = pushed_to(address, rendered, template, tmp_path)
    made = {"create": {"pullRequestId": 7}} if program == "repos" else {"create": "done"}
    origin.answer(list=[], **made)
    done = origin.propose(**variables)
    assert done.status == 0, done.said
    assert (origin.calls()[0]["words"][0] == "repos") == (program == "repos")


def test_a_service_that_nobody_knows_is_refused_before_anything_is_done(
    rendered: Project, template: Template, tmp_path: Path
) -> None:
    origin = pushed_to("https://me:secret@git.acme.example/demo", rendered, template, tmp_path)
    before, branches = origin.project.picture(), origin.branches()
    done = origin.propose()
    assert done.status == 2
    assert "origin (https://git.acme.example/demo) is neither at GitHub nor at Azure" in done.err
    assert "secret" not in done.said
    assert (origin.project.picture(), origin.branches()) == (before, branches)


def test_without_an_origin_or_the_program_it_is_refused(github: Origin) -> None:
    shutil.rmtree(github.programs)
    tools = [shutil.which("git"), sys.executable]
    places = os.pathsep.join({str(Path(str(tool)).parent) for tool in tools})
    if shutil.which("gh", path=places) is None:
        done = github.propose(PATH=places)
        assert done.status == 2
        assert "there is no gh on PATH" in done.err
    git(github.project.path, "remote", "remove", "origin")
    done = github.propose()
    assert done.status == 2
    assert "there is no remote called origin" in done.err


def test_git_pushes_with_the_token_of_the_run_and_shows_it_to_nobody_else(
    github: Origin,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(github.programs), prepend=os.pathsep)
        patch.setenv("GH_TOKEN", "of the run")
        patch.setenv("SYSTEM_ACCESSTOKEN", "of the agent")
        root = github.project.path
        encoded = base64.b64encode(b"x-access-token:of the run").decode()
        basic = f"AUTHORIZATION: basic {encoded}"
        for host, place, header in (
            (GitHub(root, GITHUB), "https://github.com/", basic),
            (
                AzureRepos(root, AZURE),
                "https://dev.azure.com/",
                "AUTHORIZATION: bearer of the agent",
            ),
        ):
            shell = host.settings()
            said = subprocess.run(
                ["git", "config", "--get-urlmatch", "http.extraheader", f"{place}acme/demo"],
                env=os.environ | shell,
                capture_output=True,
                text=True,
                check=False,
            )
            assert said.stdout.strip() == header
        assert GitHub(root, "git@github.com:acme/demo.git").settings() == {}


def test_settings_that_change_what_git_prints_change_nothing(
    github: Origin, template: Template, tmp_path: Path
) -> None:
    github.project.edit({"größe.txt": "MINE\n"})
    git(github.project.path, "push", "--quiet", "origin", "HEAD")
    shell = hostile_shell(template, tmp_path / "settings")
    before = github.project.picture()
    done = github.propose(**shell)
    assert done.status == 0, done.said
    assert "opened: https://github.com/acme/demo/pull/7" in done.out
    assert github.project.picture() == before
    commit = git(github.bare, "cat-file", "commit", HEAD)
    assert "\nencoding " not in commit
    assert "\n  updated      a.py\n" in commit
    github.answer(list=[at_github()], edit="")
    assert "holds this update already" in github.propose(**shell).out
    assert not (tmp_path / "settings" / "called").exists()
