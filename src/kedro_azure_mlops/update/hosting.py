"""Where pull requests are opened: GitHub by `gh`, Azure Repos by `az`, whichever origin is at."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.update.git import run


@dataclass(frozen=True)
class Proposal:
    """A pull request to be opened."""

    branch: str
    base: str
    title: str
    text: str


@dataclass(frozen=True)
class Known:
    """A pull request of a branch of this very repository: open, or closed and not merged."""

    number: str
    is_open: bool
    text: str


class Host(ABC):
    """Opens pull requests through the program of a service, which knows how to sign in."""

    program: str
    token_names: tuple[str, ...]
    longest: int
    """Characters that the text of a pull request may have."""

    def __init__(self, root: Path, address: str) -> None:
        self.root, self.address = root, address
        found = shutil.which(self.program)
        if found is None:
            raise OperationError(
                f"there is no {self.program} on PATH, which opens pull requests: install it"
            )
        self.path = found

    @abstractmethod
    def known(self, branch: str) -> list[Known]:
        """Return the pull requests of a branch, those of forks and merged ones left out."""

    @abstractmethod
    def open(self, proposal: Proposal) -> str:
        """Open a pull request and return where it is."""

    @abstractmethod
    def change(self, number: str, proposal: Proposal) -> str:
        """Change title and text of a pull request and return where it is."""

    @abstractmethod
    def header(self, token: str) -> str:
        """Return the header of HTTP that lets git push."""

    def settings(self) -> dict[str, str]:
        """Return the variables with which git pushes as the CI run; a person's git has its own.

        They are variables because every process can see the arguments of another.
        """
        token = next((found for name in self.token_names if (found := os.environ.get(name))), None)
        place = re.match(r"(https?://)(?:[^@/]*@)?([^/]+)/", self.address)
        if not (token and place):
            return {}
        key = f"http.{place[1]}{place[2]}/.extraheader"
        # the empty one removes what the checkout of a CI system may have set
        values = ("", f"AUTHORIZATION: {self.header(token)}")
        pairs = {f"GIT_CONFIG_KEY_{n}": key for n in range(len(values))}
        pairs |= {f"GIT_CONFIG_VALUE_{n}": value for n, value in enumerate(values)}
        return pairs | {"GIT_CONFIG_COUNT": str(len(values)), "GIT_TERMINAL_PROMPT": "0"}

    def call(self, *arguments: str, **variables: str) -> str:
        """Run the program in the project.

        Raises
        ------
        OperationError
            If it fails; the message holds its own.
        """
        process = subprocess.run(
            [self.path, *arguments],
            cwd=self.root,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if process.returncode:
            words = " ".join([self.program, *arguments[:3]])
            complaint = process.stderr.strip() or process.stdout.strip()
            raise OperationError(f"{words} failed: {complaint}")
        return process.stdout.strip()

    def ask(self, *arguments: str, **variables: str) -> Any:
        """Run the program and return the JSON that it prints."""
        answer = self.call(*arguments, **variables)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise OperationError(
                f"{self.program} {arguments[0]} did not answer with JSON: {answer[:200]}"
            ) from error


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
        """Open a pull request and return where it is."""
        where = ("--base", proposal.base, "--head", proposal.branch)
        return self._written("pr", "create", *where, proposal=proposal)

    def change(self, number: str, proposal: Proposal) -> str:
        """Change title and text of a pull request and return where it is."""
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
        """Open a pull request and return where it is."""
        where = ("--source-branch", proposal.branch, "--target-branch", proposal.base)
        made = self._ask("create", *self._place(), *where, *self._words(proposal))
        return f"pull request {made['pullRequestId']}"

    def change(self, number: str, proposal: Proposal) -> str:
        """Change title and text of a pull request and return where it is."""
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
        """Return options that name the repository; outside of CI the Azure CLI looks at origin."""
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
        """Return title and text as options: each line of the text is a word of its own."""
        # the Azure CLI takes a word with - for an option, one with @ for a file
        lines = proposal.text.splitlines()
        safe = [f" {line}" if line[:1] in {"-", "@"} else line for line in lines]
        return ["--title", proposal.title, "--description", *safe]


def host_of(root: Path) -> Host:
    """Return the service that holds origin, by its address, else by the CI system this runs in.

    Raises
    ------
    OperationError
        If there is no origin, or it is at neither service.
    """
    address = run("config", "--get", "remote.origin.url", cwd=root).stdout.decode().strip()
    if not address:
        raise OperationError(
            "there is no remote called origin to push to: git remote add origin URL"
        )
    if GITHUB.search(address):
        return GitHub(root, address)
    if AZURE.search(address):
        return AzureRepos(root, address)
    if os.environ.get("GITHUB_ACTIONS"):
        return GitHub(root, address)
    if os.environ.get("TF_BUILD"):
        return AzureRepos(root, address)
    shown = re.sub(r"//[^@/]*@", "//", address)
    raise OperationError(
        f"origin ({shown}) is neither at GitHub nor at Azure Repos: update by hand"
    )
