"""Types for a project's typed parameters: a wrong value stops a run before its first node."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

__all__ = ["Parameters", "Share", "Span", "explain"]


class Parameters(BaseModel):
    """A group of ``parameters.yml`` that rejects unknown names and cannot be changed by nodes.

    Values must have the declared type: ``"12"`` and ``true`` are not numbers, nor are
    ``nan`` and ``inf`` unless a field sets ``Field(allow_inf_nan=True)``. A whole number
    may be given for a ``float``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    close = get_close_matches(str(key), cls.model_fields, n=1)
                    hint = f"; did you mean {close[0]}?" if close else ""
                    allowed = ", ".join(cls.model_fields)
                    raise ValueError(f"unknown key {key!r}; allowed keys: {allowed}{hint}")
        return data


def _positive_span(text: str) -> str:
    import pandas as pd

    try:
        is_positive = pd.Timedelta(text) > pd.Timedelta(0)
    except ValueError:  # also for one that is too long
        is_positive = False
    if not is_positive or not re.search("[A-Za-z:]", text):  # pandas reads 7 as nanoseconds
        raise ValueError(f"{text!r} is not a positive duration, such as 7D or 12h")
    return text


Share = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1."""

Span = Annotated[str, AfterValidator(_positive_span)]
"""A duration that pandas can parse, such as ``7D`` or ``12h``."""

_GROUP = "must be a group of keys and values"
_MESSAGES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "finite_number": "must be a number that is neither nan nor inf",
    "string": "must be text",
    "bool": "must be true or false",
    "none_required": "must be null",
    "list": "must be a list",
    "tuple": "must be a list",
    "set": "must be a list",
    "dict": _GROUP,
    "mapping": _GROUP,
    "model": _GROUP,
    "dataclass": _GROUP,
    "missing": "is missing",
    "extra_forbidden": "is unknown",
}
_AS_YAML = {None: "null", True: "true", False: "false"}
_LONGEST = 120  # characters of a value that a message shows


def explain(error: ValidationError, given: Any) -> list[tuple[list[str], str]]:
    """Describe pydantic's errors in plain words.

    Parameters
    ----------
    given
        The validated data.

    Returns
    -------
    The keys of each fault, from the outermost, and a message with the allowed and the given value:
    ``(["validation", "maximum"], "must be a number (it is 'abc')")``. For a union (``int | str``),
    it names all alternatives, or the one that matches the keys.
    """
    messages: dict[tuple[str, ...], list[str]] = {}
    values: dict[tuple[str, ...], Any] = {}
    for fault in error.errors(include_url=False):
        keys = tuple(_keys(fault["loc"], given, is_missing=fault["type"] == "missing"))
        words = messages.setdefault(keys, [])
        if (sentence := _message(fault["type"], fault["msg"])) not in words:
            words.append(sentence)
        values[keys] = fault["input"]
    inner = {keys[:length] for keys in messages for length in range(len(keys))}
    return [
        (list(keys), _join_alternatives(words) + _format_value(values[keys], keys, words))
        for keys, words in messages.items()
        if keys not in inner
    ]


def _keys(path: Sequence[str | int], data: Any, *, is_missing: bool) -> list[str]:
    """Drop parts that are not keys of the data, such as type names, from pydantic's error path."""
    keys: list[str] = []
    for number, part in enumerate(path):
        if is_missing and number == len(path) - 1:
            return [*keys, str(part)]
        is_index = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        if is_index or (isinstance(data, Mapping) and part in data):
            keys, data = [*keys, str(part)], data[part]
    return keys


def _message(kind: str, message: str) -> str:
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    known = _MESSAGES.get(kind) or _MESSAGES.get(
        re.sub("_(type|parsing|from_float|size)$", "", kind)
    )
    return known or re.sub("^Input should", "must", message)


def _join_alternatives(sentences: Sequence[str]) -> str:
    first, *others = sentences
    return " or ".join([first, *(other.removeprefix("must be ") for other in others)])


def _format_value(value: Any, keys: Sequence[str], sentences: Sequence[str]) -> str:
    from kedro_azure_mlops.safety import redacted

    if isinstance(value, Mapping) or sentences == ["is missing"]:
        return ""
    hidden = redacted(value, ".".join(keys))
    text = _AS_YAML[value] if value is None or isinstance(value, bool) else repr(hidden)
    return f" (it is {text if len(text) <= _LONGEST else text[:_LONGEST] + '...'})"
