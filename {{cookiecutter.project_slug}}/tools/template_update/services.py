"""Where pull requests are opened: GitHub by `gh`, Azure Repos by `az`, whichever origin is at."""

import base64
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from .errors import RefusedError
from .git import run
from .hosting import Host, Known, Proposal

GITHUB = re.compile(r"(?:^|[@/.])github\.com[:/]")
AZURE = re.compile(r"dev\.azure\.com[:/]|\.visualstudio\.com[:/]")


class GitHub(Host):
    """Pull requests of GitHub."""

    program = "gh"
    token_names = ("GH_TOKEN", "GITHUB_TOKEN")
    longest = 60_000

    def known(self, branch: str) -> list[Known]:
        """Return the pull requests of a branch, those of forks and merged ones left out."""
        keys = "number,state,isCrossRepository,body"
        which = ("--head", branch, "--state", "all", "--limit", "100")
        return [
            Known(str(found["number"]), found["state"] == "OPEN", found["body"])
            for found in self.ask("pr", "list", *which, "--json", keys)
            if found["state"] != "MERGED" and not found["isCrossRepository"]
        ]

    def open(self, proposal: Proposal) -> str:
        """Open a pull request, and say where it is."""
        where = ("--base", proposal.base, "--head", proposal.branch)
        return self._written("pr", "create", *where, proposal=proposal)

    def change(self, number: str, proposal: Proposal) -> str:
        """Give a pull request another title and text, and say where it is."""
        return self._written("pr", "edit", number, proposal=proposal)

    def header(self, token: str) -> str:
        """Return the header of HTTP that lets git push."""
        pair = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        return f"basic {pair}"

    def _written(self, *command: str, proposal: Proposal) -> str:
        with tempfile.TemporaryDirectory(prefix="template-update-") as folder:
            body = Path(folder) / "body.md"
            body.write_text(proposal.text, encoding="utf-8")
            return self.call(*command, "--title", proposal.title, "--body-file", str(body))


class AzureRepos(Host):
    """Pull requests of Azure Repos; the Azure CLI finds organization and project by origin."""

    program = "az"
    token_names = ("SYSTEM_ACCESSTOKEN",)
    longest = 4_000

    def known(self, branch: str) -> list[Known]:
        """Return the pull requests of a branch, those of forks and merged ones left out."""
        options = ("--source-branch", branch, "--status", "all", "--top", "100")
        return [
            Known(
                str(found["pullRequestId"]),
                found["status"] == "active",
                found.get("description") or "",  # a list has the first 400 characters
            )
            for found in self._ask("list", *self._place(), *options)
            if found["status"] != "completed" and not found.get("forkSource")
        ]

    def open(self, proposal: Proposal) -> str:
        """Open a pull request, and say where it is."""
        where = ("--source-branch", proposal.branch, "--target-branch", proposal.base)
        made = self._ask("create", *self._place(), *where, *self._words(proposal))
        return f"pull request {made['pullRequestId']}"

    def change(self, number: str, proposal: Proposal) -> str:
        """Give a pull request another title and text, and say where it is."""
        organization = self._place()[:2]
        self._ask("update", "--id", number, *organization, *self._words(proposal))
        return f"pull request {number}"

    def header(self, token: str) -> str:
        """Return the header of HTTP that lets git push."""
        return f"bearer {token}"

    def _ask(self, *arguments: str) -> Any:
        token = os.environ.get("SYSTEM_ACCESSTOKEN")
        variables = {"AZURE_DEVOPS_EXT_PAT": token} if token else {}
        variables["AZURE_EXTENSION_USE_DYNAMIC_INSTALL"] = "yes_without_prompt"
        return self.ask("repos", "pr", *arguments, "--output", "json", **variables)

    def _place(self) -> list[str]:
        """Name the repository where the agent does; elsewhere the Azure CLI looks at origin."""
        names = {
            "--organization": "SYSTEM_COLLECTIONURI",
            "--project": "SYSTEM_TEAMPROJECT",
            "--repository": "BUILD_REPOSITORY_NAME",
        }
        values = {option: os.environ.get(name, "") for option, name in names.items()}
        if not all(values.values()):
            return []
        return [word for pair in values.items() for word in pair]

    def _words(self, proposal: Proposal) -> list[str]:
        """Write title and text as options: each line of the text is a word of its own."""
        # the Azure CLI takes a word with - for an option, one with @ for a file
        lines = proposal.text.splitlines()
        safe = [f" {line}" if line[:1] in {"-", "@"} else line for line in lines]
        return ["--title", proposal.title, "--description", *safe]


def host_of(root: Path) -> Host:
    """Find out where origin is: by its address, else by the CI system that this runs in.

    Raises
    ------
    RefusedError
        If there is no origin, or nobody knows how to open a pull request there.
    """
    address = run("config", "--get", "remote.origin.url", cwd=root).stdout.decode().strip()
    if not address:
        message = "there is no remote called origin to push to: git remote add origin URL"
        raise RefusedError(message)
    if GITHUB.search(address):
        return GitHub(root, address)
    if AZURE.search(address):
        return AzureRepos(root, address)
    if os.environ.get("GITHUB_ACTIONS"):
        return GitHub(root, address)
    if os.environ.get("TF_BUILD"):
        return AzureRepos(root, address)
    shown = re.sub(r"//[^@/]*@", "//", address)
    message = f"origin ({shown}) is neither at GitHub nor at Azure Repos: update by hand"
    raise RefusedError(message)
