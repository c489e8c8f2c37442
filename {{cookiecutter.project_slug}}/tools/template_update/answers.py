"""Carry recorded answers over to the questions of a newer release.

The template's `migrations.json` says what became of questions and choices:

    [{"question": "ci", "renamed": "ci_provider"},
     {"question": "license", "choices": {"GPL": "Proprietary"}},
     {"question": "use_docker", "removed": "Docker is always there"}]
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import RefusedError

NAME = "migrations.json"


@dataclass
class Answers:
    """The answers for a release, and what a person should know of them."""

    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def read_questions(template: Path) -> dict[str, Any]:
    """Return the questions of a release, without what is computed.

    Raises
    ------
    RefusedError
        If the folder holds no template.
    """
    try:
        questions = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"that commit of the template holds no cookiecutter.json ({error})"
        raise RefusedError(message) from error
    return {key: default for key, default in questions.items() if not key.startswith("_")}


def read_table(template: Path) -> list[dict[str, Any]]:
    """Return the rows of the table of a release; without a table there are none."""
    path = template / NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def follow(row: dict[str, Any], answers: Answers, questions: dict[str, Any]) -> None:
    """Do what a row says, where it speaks of an answer that does not fit any more."""
    question = row["question"]
    if question not in answers.values:
        return
    answer = answers.values[question]
    if "choices" in row:
        if answer in row["choices"] and answer not in questions.get(question, []):
            answers.values[question] = row["choices"][answer]
            answers.notes.append(f"{question}: {answer} became {row['choices'][answer]}")
    elif question in questions:
        return  # asked again, so the row is history
    elif "renamed" in row:
        answers.values.setdefault(row["renamed"], answers.values.pop(question))
        answers.notes.append(f"{question} is called {row['renamed']}")
    else:
        del answers.values[question]
        answers.notes.append(f"{question} ({answer}) is not asked any more: {row['removed']}")


def carry_over(recorded: dict[str, Any], given: dict[str, str], template: Path) -> Answers:
    """Return the answers for a release: recorded ones, with what was given in their place.

    Raises
    ------
    RefusedError
        If something is given that the release does not ask.
    """
    questions = read_questions(template)
    answers = Answers(dict(recorded))
    for row in read_table(template):
        follow(row, answers, questions)
    for question in [key for key in answers.values if key not in questions]:
        answers.notes.append(f"{question} ({answers.values.pop(question)}) is not asked any more")
    if unknown := sorted(set(given) - set(questions)):
        message = f"the template does not ask {', '.join(unknown)}; it asks {', '.join(questions)}"
        raise RefusedError(message)
    answers.values |= given
    return answers
