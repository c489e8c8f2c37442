"""Control the rendering process, which is started early because it takes a while to be ready."""

import json
import os
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from kedro_azure_mlops.errors import OperationError

PROGRAM = "render.py"
NO_COOKIECUTTER = "No module named 'cookiecutter'"


@dataclass(frozen=True)
class Rendered:
    """A commit of the template, rendered with some answers."""

    folder: Path
    answers: dict[str, Any]


class Renderer:
    """A rendering process without access to the user's home, settings and variables.

    Parameters
    ----------
    scratch
        A folder that does not exist yet.
    python
        An interpreter that has cookiecutter.
    command
        The user's command, for hooks to suggest with other answers.
    answers
        The answers in that command.
    """

    def __init__(
        self, scratch: Path, python: Path | str, command: list[str], answers: dict[str, str]
    ) -> None:
        self.scratch = scratch
        home = scratch / "home"
        home.mkdir(parents=True)
        private = ("GIT_", "PYTHON", "COOKIECUTTER", "XDG_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(private)}
        self.python = python
        program = home / PROGRAM
        # read as a resource: the plugin may be imported from its wheel
        program.write_bytes((files(__package__) / PROGRAM).read_bytes())
        self.messages = (scratch / "messages").open("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            [python, "-I", "-W", "ignore", program],
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
                "KEDRO_MLOPS_UPDATE": json.dumps({"command": command, "answers": answers}),
            },
        )
        self._requests = cast(IO[str], self.process.stdin)
        self._answers = cast(IO[str], self.process.stdout)

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
        """Request a render; with `strict` every answer must fit and every hook must succeed."""
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
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
        except OSError:
            raise OperationError(self.complaint()) from None

    def answer(self, what: str) -> Rendered:
        """Wait for the next requested render.

        Raises
        ------
        OperationError
            If the template could not be rendered.
        """
        line = self._answers.readline()
        if not line:
            raise OperationError(self.complaint())
        found = json.loads(line)
        if "fault" in found:
            printed = self.output(found["printed_from"])
            words = [printed or found["fault"]] if found["is_hook"] else [found["fault"], printed]
            message = "\n".join(filter(None, words))
            raise OperationError(f"{what} could not be rendered: {message}")
        return Rendered(Path(found["project"]), found["answers"])

    def output(self, start: int = 0) -> str:
        """Return what the process and the template's hooks printed, from a position on."""
        self.messages.flush()
        printed = (self.scratch / "messages").read_bytes()[start:]
        return printed.decode("utf-8", "replace").strip()

    def complaint(self) -> str:
        """Return why the process ended."""
        output = self.output()
        if NO_COOKIECUTTER in output:
            return f"{self.python} has no cookiecutter. Remove that environment and try again"
        return f"the template could not be rendered:\n{output}"
