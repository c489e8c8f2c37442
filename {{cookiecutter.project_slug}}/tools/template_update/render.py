"""Render commits of the template: a process of its own that knows nothing of its user.

Reads requests as lines of JSON on standard input and answers each with a line on standard output.
A request names the folder of a template, the answers to its questions and an output folder.
"""

import contextlib
import json
import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

from cookiecutter.exceptions import CookiecutterException, FailedHookException
from cookiecutter.generate import generate_files
from cookiecutter.prompt import render_variable
from cookiecutter.utils import create_env_with_context
from jinja2 import TemplateError

TRUTHS = {"1": True, "true": True, "t": True, "yes": True, "y": True, "on": True}
FALSEHOODS = {"0": False, "false": False, "f": False, "no": False, "n": False, "off": False}


class UnfitAnswerError(Exception):
    """An answer is none of the choices."""


FAULTS = (UnfitAnswerError, CookiecutterException, TemplateError, OSError, ValueError)


def fitting(question: str, default: Any, answer: Any, choices: list[str]) -> Any:
    """Return an answer in the type of its question."""
    if isinstance(default, list) and answer not in choices:
        raise UnfitAnswerError(
            f"{question} {answer!r} is not offered any more. "
            f"Choose one: " + " or ".join(f"--answer {question}={choice}" for choice in choices)
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
    """Return all variables: answers word for word, everything else computed from them.

    Cookiecutter would run the text of answers as Jinja once more.
    """
    environment = create_env_with_context({"cookiecutter": questions})
    found: dict[str, Any] = OrderedDict()

    def computed(raw: Any) -> Any:
        return render_variable(environment, raw, found)

    # Dictionaries last, as cookiecutter does: they may speak of everything else.
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
    """Render one commit and return where to, and the answers with those that were missing."""
    template = Path(request["template"])
    questions = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    sys.path.append(str(template))
    try:
        found = variables(questions, request["answers"], request["strict"])
        # A hook that sees `_template` and no `_output_dir` knows that this is no first render.
        found |= {"_template": request["url"], "_commit": request["commit"]}
        context = {"cookiecutter": found}

        def generate(hooks: bool) -> str:
            output = Path(request["output"]) / ("hooks" if hooks else "bare")
            return generate_files(template, context, str(output), accept_hooks=hooks)

        try:
            project = generate(hooks=True)
        except FailedHookException:
            # A fault in the hook of an old release can never be mended: leave it out.
            if request["strict"]:
                raise
            project = generate(hooks=False)
    finally:
        sys.path.remove(str(template))
    public = {key: answer for key, answer in found.items() if not key.startswith("_")}
    return {"project": project, "answers": public}


def main() -> None:
    """Answer requests until there are none."""
    # What hooks print belongs to the messages, not to the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answer = render(json.loads(line))
        except FAULTS as error:
            answer = {"fault": str(error) or type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
