"""Kinds of secrets that are known by the place they stand in: plugins of detect-secrets."""

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.util.code_snippet import CodeSnippet

# The name of a variable that holds a secret, and a value that is written down.
_NAMED = r"[\"']?name[\"']?\s*:\s*[\"']?[\w.-]*(?:secret|passw(?:or)?d|pwd|token|key|pat|sas)[\"']?"
_WRITTEN = r"[\"']?([^\s\"'$<{(,\[][^\s\"',]{7,})"
_NAME = re.compile(r"\s*(?:-\s+)?[\"']?name[\"']?\s*:", re.IGNORECASE)
_SECRET_NAME = re.compile(rf"\s*(?:-\s+)?{_NAMED}\s*,?\s*(?:#.*)?$", re.IGNORECASE)
_VALUE = re.compile(rf"\s*(?:-\s+)?[\"']?value[\"']?\s*:\s*{_WRITTEN}", re.IGNORECASE)


def is_random(text: str) -> bool:
    """Say whether a text has letters and digits, as what is drawn at random has."""
    return bool(re.search(r"[A-Za-z]", text) and re.search(r"\d", text))


class _RandomDetector(RegexBasedDetector):
    """Finds what stands where a secret stands, and is no word."""

    def analyze_string(self, string: str) -> Iterator[str]:
        yield from filter(is_random, super().analyze_string(string))


class CommandDetector(_RandomDetector):
    """What a command is told: ``--password X``."""

    secret_type = "Secret told to a command"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [
        re.compile(
            r"--(?:[a-z]+-)*(?:account-key|access-key|api-key|password|client-secret|token|pat)"
            r"(?:\s+|=)\\?[\"']?([^\s\"'$<{(%\\-][^\s\"'\\]{7,})"
        )
    ]


class EnvironmentDetector(_RandomDetector):
    """What a Dockerfile or a shell puts into the environment."""

    secret_type = "Secret in the environment"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [
        re.compile(
            r"^\s*(?:ENV|ARG|export)\s+(?:\S+=\S*\s+)*\w*(?:TOKEN|SECRET|PASSW(?:OR)?D|PWD|KEY|PAT|SAS)"
            r"(?:\s+|=)[\"']?([^\s\"'$<{(][^\s\"']{7,})"
        )
    ]


class FunctionKeyDetector(_RandomDetector):
    """The key in the address of an Azure function."""

    secret_type = "Key of a function"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [re.compile(r"(?:[?&]|\\u0026)code=([\w+/-]{40,}(?:%[23][BDF]|=){0,6})")]


class VariableDetector(_RandomDetector):
    """The value of a variable whose name stands beside it: ``name: clientSecret, value: X``."""

    secret_type = "Secret in a variable"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [
        re.compile(
            rf"(?:[,\x7b]|\s){_NAMED}\s*,\s*[\"']?value[\"']?\s*:\s*{_WRITTEN}", re.IGNORECASE
        )
    ]

    def analyze_line(
        self,
        filename: str,
        line: str,
        line_number: int = 0,
        context: CodeSnippet | None = None,
        **kwargs: Any,
    ) -> set[PotentialSecret]:
        """Look at the lines around that of the value too."""
        found = super().analyze_line(filename, line, line_number, context, **kwargs)
        value = _VALUE.match(line)
        if value and context and is_random(value[1]) and _is_secret_by_name(context):
            kind = self.secret_type
            found.add(PotentialSecret(kind, filename, value[1], line_number))
        return found


def _is_secret_by_name(context: CodeSnippet) -> bool:
    """Say whether the name nearest to a line, in the same item of a list, is that of a secret."""
    for line in reversed(context.lines[: context.target_index]):
        if _NAME.match(line):
            return bool(_SECRET_NAME.match(line))
        if line.lstrip().startswith(("-", "}")):
            break
    following = context.lines[context.target_index + 1 : context.target_index + 2]
    return any(line[:1].isspace() and _SECRET_NAME.match(line) for line in following)
