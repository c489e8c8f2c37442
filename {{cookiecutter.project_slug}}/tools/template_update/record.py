"""The record of where a project comes from: `.cruft.json`, which cruft reads and writes too."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import RefusedError

NAME = ".cruft.json"
HELP = (
    "docs/updating.md of the template says how to write it: "
    'make template-update ARGS="--link URL --to TAG --answer key=value"'
)


@dataclass(frozen=True)
class Record:
    """Template, commit and answers of a project."""

    url: str
    commit: str
    tag: str | None
    answers: dict[str, Any]
    directory: str | None
    rest: dict[str, Any]

    @property
    def skipped(self) -> list[str]:
        """Patterns of files that no update may touch, as cruft knows them."""
        return [str(pattern) for pattern in self.rest.get("skip") or []]

    @classmethod
    def read(cls, root: Path) -> "Record":
        """Read the record of a project.

        Raises
        ------
        RefusedError
            If there is none, or it cannot be read.
        """
        try:
            state = json.loads((root / NAME).read_text(encoding="utf-8"))
            variables = state.pop("context")["cookiecutter"]
            return cls(
                url=state.pop("template"),
                commit=state.pop("commit"),
                tag=state.pop("checkout", None),
                answers={k: v for k, v in variables.items() if not k.startswith("_")},
                directory=state.pop("directory", None) or None,
                rest=state,
            )
        except FileNotFoundError:
            message = f"there is no {NAME}: nothing says what this project was made from.\n{HELP}"
            raise RefusedError(message) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{NAME} is no record of a template ({error!r}).\n{HELP}"
            raise RefusedError(message) from error

    def moved(self, commit: str, tag: str | None, answers: dict[str, Any]) -> "Record":
        """Return the record of the same project at another commit."""
        return replace(self, commit=commit, tag=tag, answers=answers)

    def text(self) -> str:
        """Return the record as it is written."""
        answers = dict(sorted(self.answers.items()))
        variables = answers | {"_template": self.url, "_commit": self.commit}
        state = {
            "template": self.url,
            "commit": self.commit,
            "checkout": self.tag,
            "context": {"cookiecutter": variables},
            "directory": self.directory,
        } | self.rest
        return json.dumps(state, indent=2, ensure_ascii=False) + "\n"
