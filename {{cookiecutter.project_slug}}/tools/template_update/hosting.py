"""What is asked of a service that keeps a repository: to take a branch, and a pull request."""

import json
import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import RefusedError


@dataclass(frozen=True)
class Proposal:
    """A pull request as it is to be."""

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
    """Opens pull requests by the program of a service, which knows how to sign in."""

    program: str
    token_names: tuple[str, ...]
    longest: int
    """Characters that the text of a pull request may have."""

    def __init__(self, root: Path, address: str) -> None:
        self.root, self.address = root, address
        found = shutil.which(self.program)
        if found is None:
            message = f"there is no {self.program} on PATH, which opens pull requests: install it"
            raise RefusedError(message)
        self.path = found

    @abstractmethod
    def known(self, branch: str) -> list[Known]:
        """Return the pull requests of a branch, those of forks and merged ones left out."""

    @abstractmethod
    def open(self, proposal: Proposal) -> str:
        """Open a pull request, and say where it is."""

    @abstractmethod
    def change(self, number: str, proposal: Proposal) -> str:
        """Give a pull request another title and text, and say where it is."""

    @abstractmethod
    def header(self, token: str) -> str:
        """Return the header of HTTP that lets git push."""

    def settings(self) -> dict[str, str]:
        """Return the variables with which git pushes as the CI run; a person's git has its own.

        They reach git by its environment: arguments are seen by every process.
        """
        token = next((found for name in self.token_names if (found := os.environ.get(name))), None)
        place = re.match(r"(https?://)(?:[^@/]*@)?([^/]+)/", self.address)
        if not (token and place):
            return {}
        key = f"http.{place[1]}{place[2]}/.extraheader"
        # the empty one takes away what the checkout of a CI system may have set
        values = ("", f"AUTHORIZATION: {self.header(token)}")
        pairs = {f"GIT_CONFIG_KEY_{n}": key for n in range(len(values))}
        pairs |= {f"GIT_CONFIG_VALUE_{n}": value for n, value in enumerate(values)}
        return pairs | {"GIT_CONFIG_COUNT": str(len(values)), "GIT_TERMINAL_PROMPT": "0"}

    def call(self, *arguments: str, **variables: str) -> str:
        """Run the program in the project.

        Raises
        ------
        RefusedError
            If it fails; the message holds what it said.
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
            message = f"{words} failed: {process.stderr.strip() or process.stdout.strip()}"
            raise RefusedError(message)
        return process.stdout.strip()

    def ask(self, *arguments: str, **variables: str) -> Any:
        """Run the program and return the JSON that it prints."""
        said = self.call(*arguments, **variables)
        try:
            return json.loads(said)
        except ValueError as error:
            message = f"{self.program} {arguments[0]} did not answer with JSON: {said[:200]}"
            raise RefusedError(message) from error
