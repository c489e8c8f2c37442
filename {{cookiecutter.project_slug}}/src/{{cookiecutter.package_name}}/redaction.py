"""Find secrets in text and hide them: keys, signatures, tokens, passwords, connection strings.

No pattern goes again and again over what it has read: a repetition has a bound, or nothing needed
comes after it. A text that was made to be slow takes no longer than another one of its length.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"

_SHORTEST = 8  # characters of a value that is hidden wherever it stands: "passes" is a word
_HOLDS_SECRET = re.compile(
    r"(?i)(passw(or)?d|secret|token|connection[-_]?string|(^|[-_])(sas|pat|jwt)|[-_]pwd|(?-i:^pwd)"
    r"|(access|account|storage|secret|api|master|private)[-_]?key)$"
)
_HOLDS_ADDRESS = re.compile(r"(?i)(_uri|_url|_proxy)$")
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s:@]{0,4096}:([^/\s?#]{1,4096})@")

# Stand in the patterns below for what is often needed.
_PARTS = {
    # what a secret is called where it is written `name=value` or `"name": "value"`
    "<name>": r"(?:(?:account|shared_?access|access|storage|api|master|secret|primary|secondary"
    r"|private|subscription|functions)[-_]?key|sharedaccesssignature|instrumentationkey"
    r"|client[-_]?(?:secret|assertion)|secret(?:[-_]?value)?|passw(?:or)?d"
    # the shell's PWD is a folder
    r"|pwd(?!<quote>?<is><quote>?(?:[/~.\\]|[a-z]:[/\\]))"
    r"|(?:access|refresh|id|auth|sas)[-_]?token"
    # of other tokens, as those of a text model, the ones with digits that are no number
    r"|(?<=[-_])token(?=<quote>?<is><quote>?(?!\d{1,12}\b)[^\s\"',;&]{0,128}\d))",
    "<is>": r"<blanks>[=:](?!=)<blanks>",
    # a value that is hidden already, a reference ${A}, {a}, $(a), %(a), <a>, a call or an index
    "<reference>": r"(?:\*{3}|\$[a-z_]{1,64}(?![^\s,;&\"')\]}>/])"
    r"|[$%]?[{(\[<]{1,2}[ \t]?[a-z_][a-z_.]{0,63}[ \t]?"
    r"[\]})>!:(\[]|\$[{(\[]|[a-z_][\w.]{0,63}[(\[](?:[)\]\"'\s]|[\w.]{1,64}(?:[,=(\[\s]|[)\]](?!\w))))",
    # a word, as the name of something; with a name after it, it is in a connection string
    "<word>": r"[a-z_][a-z_.]{0,63}(?:[\s,)\]}\"'<>`:\\]|;(?![\w ]{1,40}=)|\Z)",
    # a closing bracket at the end belongs to what is around
    "<value>": r"(?:(?<=\\[\"'])[^\"'\\\r\n]+|(?<=\")(?:[^\"\\\r\n]|\\.)+|(?<=')(?:[^'\\\r\n]|\\.)+"
    r"|(?<![\"'])(?:[^\s&;,'\"<>()\[\]{}]|[({\[]|[)\]}](?=[^\s&;,'\"<>()\[\]{}])){6,})",
    "<quote>": r"(?:\\{0,4}[\"'])",  # JSON in JSON has backslashes before its quotes
    "<blanks>": r"[ \t]{0,4}",
}
_NAMES = ("key", "secret", "passw", "pwd", "token", "signature", "assertion")
# Hints, a pattern, what is put in its place. A text that has none of the hints, in lower case, has
# no match either.
_PATTERNS = (
    # a shared access signature, in an address as it is or quoted once more, or in JSON
    (
        ("sig=", "sig%3d"),
        r"(?i)((?:[?&;]|%3f|%26|\\u0026)sig(?:=|%3d))(?![a-z]{1,15}(?![\w%+/.~=-]))[\w%+/.~=-]+",
        rf"\1{HIDDEN}",
    ),
    (
        ("sig=", "sig%3d", 'sig"', "sig'", "sig\\"),
        r"(?i)(\bsig(?:=|%3d|<quote><blanks>:<blanks><quote>))(?=[\w%+/=-]{16})[\w%+/=-]+",
        rf"\1{HIDDEN}",
    ),
    # a value after a name, in a connection string or a form
    (_NAMES, r"(?i)([;&?]<name>=)(?!<reference>)(?=[^\s;&\"'<>]{6})[^\s;&\"'<>]+", rf"\1{HIDDEN}"),
    # and elsewhere: not what is bare and a word, nor what names a column or a variable
    (
        _NAMES,
        r"(?i)(<name>(?!(?<=key)<quote>?<is><quote>[a-z_.]{1,64}<quote>)(?:"
        r"<quote>?<blanks>=(?!=)<blanks>"
        r"(?:<quote>(?!<reference>)(?=[^\"'\s,):;\]}](?:[^\"'\\\r\n]|\\.){5})|(?!<reference>|<word>))"
        r"|<quote><blanks>:<blanks><quote>(?!<reference>)(?=[^\"'\r\n])"
        r"|<quote>?<blanks>:<blanks><quote>?(?!<reference>|[{(\[<])"
        r"(?=[^\s\"'&;,]{8})(?=[^\s\"'&;,]{0,128}\d)))<value>",
        rf"\1{HIDDEN}",
    ),
    # as an option of a command, and in the list that a command is
    (
        ("--",),
        r"(?i)((?<![\w-])--(?:[a-z\d]{1,20}-){0,3}(?:<name>|token|secret|connection-string)"
        r"(?:[ \t]{1,4}|[\"'],[ \t]{0,2})[\"']?)(?!<reference>|<word>|-)<value>",
        rf"\1{HIDDEN}",
    ),
    # user:password@ in an address; image:tag@sha256: is none
    (
        ("@",),
        r"(\w://[^/\s:@\"'<>?#]{0,4096}):(?!\*{3})[^/\s\"'<>?#]{1,4096}@(?!sha256:)",
        rf"\1:{HIDDEN}@",
    ),
    (("@",), r"(?i)(\bhttps?://)[^/\s:@\"'<>?#*]{32,4096}@", rf"\1{HIDDEN}@"),
    # headers
    (
        ("authorization",),
        r"(?i)(authorization<quote>?<is><quote>?(?:basic|bearer|token) )(?!\*{3})"
        r"(?!(?-i:[A-Z]?[a-z]{1,40}(?![\w.~+/=-])))(?=[^\s\"',]{8})[^\s\"',\\]+",
        rf"\1{HIDDEN}",
    ),
    (
        ("authorization",),
        r"(?i)(authorization<quote>?<is><quote>?(?:\w{1,40} )?)(?!\*{3})"
        r"(?=[^\s\"',]{8})(?=[^\s\"',]{0,256}[\d=])[^\s\"',\\]+",
        rf"\1{HIDDEN}",
    ),
    (("bearer",), r"(?i)(\bbearer )(?=\S{0,256}\d)(?=[\w.~+/=-]{16})[\w.~+/=-]+", rf"\1{HIDDEN}"),
    # what is known by its form: tokens of Entra ID, Databricks, GitHub, Azure DevOps; keys
    (("eyj",), r"\beyJ[\w-]{8,1024}+\.[\w-]{8}(?:\.?[\w-])*", HIDDEN),
    (("dapi",), r"\bdapi[0-9a-f]{32}(?:-\d{1,9})?\b", HIDDEN),
    (("gh",), r"\b(?:gh[pousr]_\w{36}|github_pat_\w{22})\w*", HIDDEN),
    (("azdo",), r"\b[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}\b", HIDDEN),
    (("q~",), r"(?<![\w~.-])[\w~.-]{3}[78]Q~[\w~.-]{31,34}(?![\w~-])", HIDDEN),
    (("==",), r"(?<![A-Za-z0-9+/-])[A-Za-z0-9+/]{86}==", HIDDEN),
    (
        ("-----begin",),
        r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)(?:[^-]|-(?!----END ))*",
        rf"\1 {HIDDEN} ",
    ),
)


def _compiled(pattern: str) -> re.Pattern[str]:
    for part, text in _PARTS.items():
        pattern = pattern.replace(part, text)
    return re.compile(pattern, re.DOTALL)


_COMPILED = tuple((hints, _compiled(pattern), by) for hints, pattern, by in _PATTERNS)
# Azure DevOps made tokens without a mark before.
_UNMARKED_LENGTH = 52
_UNMARKED = re.compile(r"(?<![\w+/])(?=[a-z]{0,51}[2-7])[a-z2-7]{52}(?![\w+/=])")

_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_KEY_ENDS = "-----END "
# A line of a key has no blanks, or a long piece without any: something is before it in a log.
_OF_KEY = re.compile(r"\s*+\S*+\s*+\Z|(?:Proc-Type|DEK-Info): |.*?[A-Za-z0-9+/=]{40}")


def redact(text: str) -> str:
    """Hide the secrets of a text behind ``***``; what is around them stays.

    Secrets are what has the form of one, and the values that environment variables with telling
    names hold at this moment (``AZURE_CLIENT_SECRET``, ``MLFLOW_TRACKING_PASSWORD``, the password
    in ``MLFLOW_TRACKING_URI``).
    """
    text = _environment.pattern().sub(HIDDEN, text)
    if len(text) >= _UNMARKED_LENGTH:
        text = _UNMARKED.sub(HIDDEN, text)
    lower = text.lower()
    for hints, pattern, replacement in _COMPILED:
        if any(hint in lower for hint in hints):
            text = pattern.sub(replacement, text)
    return text


class Redactor:
    """Hides the secrets of a text that comes line by line, also a private key of many lines."""

    def __init__(self) -> None:
        self._in_key = False

    def redact(self, lines: str) -> str:
        """Hide the secrets of the next lines; nothing is left of one that is all key."""
        while self._in_key and lines:
            line, _, rest = lines.partition("\n")
            if (at := line.find(_KEY_ENDS)) >= 0:
                self._in_key, lines = False, lines[at:]
            elif _OF_KEY.match(line):
                lines = rest
            else:  # somebody has only spoken of keys
                self._in_key = False
        after = max(0, lines.rfind(_KEY_ENDS))
        self._in_key = self._in_key or _KEY_BEGINS.search(lines, after) is not None
        return redact(lines)


def redacted(value: Any, name: str = "") -> Any:
    """Hide the secrets in the texts of nested mappings and lists.

    Parameters
    ----------
    name
        What the value is called, with dots between the names that it is in. Whatever the text of a
        ``password`` is, and of all that is in one, it is hidden.
    """
    if hasattr(value, "model_dump"):  # of pydantic, which is slow to import for one question
        value = value.model_dump(mode="json")
    if isinstance(value, str):
        return HIDDEN if value and _is_of_secret(name) else redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(one, f"{name}.{key}") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one, name) for one in value]
    return value


def _is_of_secret(name: str) -> bool:
    return any(_HOLDS_SECRET.search(part) for part in name.split("."))


@lru_cache(maxsize=4096)
def _kind(name: str) -> str | None:
    """Say what a variable of that name holds: a secret, or an address with perhaps one in it."""
    if _HOLDS_SECRET.search(name):
        return "secret"
    return "address" if _HOLDS_ADDRESS.search(name) else None


class _Environment:
    """The secrets that the environment holds; they are looked up again when it has changed."""

    def __init__(self) -> None:
        self._known: tuple[Mapping[Any, Any], re.Pattern[str]] = ({}, _any_of(()))

    def pattern(self) -> re.Pattern[str]:
        """Match what is held at this moment."""
        # The dictionary inside is compared at once, while os.environ decodes each text it is asked
        held: MutableMapping[Any, Any] = getattr(os.environ, "_data", os.environ)
        before, pattern = self._known
        if held != before:
            now = dict(held)
            found = tuple((name, os.environ.get(name, "")) for name in list(os.environ))
            pattern = _any_of(tuple(variable for variable in found if _kind(variable[0])))
            self._known = now, pattern
        return pattern


def _any_of(variables: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    """Match what they hold, as it is or quoted in an address, where it stands alone."""
    secrets = {secret for name, text in variables for secret in _secrets_of(name, text)}
    ways = (str, partial(quote, safe=""), quote_plus, unquote)
    written = {way(secret) for secret in secrets for way in ways}
    found = sorted((text for text in written if len(text) >= _SHORTEST), reverse=True)
    # hunter2 is not in hunter22
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, found))})(?!\w)" if found else r"(?!)")


def _secrets_of(name: str, text: str) -> list[str]:
    if _kind(name) == "secret":
        return [text.strip()]
    return _PASSWORD_IN_ADDRESS.findall(text)


_environment = _Environment()
