"""The steps of rendered workflows and pipelines, ready to be run as an agent would run them.

What a step runs is read from the YAML: its actions and templates are opened, expressions that name
an input, a parameter or a column of a matrix are replaced by their values.
"""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import BakedProject, clean_environment

NAMED = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
GITHUB_OPTIONS = ("-e", "-o", "pipefail")
CONDITION = re.compile(r"\$\{\{ if parameters\.(\w+) \}\}")
# where the list stands that a condition puts in place of a step
IN_PLACE = "in place"
REPEAT = re.compile(r"^To repeat this on a laptop: (.+)$", re.MULTILINE)
DEADLINE = 120  # seconds; only what is broken takes so long

# A verb that notes the interruptions it hears, and ends only when the test lets it.
INTERRUPTED = """
import signal, sys, time
from pathlib import Path

heard = []
signal.signal(signal.SIGINT, lambda *_: (heard.append("INT"), Path("heard").touch()))
signal.signal(signal.SIGTERM, lambda *_: heard.append("TERM"))
Path("begun").touch()
end = time.monotonic() + 120
while not Path("go_on").exists() and time.monotonic() < end:
    time.sleep(0.01)
Path("taken_back").write_text(" ".join(heard))
"""


@dataclass(frozen=True)
class Step:
    """A script of a step, and the environment variables that the YAML gives it."""

    name: str
    script: str
    variables: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    def run(
        self, folder: Path, provider: dict[str, str], **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it in a folder, with the variables that its provider sets."""
        return subprocess.run(
            ["bash", "--noprofile", "--norc", *self.options, "-c", self.script],
            cwd=folder,
            env=clean_environment(**(provider | self.variables | more)),
            capture_output=True,
            text=True,
            check=False,
        )


def filled(value: Any, values: dict[str, str]) -> str:  # noqa: ANN401
    """Return a text with the expressions replaced by their values; one that is not known stays."""
    return NAMED.sub(lambda match: values.get(match[1], match[0]), str(value))


def repeated(log: str) -> str:
    """Return the command that a log says to type on a laptop."""
    (command,) = REPEAT.findall(log)
    return command


def typed(
    folder: Path, command: str, shell: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Type a command into a shell that has just been opened."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", command],
        cwd=folder,
        env=clean_environment(**(shell or {})),
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Cancelled:
    """How a step ended that was cancelled."""

    code: int
    heard: str
    """The signals that its verb got."""
    log: str


def cancel(
    folder: Path, script: str, options: tuple[str, ...], variables: dict[str, str]
) -> Cancelled:
    """Run a script with a verb that is at work, and signal the script's process as agents do.

    ``make check`` takes a moment to end. First comes INT, then, while the verb ends, TERM.
    """
    (folder / "verb.py").write_text(INTERRUPTED, encoding="utf-8")
    rule = f"check:\n\t@'{sys.executable}' verb.py 'quoted, so by a shell'\n"
    (folder / "Makefile").write_text(rule, encoding="utf-8")
    (folder / "step.sh").write_text(script, encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", *options, "step.sh"],
            cwd=folder,
            env=clean_environment(**variables),
            stdout=log,
            stderr=log,
            start_new_session=True,
            # a shell cannot trap what is ignored where it begins
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            _until((folder / "begun").exists)
            process.send_signal(signal.SIGINT)
            _until(lambda: (folder / "heard").exists() or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            (folder / "go_on").touch()
            code = process.wait(DEADLINE)
            there = (folder / "taken_back").exists()
        finally:
            (folder / "go_on").touch()  # the verb may outlive its step
            _until((folder / "taken_back").exists)
            process.kill()
            process.wait()
    heard = (folder / "taken_back").read_text(encoding="utf-8")
    said = (folder / "log").read_text(encoding="utf-8")
    return Cancelled(code, heard if there else "the step ended before its verb", said)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def words(command: str) -> list[str]:
    """Return the words of a command as a shell splits it."""
    return shlex.split(command)


def steps_of_github(project: BakedProject, workflow: str, job: str) -> list[Step]:
    """Return all scripts of a job, for each combination of its matrix; actions of ours opened."""
    content = project.yaml(f".github/workflows/{workflow}")["jobs"][job]
    matrix = content.get("strategy", {}).get("matrix", {})
    columns = [{}]
    for name, values in matrix.items():
        columns = [c | {f"matrix.{name}": value} for c in columns for value in values]
    return [step for values in columns for step in _github(project, content["steps"], values)]


def _github(
    project: BakedProject, steps: list[dict[str, Any]], values: dict[str, str]
) -> Iterator[Step]:
    for step in steps:
        name = filled(step.get("name", ""), values)
        variables = {k: filled(v, values) for k, v in step.get("env", {}).items()}
        if "run" in step:
            yield Step(name, step["run"], variables, GITHUB_OPTIONS)
        elif step["uses"].startswith("$/"):
            action = project.yaml(f"{step['uses'][2:]}/action.yml")
            inputs = {k: v.get("default", "") for k, v in action.get("inputs", {}).items()}
            inputs |= {k: filled(v, values) for k, v in step.get("with", {}).items()}
            inner = {f"inputs.{k}": v for k, v in inputs.items()}
            for one in _github(project, action["runs"]["steps"], inner):
                yield Step(name, one.script, variables | one.variables, one.options)


def steps_of_azure(project: BakedProject, pipeline: str) -> list[Step]:
    """Return all scripts for bash of a pipeline; templates opened."""
    return list(_azure(project, Path("azure_pipelines", pipeline), {}))


def _azure(project: BakedProject, file: Path, given: dict[str, str]) -> Iterator[Step]:
    content = project.yaml(file.as_posix())
    values = {p["name"]: p.get("default", "") for p in content.get("parameters", [])} | given
    yield from _azure_below(project, file, content, values)


def _azure_below(
    project: BakedProject,
    file: Path,
    value: Any,  # noqa: ANN401
    values: dict[str, str],
) -> Iterator[Step]:
    if isinstance(value, list):
        for part in value:
            yield from _azure_below(project, file, part, values)
    if not isinstance(value, dict):
        return
    value = _decided(value, values)
    named = {f"parameters.{k}": v for k, v in values.items()}
    script = value.get("bash") or value.get("script") or value.get("inputs", {}).get("inlineScript")
    if "template" in value:
        told = {k: filled(v, named) for k, v in value.get("parameters", {}).items()}
        yield from _azure(project, file.parent / value["template"], told)
    elif script:
        variables = {k: filled(v, named) for k, v in value.get("env", {}).items()}
        yield Step(filled(value.get("displayName", ""), named), filled(script, named), variables)
    else:
        for key in ("stages", "jobs", "steps", IN_PLACE):
            yield from _azure_below(project, file, value.get(key), values)


def _decided(value: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """Return a mapping with the conditions among its keys decided."""
    decided: dict[str, Any] = {}
    holds = False
    for key, part in value.items():
        if match := CONDITION.fullmatch(key):
            holds = values[match[1]] not in ("", "false", "False")
        elif key == "${{ else }}":
            holds = not holds
        else:
            decided[key] = _decided(part, values) if isinstance(part, dict) else part
            continue
        if holds and isinstance(part, dict):
            decided |= _decided(part, values)
        elif holds:
            decided[IN_PLACE] = part
    return decided


def calls_of_github(project: BakedProject) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where a workflow calls the action `make`, and what it tells it."""
    for name in sorted(project.files):
        if name.startswith(".github/workflows/"):
            for job in project.yaml(name)["jobs"].values():
                for step in job.get("steps", []):
                    if step.get("uses") == "$/.github/actions/make":
                        yield f"{name}: {step['name']}", step["with"]
