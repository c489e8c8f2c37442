"""Talk to the process that renders, started early because it takes a while to be ready."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .errors import RefusedError

PROGRAM = Path(__file__).parent / "render.py"
NO_COOKIECUTTER = "No module named 'cookiecutter'"


@dataclass(frozen=True)
class Rendered:
    """A commit of the template with some answers, as files."""

    folder: Path
    answers: dict[str, Any]


class Renderer:
    """A process that renders and sees nothing of the user: no home, no settings, no variables."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        home = scratch / "home"
        home.mkdir(parents=True)
        private = ("GIT_", "PYTHON", "COOKIECUTTER", "XDG_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(private)}
        self.messages = (scratch / "messages").open("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-W", "ignore", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            encoding="utf-8",
            cwd=scratch,
            env=kept
            | {
                "HOME": str(home),
                "USERPROFILE": str(home),
                **{name: str(home) for name in ("TMPDIR", "TEMP", "TMP")},
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.messages.close()

    def ask(
        self, template: Path, answers: dict[str, Any], *, url: str, commit: str, strict: bool
    ) -> None:
        """Ask for a render; with `strict` every answer must fit and every hook must be content."""
        request = {
            "template": str(template),
            "answers": answers,
            "output": str(self.scratch / template.name / "rendered"),
            "url": url,
            "commit": commit,
            "strict": strict,
        }
        (self.scratch / template.name).mkdir()
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise RefusedError(self.complaint()) from None

    def answer(self, what: str) -> Rendered:
        """Wait for the next render that was asked for.

        Raises
        ------
        RefusedError
            If the template could not be rendered.
        """
        line = self.process.stdout.readline()
        if not line:
            raise RefusedError(self.complaint())
        found = json.loads(line)
        if "fault" in found:
            message = f"{what} could not be rendered: {found['fault']}\n{self.said()}".strip()
            raise RefusedError(message)
        return Rendered(Path(found["project"]), found["answers"])

    def said(self) -> str:
        """Return what the process and the template's hooks wrote."""
        self.messages.flush()
        return (self.scratch / "messages").read_text(encoding="utf-8", errors="replace").strip()

    def complaint(self) -> str:
        """Say why the process ended."""
        said = self.said()
        if NO_COOKIECUTTER in said:
            return f"{sys.executable} has no cookiecutter: type make template-update"
        return f"the template could not be rendered:\n{said}"
