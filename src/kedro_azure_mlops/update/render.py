"""Render commits of the template, as a separate program that ``renderer.py`` runs.

Reads requests as lines of JSON on standard input and answers each with a line on standard output.
A request names the folder of a template, the answers to its questions and an output folder.
"""

# ruff: noqa: E402

import contextlib
import gc
import json
import logging
import os
import re
import shutil
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

gc.disable()  # The update waits for these imports, and the process is short-lived.

from cookiecutter import generate
from cookiecutter.exceptions import CookiecutterException, FailedHookException
from cookiecutter.prompt import render_variable
from cookiecutter.utils import create_env_with_context
from jinja2 import TemplateError

TRUTHS = {"1": True, "true": True, "t": True, "yes": True, "y": True, "on": True}
FALSEHOODS = {"0": False, "false": False, "f": False, "no": False, "n": False, "off": False}


# A file that has other tags, or uses the whole context, may depend on more than its source.
TAG = re.compile(rb"[{]%[-+]?\s*(\w+)")
PLAIN_TAGS = {b"if", b"elif", b"else", b"endif", b"for", b"endfor", b"set", b"raw", b"endraw"}
# A file without these is copied: rendering changes only Jinja and Windows line endings.
MARK = re.compile(rb"[{]([{]|%|#)|\r")
# Settings of a template that change how files are rendered.
UNUSUAL = {"_extensions", "_jinja2_env_vars", "_new_lines"}
UNSTEADY = re.compile(rb"\bcookiecutter\b(?!\.[a-z_])|_commit|random_ascii_string|uuid4")


class Memory:
    """A cache of rendered files: the same source with the same variables gives the same file.

    Most files of two releases are the same, and compiling a template takes a while.
    """

    def __init__(self) -> None:
        self.generate_file = generate.generate_file
        self.files: dict[tuple[Any, ...], bytes | None] = {}
        self.names: dict[tuple[str, str], str] = {}

    def __call__(
        self, project: str, source: str, context: dict[str, Any], env: Any, skip: bool = False
    ) -> None:
        """Render one file, in place of cookiecutter's own function."""
        content = Path(source).read_bytes()
        values = {k: v for k, v in context["cookiecutter"].items() if k != "_commit"}
        if not self.may_remember(content, values):
            self.generate_file(project, source, context, env, skip)
            return
        variables = json.dumps(values, sort_keys=True)
        parts = (self.name(part, variables, context, env) for part in Path(source).parts)
        target = Path(project, *parts)
        key = (source, content, variables)
        if not MARK.search(content):
            self.files[key] = None if target.is_dir() else content  # a name can render to nothing
        elif key not in self.files:
            self.generate_file(project, source, context, env, skip)
            self.files[key] = target.read_bytes() if target.is_file() else None
            return
        if (rendered := self.files[key]) is not None:
            target.write_bytes(rendered)
            shutil.copymode(source, target)

    @staticmethod
    def may_remember(content: bytes, values: dict[str, Any]) -> bool:
        """Return whether a file depends only on its source and the variables."""
        steady = set(TAG.findall(content)) <= PLAIN_TAGS and not UNSTEADY.search(content)
        return steady and not any(values.get(name) for name in UNUSUAL)

    def name(self, part: str, variables: str, context: dict[str, Any], env: Any) -> str:
        """Return a part of a path, rendered."""
        key = (part, variables)
        if key not in self.names:
            self.names[key] = env.from_string(part).render(**context)
        return self.names[key]


class UnfitAnswerError(Exception):
    """An answer is not one of the choices."""


FAULTS = (UnfitAnswerError, CookiecutterException, TemplateError, OSError, ValueError)


def fitting(question: str, default: Any, answer: Any, choices: list[str]) -> Any:
    """Return an answer in the type of its question."""
    if isinstance(default, list) and answer not in choices:
        pairs = [f"{question}={choice}" for choice in choices]
        offered = [f'--answer "{pair}"' if " " in pair else f"--answer {pair}" for pair in pairs]
        raise UnfitAnswerError(
            f"{question} {answer!r} is no longer offered. Choose one: {' or '.join(offered)}"
        )
    if isinstance(default, bool) and isinstance(answer, str):
        try:
            return (TRUTHS | FALSEHOODS)[answer.lower()]
        except KeyError:
            raise UnfitAnswerError(f"{question} {answer!r} is neither yes nor no") from None
    if isinstance(default, dict) and isinstance(answer, str):
        return json.loads(answer)
    return answer


def variables(questions: dict[str, Any], answers: dict[str, Any], strict: bool) -> dict[str, Any]:
    """Return all variables: answers verbatim, all others computed from them.

    Cookiecutter would render the text of answers as Jinja again.
    """
    environment = create_env_with_context({"cookiecutter": questions})
    found: dict[str, Any] = OrderedDict()

    def computed(raw: Any) -> Any:
        return render_variable(environment, raw, found)

    # Dictionaries last, as in cookiecutter: they may refer to all other variables.
    for key, raw in sorted(questions.items(), key=lambda item: isinstance(item[1], dict)):
        if key == "__prompts__":
            continue
        if key.startswith("_") and not key.startswith("__"):
            found[key] = raw
        elif key in answers and not key.startswith("_"):
            choices = [str(computed(choice)) for choice in raw] if isinstance(raw, list) else []
            found[key] = fitting(key, raw, answers[key], choices) if strict else answers[key]
        elif isinstance(raw, list):
            found[key] = computed(raw[0])
        else:
            found[key] = computed(raw)
    return found


def render(request: dict[str, Any]) -> dict[str, Any]:
    """Render one commit; return the folder, and the answers including defaults."""
    template = Path(request["template"])
    questions = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    sys.path.append(str(template))
    try:
        found = variables(questions, request["answers"], request["strict"])
        # A hook that sees `_template` and no `_output_dir` can detect that this is an update.
        found |= {"_template": request["url"], "_commit": request["commit"]}
        context = {"cookiecutter": found}

        def output(hooks: bool) -> str:
            place = Path(request["output"]) / ("hooks" if hooks else "bare")
            files = generate.generate_files(template, context, str(place), accept_hooks=hooks)
            return str(files)

        try:
            project = output(hooks=True)
        except FailedHookException:
            # A faulty hook of an old release can no longer be fixed: skip it.
            if request["strict"]:
                raise
            project = output(hooks=False)
    finally:
        sys.path.remove(str(template))
    public = {key: answer for key, answer in found.items() if not key.startswith("_")}
    return {"project": project, "answers": public}


def main() -> None:
    """Answer requests until the input ends."""
    # Output of hooks goes to the messages, not to the answers.
    generate.generate_file = Memory()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.disable()  # cookiecutter logs a traceback if a hook refuses
    for line in sys.stdin:
        begin = os.lseek(2, 0, os.SEEK_END)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answer = render(json.loads(line))
        except FAULTS as error:
            answer = {
                "fault": str(error) or type(error).__name__,
                "is_hook": isinstance(error, FailedHookException),
                "printed_from": begin,
            }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
