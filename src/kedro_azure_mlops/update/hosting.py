"""Open pull requests on the service of origin: GitHub with `gh`, Azure Repos with `az`."""

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
    """A pull request from a branch of this repository: open, or closed and not merged."""

    number: str
    is_open: bool
    text: str


class Host(ABC):
    """Opens pull requests through the program of a service, which handles the sign-in."""

    program: str
    token_names: tuple[str, ...]
    longest: int
    """The maximum number of characters in the text of a pull request."""

    def __init__(self, root: Path, address: str) -> None:
        self.root, self.address = root, address
        path = shutil.which(self.program)
        if path is None:
            raise OperationError(
                f"{self.program}, which opens pull requests, is not on PATH: install it"
            )
        self.path = path

    @abstractmethod
    def known(self, branch: str) -> list[Known]:
        """Return the pull requests of a branch, without merged ones and those from forks."""

    @abstractmethod
    def open(self, proposal: Proposal) -> str:
        """Open a pull request and return its address or number."""

    @abstractmethod
    def change(self, number: str, proposal: Proposal) -> str:
        """Change the title and text of a pull request; return its address or number."""

    @abstractmethod
    def header(self, token: str) -> str:
        """Return the value of the HTTP header that lets git push."""

    def settings(self) -> dict[str, str]:
        """Return the variables that let git push with a token; none if no token is set.

        Variables are used because other processes can see the arguments of a process.
        """
        token = next((found for name in self.token_names if (found := os.environ.get(name))), None)
        server = re.match(r"(https?://)(?:[^@/]*@)?([^/]+)/", self.address)
        if not (token and server):
            return {}
        key = f"http.{server[1]}{server[2]}/.extraheader"
        # the empty one removes a header that the checkout of a CI system may have set
        values = ("", f"AUTHORIZATION: {self.header(token)}")
        others = int(os.environ.get("GIT_CONFIG_COUNT") or 0)  # the settings of the environment
        pairs: dict[str, str] = {}
        for number, value in enumerate(values, start=others):
            pairs |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        count = str(others + len(values))
        return pairs | {"GIT_CONFIG_COUNT": count, "GIT_TERMINAL_PROMPT": "0"}

    def call(self, *arguments: str, **variables: str) -> str:
        """Run the program in the project.

        Raises
        ------
        OperationError
            If it fails; the message includes the program's own.
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
        """Return the pull requests of a branch, without merged ones and those from forks."""
        keys = "number,state,isCrossRepository,body"
        which = ("--head", branch, "--state", "all", "--limit", "100")
        return [
            Known(str(found["number"]), found["state"] == "OPEN", found["body"])
            for found in self.ask("pr", "list", *which, "--json", keys)
            if found["state"] != "MERGED" and not found["isCrossRepository"]
        ]

    def open(self, proposal: Proposal) -> str:
        """Open a pull request and return its address or number."""
        where = ("--base", proposal.base, "--head", proposal.branch)
        return self._send("pr", "create", *where, proposal=proposal)

    def change(self, number: str, proposal: Proposal) -> str:
        """Change the title and text of a pull request; return its address or number."""
        return self._send("pr", "edit", number, proposal=proposal)

    def header(self, token: str) -> str:
        """Return the value of the HTTP header that lets git push."""
        pair = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        return f"basic {pair}"

    def _send(self, *command: str, proposal: Proposal) -> str:
        with tempfile.TemporaryDirectory(prefix="template-update-") as folder:
            body = Path(folder) / "body.md"
            body.write_text(proposal.text, encoding="utf-8")
            return self.call(*command, "--title", proposal.title, "--body-file", str(body))


class AzureRepos(Host):
    """Pull requests of Azure Repos; the Azure CLI finds organization and project from origin."""

    program = "az"
    token_names = ("SYSTEM_ACCESSTOKEN",)
    longest = 4_000

    def known(self, branch: str) -> list[Known]:
        """Return the pull requests of a branch, without merged ones and those from forks."""
        options = ("--source-branch", branch, "--status", "all", "--top", "100")
        return [
            Known(
                str(found["pullRequestId"]),
                found["status"] == "active",
                found.get("description") or "",  # lists contain only the first 400 characters
            )
            for found in self._ask("list", *self._location(), *options)
            if found["status"] != "completed" and not found.get("forkSource")
        ]

    def open(self, proposal: Proposal) -> str:
        """Open a pull request and return its address or number."""
        where = ("--source-branch", proposal.branch, "--target-branch", proposal.base)
        made = self._ask("create", *self._location(), *where, *self._text_options(proposal))
        return f"pull request {made['pullRequestId']}"

    def change(self, number: str, proposal: Proposal) -> str:
        """Change the title and text of a pull request; return its address or number."""
        organization = self._location()[:2]
        self._ask("update", "--id", number, *organization, *self._text_options(proposal))
        return f"pull request {number}"

    def header(self, token: str) -> str:
        """Return the value of the HTTP header that lets git push."""
        return f"bearer {token}"

    def _ask(self, *arguments: str) -> Any:
        token = os.environ.get("SYSTEM_ACCESSTOKEN")
        variables = {"AZURE_DEVOPS_EXT_PAT": token} if token else {}
        variables["AZURE_EXTENSION_USE_DYNAMIC_INSTALL"] = "yes_without_prompt"
        return self.ask("repos", "pr", *arguments, "--output", "json", **variables)

    def _location(self) -> list[str]:
        """Return options that name the repository; outside of CI the Azure CLI reads origin."""
        names = {
            "--organization": "SYSTEM_COLLECTIONURI",
            "--project": "SYSTEM_TEAMPROJECT",
            "--repository": "BUILD_REPOSITORY_NAME",
        }
        values = {option: os.environ.get(name, "") for option, name in names.items()}
        if not all(values.values()):
            return []
        return [word for pair in values.items() for word in pair]

    def _text_options(self, proposal: Proposal) -> list[str]:
        """Return title and text as options; each line of the text is a separate argument."""
        # to the Azure CLI, an argument that starts with - is an option, and with @ a file
        lines = proposal.text.splitlines()
        safe = [f" {line}" if line[:1] in {"-", "@"} else line for line in lines]
        return ["--title", proposal.title, "--description", *safe]


def host_of(root: Path) -> Host:
    """Return the service that hosts origin, by its address, else by the current CI system.

    Raises
    ------
    OperationError
        If there is no origin, or it is on neither service.
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
        f"origin ({shown}) is neither on GitHub nor on Azure Repos: update manually"
    )
