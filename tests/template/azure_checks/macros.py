"""Find misspelt variables in the inputs of steps, such as ``$(champoin)``.

Variables of the portal and of variable groups are declared in no file, so an unknown name is a
fault only if a variable declared for the same job differs by a letter or two.
"""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Text
from tests.template.azure_checks.graph import Job, Stage

_MACRO = re.compile(r"\$\(([A-Za-z_]\w*)\)")
_SET = re.compile(r"##vso\[task\.setvariable [^\]]*?variable=(\w+)", re.IGNORECASE)
_SHELL = ("script", "bash", "pwsh", "powershell", "inlineScript")  # $(name) may be a command
_MAX_CHANGES, _LONG_NAME = 2, 6


def faults_of(pipeline: Mapping, stages: list[Stage]) -> Iterator[Fault]:
    """Yield variables of steps that are probably misspelt."""
    for stage in stages:
        for job in stage.jobs:
            known = {name.lower(): name for name in _declared(pipeline, stage, job)}
            for step in job.steps:
                for text in _texts(step):
                    for name in _MACRO.findall(text):
                        intended = _intended_name(name.lower(), known)
                        if intended:
                            wrong = f"no variable {name} is declared for job {job.name}"
                            yield Fault(
                                text.location, f"{wrong}: did you mean $({known[intended]})?"
                            )


def _declared(pipeline: Mapping, stage: Stage, job: Job) -> Iterator[str]:
    for body in (pipeline, stage.body, job.body):
        variables = body.get("variables")
        if isinstance(variables, Items):
            yield from (str(v["name"]) for v in variables if isinstance(v, Mapping) and "name" in v)
        elif isinstance(variables, Mapping):
            yield from variables
    strategy = job.body.get("strategy")
    matrix = strategy.get("matrix") if isinstance(strategy, Mapping) else None
    for leg in matrix.values() if isinstance(matrix, Mapping) else ():
        yield from leg if isinstance(leg, Mapping) else ()
    for step in job.steps:
        for text in _texts(step, scripts=True):
            yield from _SET.findall(text)


def _texts(value: Any, *, scripts: bool = False) -> Iterator[Text]:
    if isinstance(value, Text):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if scripts or key not in _SHELL:
                yield from _texts(inner, scripts=scripts)


def _intended_name(name: str, known: dict[str, str]) -> str | None:
    if name in known:
        return None
    return next((n for n in get_close_matches(name, known) if _is_typo(name, n)), None)


def _is_typo(name: str, other: str) -> bool:
    """Return whether a name is a misspelling; names that differ in a number are distinct."""
    if re.sub(r"\d", "", name) == re.sub(r"\d", "", other):
        return False
    if sorted(name) == sorted(other):
        return True
    changes = SequenceMatcher(None, name, other, autojunk=False).get_opcodes()
    letters = sum(max(b - a, d - c) for kind, a, b, c, d in changes if kind != "equal")
    return letters <= (_MAX_CHANGES if min(len(name), len(other)) >= _LONG_NAME else 1)
