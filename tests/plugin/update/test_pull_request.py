"""A newer release of the template, proposed as a pull request: the pushes and the requests."""

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

# Replaces `gh` and `az`: records its calls and answers from a file.
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
print(next((answers[word] for word in words if word in answers and word != kind), answers[kind]))
"""


@dataclass
class Origin:
    """A project, its bare remote repository, and the stand-ins for services."""

    project: Project
    bare: Path
    programs: Path

    def propose(self, *arguments: str, **variables: str) -> Outcome:
        """Run the updater like CI."""
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
        """Set the output of the programs."""
        text = json.dumps(
            {k: v if isinstance(v, str) else json.dumps(v) for k, v in answers.items()}
        )
        (self.programs / "answers.json").write_text(text, encoding="utf-8")

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls of the programs since this method was last called."""
        file = self.programs / "calls"
        recorded = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in recorded]

    def branches(self) -> dict[str, str]:
        """Return the branches of the bare repository."""
        output = git(self.bare, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
        return dict(line.split() for line in output.splitlines())

    def clone(self, folder: Path) -> Path:
        """Clone the pushed branch."""
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


def push_project(address: str, rendered: Project, template: Template, folder: Path) -> Origin:
    """Copy the project; git redirects the address of its origin to a local repository."""
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


def github_pull_request(
    number: int = 7, state: str = "OPEN", body: str = "", fork: bool = False
) -> dict[str, Any]:
    """A pull request in the output of gh."""
    return {"number": number, "state": state, "body": body, "isCrossRepository": fork}


def azure_pull_request(
    number: int = 7, status: str = "active", text: str = "", fork: bool = False
) -> dict[str, Any]:
    """A pull request in the output of the Azure CLI, which truncates its text."""
    entry = {"pullRequestId": number, "status": status, "description": text[:400] or None}
    return entry | ({"forkSource": {"name": "refs/heads/x"}} if fork else {})


@pytest.fixture
def github(rendered: Project, template: Template, tmp_path: Path) -> Origin:
    """A project on GitHub."""
    return push_project(GITHUB, rendered, template, tmp_path)


@pytest.fixture
def azure(rendered: Project, template: Template, tmp_path: Path) -> Origin:
    """A project on Azure Repos."""
    return push_project(AZURE, rendered, template, tmp_path)


def test_an_update_is_pushed_and_proposed_without_local_changes(
    github: Origin, tmp_path: Path
) -> None:
    github.project.edit({"a.py": lines("a", l25="MINE")})
    git(github.project.path, "push", "--quiet", "origin", "main")
    before, main = github.project.snapshot(), github.branches()
    outcome = github.propose()
    assert outcome.status == 0, outcome.printed
    assert github.project.snapshot() == before
    assert git(github.project.path, "branch", "--list").split() == ["*", "main"]
    assert github.branches() == main | {HEAD: github.branches()[HEAD]}
    clone = github.clone(tmp_path / "clone")
    assert git(clone, "rev-parse", "HEAD^").strip() == main["refs/heads/main"]
    assert (clone / "a.py").read_text() == lines("a", l10="TEMPLATE", l25="MINE")
    assert github.project.update().status == 0
    assert read(clone) == read(github.project.path), "the same as kedro mlops update"
    listing, creation = github.calls()
    assert listing["words"][:4] == ["pr", "list", "--head", BRANCH]
    words = creation["words"]
    assert words[:6] == ["pr", "create", "--base", "main", "--head", BRANCH]
    assert words[words.index("--title") + 1] == "Update the template to v2"
    assert "  merged           a.py  (your changes and the template's)" in creation["body"]
    assert "update: opened: https://github.com/acme/demo/pull/7" in outcome.out


def test_azure_repos_is_called_with_the_agents_names_and_token(azure: Origin) -> None:
    names = {
        "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
        "SYSTEM_TEAMPROJECT": "ml",
        "BUILD_REPOSITORY_NAME": "demo",
        "SYSTEM_ACCESSTOKEN": "of the agent",
    }
    outcome = azure.propose(**names)
    assert outcome.status == 0, outcome.printed
    listing, creation = azure.calls()
    location = ["--organization", "https://dev.azure.com/acme/"]
    location += ["--project", "ml", "--repository", "demo"]
    assert listing["words"][:9] == ["repos", "pr", "list", *location]
    words = creation["words"]
    assert words[:9] == ["repos", "pr", "create", *location]
    assert words[9:13] == ["--source-branch", BRANCH, "--target-branch", "main"]
    description = words[words.index("--description") + 1 : words.index("--output")]
    assert "  updated          a.py" in description, "each line is an argument"
    assert not [line for line in description if line.startswith(("-", "@"))]
    assert creation["pat"] == "of the agent"
    assert "of the agent" not in " ".join(words) + outcome.printed
    assert HEAD in azure.branches()


def test_a_detached_clone_of_an_agent_is_supported(azure: Origin) -> None:
    git(azure.project.path, "checkout", "--quiet", "--detach")
    refused_update = azure.propose()
    assert refused_update.status == 2
    assert "no branch is checked out" in refused_update.err
    assert azure.propose(BUILD_SOURCEBRANCH="refs/heads/main").status == 0
    words = azure.calls()[-1]["words"]
    assert words[words.index("--target-branch") + 1] == "main"


def test_the_second_call_updates_the_pull_request(github: Origin) -> None:
    github.propose()
    first = github.branches()
    github.calls()
    github.answer(list=[github_pull_request()], edit="https://github.com/acme/demo/pull/7")
    again = github.propose()
    assert again.status == 0, again.printed
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


def test_an_open_pull_request_in_azure_repos_is_updated(azure: Origin) -> None:
    azure.propose()
    azure.calls()
    azure.answer(list=[azure_pull_request()], update={"pullRequestId": 7})
    assert azure.propose().status == 0
    changed = azure.calls()[-1]["words"]
    assert changed[:5] == ["repos", "pr", "update", "--id", "7"]
    assert "--repository" not in changed


def write_requests(calls: list[dict[str, Any]]) -> list[str]:
    """Return the kinds of the requests that write."""
    kinds = ("list", "create", "edit", "update")
    requested = [next(word for word in kinds if word in call["words"]) for call in calls]
    return [kind for kind in requested if kind != "list"]


def test_pull_requests_of_forks_are_ignored(github: Origin) -> None:
    create = "https://github.com/acme/demo/pull/8"
    github.answer(list=[github_pull_request(3, fork=True)], create=create)
    outcome = github.propose()
    assert outcome.status == 0, outcome.printed
    assert f"opened: {create}" in outcome.out
    github.calls()
    github.answer(list=[github_pull_request(3, fork=True), github_pull_request(8)], edit=create)
    assert github.propose().status == 0
    assert github.calls()[-1]["words"][:3] == ["pr", "edit", "8"]


def test_pull_requests_of_forks_in_azure_repos_are_ignored(azure: Origin) -> None:
    azure.answer(list=[azure_pull_request(3, fork=True)], create={"pullRequestId": 8})
    assert azure.propose().status == 0
    assert write_requests(azure.calls()) == ["create"]


@pytest.mark.parametrize("service", ["github", "azure"])
def test_a_closed_update_is_not_proposed_again(
    request: pytest.FixtureRequest, service: str
) -> None:
    origin: Origin = request.getfixturevalue(service)
    origin.propose()
    words = origin.calls()[-1]
    if service == "github":
        closed, merged = (
            github_pull_request(7, "CLOSED", words["body"]),
            github_pull_request(6, "MERGED", words["body"]),
        )
        fork_request = github_pull_request(5, "CLOSED", words["body"], fork=True)
        again = {"create": "https://github.com/acme/demo/pull/8"}
    else:
        description = words["words"][words["words"].index("--description") + 1 :]
        text = "\n".join(description)
        closed, merged = (
            azure_pull_request(7, "abandoned", text),
            azure_pull_request(6, "completed", text),
        )
        fork_request = azure_pull_request(5, "abandoned", text, fork=True)
        again = {"create": {"pullRequestId": 8}}
    # the service may have deleted the branch with the pull request
    git(origin.bare, "update-ref", "-d", HEAD)
    branches, before = origin.branches(), origin.project.snapshot()
    origin.answer(list=[closed])
    outcome = origin.propose()
    assert outcome.status == 0, outcome.printed
    assert "pull request 7 proposed this same update and was closed" in outcome.out
    assert write_requests(origin.calls()) == []
    assert (origin.branches(), origin.project.snapshot()) == (branches, before)

    origin.answer(list=[merged, fork_request], **again)
    assert origin.propose().status == 0
    assert write_requests(origin.calls()) == ["create"], "no one in this project closed it"

    origin.project.edit({"mine.py": "MINE\n"})
    origin.answer(list=[closed], **again)
    assert origin.propose().status == 0
    assert write_requests(origin.calls()) == ["create"], "not the update that was closed"


def test_an_open_pull_request_is_updated_despite_a_closed_one(github: Origin) -> None:
    github.propose()
    closed = github_pull_request(7, "CLOSED", github.calls()[-1]["body"])
    github.answer(list=[github_pull_request(8), closed], edit="https://github.com/acme/demo/pull/8")
    assert github.propose().status == 0
    assert github.calls()[-1]["words"][:3] == ["pr", "edit", "8"]


def test_a_branch_with_commits_of_others_is_not_changed(github: Origin, tmp_path: Path) -> None:
    github.propose()
    github.calls()
    clone = github.clone(tmp_path / "clone")
    (clone / "a.py").write_text("settled by hand\n")
    git(clone, "commit", "--quiet", "--all", "--amend", "--no-edit")
    git(clone, "push", "--quiet", "--force")
    theirs = github.branches()
    outcome = github.propose()
    assert outcome.status == 0
    assert "someone else has worked on" in outcome.out
    assert github.branches() == theirs
    assert write_requests(github.calls()) == []


def test_files_staged_outside_the_project_are_not_pushed(
    rendered: Project, template: Template, tmp_path: Path
) -> None:
    origin = push_project(GITHUB, rendered, template, tmp_path)
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
    assert origin.branches().keys() == {"refs/heads/main"}
    git(whole, "reset", "--quiet")
    assert inside.propose().status == 0
    pushed = git(
        origin.bare, "ls-tree", "-r", "--name-only", "template-update/demo/v2"
    ).splitlines()
    assert {"demo/added.py", "demo/a.py"} <= set(pushed)
    assert all(name.startswith("demo/") for name in pushed)


def test_projects_of_one_repository_have_their_own_pull_requests(
    rendered: Project, template: Template, tmp_path: Path
) -> None:
    origin = push_project(GITHUB, rendered, template, tmp_path)
    whole = origin.project.path
    folders = ("ml/alpha", "ml/beta 2")
    for folder in folders:
        shutil.copytree(rendered.path, whole / folder, ignore=shutil.ignore_patterns(".git"))
    origin.project.commit("three projects")
    for folder, branch in zip(folders, ("ml/alpha/v2", "ml/beta%202/v2"), strict=True):
        project = Project(whole / folder, template)
        outcome = Origin(project, origin.bare, origin.programs).propose()
        assert outcome.status == 0, outcome.printed
        listing, earlier, creation = (call["words"] for call in origin.calls())
        assert creation[creation.index("--title") + 1] == f"Update the template of {folder} to v2"
        for words in (listing, creation):
            assert words[words.index("--head") + 1] == f"template-update/{branch}"
        assert earlier[earlier.index("--head") + 1] == BRANCH
    assert origin.propose().status == 0
    changed = {}
    for branch in origin.branches().keys() - {"refs/heads/main"}:
        names = git(origin.bare, "diff", "--name-only", f"{branch}^", branch).splitlines()
        changed[branch] = {folder for folder in folders for name in names if f"{folder}/" in name}
    assert changed == {
        HEAD: set(),
        "refs/heads/template-update/ml/alpha/v2": {"ml/alpha"},
        "refs/heads/template-update/ml/beta%202/v2": {"ml/beta 2"},
    }


@pytest.mark.parametrize("service", ["github", "azure"])
def test_a_pull_request_without_the_folder_in_its_branch_is_found(
    request: pytest.FixtureRequest, rendered: Project, service: str
) -> None:
    origin: Origin = request.getfixturevalue(service)
    folder = origin.project.path / "demo"
    shutil.copytree(rendered.path, folder, ignore=shutil.ignore_patterns(".git"))
    origin.project.commit("two projects")
    inside = Origin(Project(folder, origin.project.template), origin.bare, origin.programs)
    assert inside.propose().status == 0
    call = inside.calls()[-1]
    own = f"{HEAD.removesuffix('v2')}demo/v2"
    git(origin.bare, "update-ref", HEAD, own)
    git(origin.bare, "update-ref", "-d", own)
    branches = origin.branches()
    if service == "github":
        text, pull_request, states = call["body"], github_pull_request, ("OPEN", "CLOSED")
        change, answer = "edit", "https://github.com/acme/demo/pull/8"
    else:
        text = "\n".join(call["words"][call["words"].index("--description") + 1 :])
        pull_request, states = azure_pull_request, ("active", "abandoned")
        change, answer = "update", {"pullRequestId": 8}
    answers: dict[str, Any] = {"list": [], "create": answer, change: answer}
    for state, expected in zip(states, ([change], []), strict=True):
        origin.answer(**answers | {BRANCH: [pull_request(7, state, text)]})
        outcome = inside.propose()
        assert outcome.status == 0, outcome.printed
        assert write_requests(inside.calls()) == expected
        assert origin.branches() == branches
    origin.answer(**answers | {BRANCH: [pull_request(7, states[0], "of another one")]})
    assert inside.propose().status == 0
    assert write_requests(inside.calls()) == ["create"]
    assert origin.branches().keys() == branches.keys() | {own}


def test_an_interrupted_proposal_stages_nothing(github: Origin, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    code = """
import kedro_azure_mlops.update.update as update

def interrupt(*_):
    raise KeyboardInterrupt

update._next_steps = interrupt
"""
    (site / "sitecustomize.py").write_text(code, encoding="utf-8")
    before = github.project.snapshot()
    outcome = github.propose(PYTHONPATH=os.pathsep.join([str(site), str(SOURCES)]))
    assert outcome.status == 130
    assert "no update is staged" in outcome.err
    assert github.project.snapshot() == before
    assert github.propose().status == 0


def test_an_up_to_date_project_calls_no_service(github: Origin) -> None:
    github.project.update()
    github.project.commit("updated")
    before, branches = github.project.snapshot(), github.branches()
    outcome = github.propose()
    assert outcome.status == 0
    assert "nothing to do: this project is at v2" in outcome.out
    assert github.calls() == []
    assert github.branches() == branches
    assert github.project.snapshot() == before


def test_conflicts_are_reported_and_leave_no_branch(github: Origin) -> None:
    github.project.edit({"a.py": lines("a", l10="MINE")})
    before, branches = github.project.snapshot(), github.branches()
    outcome = github.propose()
    assert outcome.status == 1
    assert "  conflict         a.py" in outcome.out
    assert "Resolve them on a laptop: kedro mlops update" in outcome.out
    assert github.calls() == []
    assert github.branches() == branches
    assert github.project.snapshot() == before
    assert github.project.update().status == 1, "the suggested command shows the same"


@pytest.mark.parametrize("mine", [False, True])
def test_the_author_is_the_configured_git_user(github: Origin, mine: bool) -> None:
    if mine:
        git(github.project.path, "config", "user.name", "Ada")
        git(github.project.path, "config", "user.email", "ada@example.com")
    assert github.propose().status == 0
    author = git(github.bare, "log", "-1", "--format=%an %ae %cn", HEAD).strip()
    nobody = "template-update template-update@localhost template-update"
    assert author == ("Ada ada@example.com Ada" if mine else nobody)


def test_the_next_call_retries_a_failed_pull_request(github: Origin) -> None:
    before = github.project.snapshot()
    github.answer(list=[])
    failed = github.propose()
    assert failed.status == 2
    assert "create is forbidden" in failed.err
    assert github.project.snapshot() == before
    github.answer(list=[], create="https://github.com/acme/demo/pull/8")
    outcome = github.propose()
    assert outcome.status == 0
    assert "has this update already" in outcome.out
    assert "opened: https://github.com/acme/demo/pull/8" in outcome.out


def test_a_rejected_push_opens_no_pull_request(github: Origin) -> None:
    hook = github.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\necho 'refusing to update workflow without permission' >&2\nexit 1\n"
    )
    hook.chmod(0o755)
    before = github.project.snapshot()
    outcome = github.propose()
    assert outcome.status == 2
    assert f"{BRANCH} could not be pushed to origin" in outcome.err
    assert "GITHUB_TOKEN must not" in outcome.err
    assert write_requests(github.calls()) == []
    assert github.project.snapshot() == before


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
def test_the_service_follows_from_the_address_or_the_ci_system(
    rendered: Project,
    template: Template,
    tmp_path: Path,
    address: str,
    variables: dict[str, str],
    program: str,
) -> None:
    origin = push_project(address, rendered, template, tmp_path)
    response = {"create": {"pullRequestId": 7}} if program == "repos" else {"create": "done"}
    origin.answer(list=[], **response)
    outcome = origin.propose(**variables)
    assert outcome.status == 0, outcome.printed
    assert (origin.calls()[0]["words"][0] == "repos") == (program == "repos")


def test_an_unknown_service_is_refused_before_any_change(
    rendered: Project, template: Template, tmp_path: Path
) -> None:
    origin = push_project("https://me:secret@git.acme.example/demo", rendered, template, tmp_path)
    before, branches = origin.project.snapshot(), origin.branches()
    outcome = origin.propose()
    assert outcome.status == 2
    assert "origin (https://git.acme.example/demo) is neither on GitHub nor on Azure" in outcome.err
    assert "secret" not in outcome.printed
    assert (origin.project.snapshot(), origin.branches()) == (before, branches)


def test_a_missing_origin_or_program_is_refused(github: Origin) -> None:
    shutil.rmtree(github.programs)
    tools = [shutil.which("git"), sys.executable]
    path = os.pathsep.join({str(Path(str(tool)).parent) for tool in tools})
    if shutil.which("gh", path=path) is None:
        outcome = github.propose(PATH=path)
        assert outcome.status == 2
        assert "gh, which opens pull requests, is not on PATH" in outcome.err
    git(github.project.path, "remote", "remove", "origin")
    outcome = github.propose()
    assert outcome.status == 2
    assert "there is no remote called origin" in outcome.err


def test_git_sends_the_token_of_the_run_only_to_its_service(
    github: Origin,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(github.programs), prepend=os.pathsep)
        patch.setenv("GH_TOKEN", "of the run")
        patch.setenv("SYSTEM_ACCESSTOKEN", "of the agent")
        root = github.project.path
        encoded = base64.b64encode(b"x-access-token:of the run").decode()
        basic = f"AUTHORIZATION: basic {encoded}"
        for host, prefix, header in (
            (GitHub(root, GITHUB), "https://github.com/", basic),
            (
                AzureRepos(root, AZURE),
                "https://dev.azure.com/",
                "AUTHORIZATION: bearer of the agent",
            ),
        ):
            shell = host.settings()
            process = subprocess.run(
                ["git", "config", "--get-urlmatch", "http.extraheader", f"{prefix}acme/demo"],
                env=os.environ | shell,
                capture_output=True,
                text=True,
                check=False,
            )
            assert process.stdout.strip() == header
        assert GitHub(root, "git@github.com:acme/demo.git").settings() == {}


@pytest.mark.parametrize("token", ["", "of the run"])
def test_git_settings_of_the_environment_apply_with_and_without_a_token(
    github: Origin, token: str
) -> None:
    key = f"url.{github.bare.as_uri()}.insteadOf"
    git(github.project.path, "config", "--unset", key)
    variables = {"GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": GITHUB, "GIT_CONFIG_COUNT": "1"}
    outcome = github.propose(**variables, GH_TOKEN=token)
    assert outcome.status == 0, outcome.printed
    assert HEAD in github.branches()


def test_git_settings_do_not_affect_the_proposal(
    github: Origin, template: Template, tmp_path: Path
) -> None:
    github.project.edit({"größe.txt": "MINE\n"})
    git(github.project.path, "push", "--quiet", "origin", "HEAD")
    shell = hostile_shell(template, tmp_path / "settings")
    before = github.project.snapshot()
    outcome = github.propose(**shell)
    assert outcome.status == 0, outcome.printed
    assert "opened: https://github.com/acme/demo/pull/7" in outcome.out
    assert github.project.snapshot() == before
    commit = git(github.bare, "cat-file", "commit", HEAD)
    assert "\nencoding " not in commit
    assert "\n  updated          a.py\n" in commit
    github.answer(list=[github_pull_request()], edit="")
    assert "has this update already" in github.propose(**shell).out
    assert not (tmp_path / "settings" / "called").exists()
