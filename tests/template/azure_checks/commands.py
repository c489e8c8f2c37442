"""Check that scripts, plugin commands, make targets and environments of the steps exist."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path

import kedro_azure_mlops
from kedro_azure_mlops.cli import COMMANDS
from tests.template.azure_checks.document import Fault, Location, Mapping, Text
from tests.template.azure_checks.graph import Job, Stage

_SCRIPT = re.compile(r"operation/execution/(\w+)\.py")
_PLUGIN_COMMAND = re.compile(r"\bkedro mlops (\w+)")
_TARGET = re.compile(r"^\s*(?:exec )?make (\w+)", re.MULTILINE)
_ENV = re.compile(r"--env ([\w-]+)")
_MAKEFILE_RULE = re.compile(r"^([\w./ -]+?)[ \t]*:(?![:=])", re.MULTILINE)


@dataclass
class Commands:
    """The commands that a project offers to its pipelines; a missing file offers none."""

    root: Path

    @cached_property
    def _known(self) -> dict[str, tuple[re.Pattern[str], set[str]]]:
        execution = self.root / "operation" / "execution"
        return {
            "script in operation/execution": (_SCRIPT, {p.stem for p in execution.glob("*.py")}),
            "command of kedro mlops": (_PLUGIN_COMMAND, set(COMMANDS)),
            "target of the Makefile": (_TARGET, self._targets),
            "environment in operation/configuration": (_ENV, self._environments),
        }

    @cached_property
    def _targets(self) -> set[str]:
        makefile = self.root / "Makefile"
        text = makefile.read_text(encoding="utf-8") if makefile.is_file() else ""
        return {name for names in _MAKEFILE_RULE.findall(text) for name in names.split()}

    @cached_property
    def _environments(self) -> set[str]:
        folder = self.root / "operation" / "configuration"
        paths = folder.iterdir() if folder.is_dir() else ()
        return {p.name for p in paths if p.is_dir()} - {"base"}

    def faults_of(self, stages: list[Stage]) -> Iterator[Fault]:
        """Yield the names in steps that the project does not have."""
        for step in (step for stage in stages for job in stage.jobs for step in job.steps):
            for text in scripts_of(step):
                for kind, (pattern, known) in self._known.items():
                    for name in pattern.findall(text) if known else ():
                        if name not in known:
                            yield self._missing(_location_of(text, step), kind, name, known)

    @staticmethod
    def _missing(location: Location, kind: str, name: str, known: set[str]) -> Fault:
        close = get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
        return Fault(location, f"there is no {kind} named {name}: {hint}")

    def reported_outputs(self, job: Job) -> dict[str, frozenset[str]]:
        """Return the known outputs of each named step, all in lower case."""
        outputs = {}
        for step in job.steps:
            scripts = [name for text in scripts_of(step) for name in _SCRIPT.findall(text)]
            for name in scripts if "name" in step else ():
                file = self.root / "operation" / "execution" / f"{name}.py"
                if file.is_file():
                    reported = reported_in(file) | reported_by_plugin()
                    outputs[str(step["name"]).lower()] = frozenset(map(str.lower, reported))
        return outputs


def scripts_of(step: Mapping) -> list[str]:
    """Return the shell scripts of a step."""
    inputs = step.get("inputs")
    inline = inputs.get("inlineScript") if isinstance(inputs, Mapping) else None
    return [
        text for text in (step.get("bash"), step.get("script"), inline) if isinstance(text, str)
    ]


def _location_of(text: str, step: Mapping) -> Location:
    return text.location if isinstance(text, Text) else step.location


@cache
def reported_by_plugin() -> frozenset[str]:
    """Return the outputs that functions of the plugin report to later steps."""
    sources = Path(kedro_azure_mlops.__path__[0]).rglob("*.py")
    return frozenset(name for source in sources for name in reported_in(source))


@cache
def reported_in(source: Path) -> frozenset[str]:
    """Return the keywords passed to ``report_outputs`` or one of its aliases."""
    calls = (n for n in ast.walk(ast.parse(source.read_text("utf-8"))) if isinstance(n, ast.Call))
    names = ("report_outputs", "report", "tell")
    return frozenset(
        keyword.arg
        for call in calls
        if ast.unparse(call.func).rsplit(".", 1)[-1].lstrip("_") in names
        for keyword in call.keywords
        if keyword.arg
    )
