"""Hide secrets in the output and files of a process: keys, signatures, tokens, passwords.

No pattern backtracks without limit: a repetition is bounded, or nothing that must match comes after
it. A malicious text takes no longer than other texts of its length.
"""

import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from functools import cache, lru_cache
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"

_SHORTEST = 8  # characters of a value to hide wherever it occurs: "passes" is a word
_HOLDS_SECRET = re.compile(
    r"(?i)(passw(or)?d|secret|token|connection[-_]?string|(^|[-_])(sas|pat|jwt)|[-_]pwd|(?-i:^pwd)"
    r"|(access|account|storage|secret|api|master|private)[-_]?key)$"
)
_HOLDS_ADDRESS = re.compile(r"(?i)(_uri|_url|_proxy)$")
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s:@]{0,4096}:([^/\s?#]{1,4096})@")

# Parts of the patterns below.
_PARTS = {
    # the name of a secret in `name=value` or `"name": "value"`
    "<name>": r"(?:(?:account|shared_?access|access|storage|api|master|secret|primary|secondary"
    r"|private|subscription|functions)[-_]?key|sharedaccesssignature|instrumentationkey"
    r"|client[-_]?(?:secret|assertion)|secret(?:[-_]?value)?|passw(?:or)?d"
    # the shell's PWD is a folder
    r"|pwd(?!<quote>?<is><quote>?(?:[/~.\\]|[a-z]:[/\\]))"
    r"|(?:access|refresh|id|auth|sas)[-_]?token"
    # other tokens, unlike those of a text model: values with digits that are not a number
    r"|(?<=[-_])token(?=<quote>?<is><quote>?(?!\d{1,12}\b)[^\s\"',;&]{0,128}\d))",
    "<is>": r"<blanks>[=:](?!=)<blanks>",
    # an already hidden value, a reference ${A}, {a}, $(a), %(a), <a>, a call or an index
    "<reference>": r"(?:\*{3}|\$[a-z_]{1,64}(?![^\s,;&\"')\]}>/])"
    r"|[$%]?[{(\[<]{1,2}[ \t]?[a-z_][a-z_.]{0,63}[ \t]?"
    r"[\]})>!:(\[]|\$[{(\[]|[a-z_][\w.]{0,63}[(\[](?:[)\]\"'\s]|[\w.]{1,64}(?:[,=(\[\s]|[)\]](?!\w))))",
    # a plain word, such as a name; followed by a name, it is part of a connection string
    "<word>": r"[a-z_][a-z_.]{0,63}(?:[\s,)\]}\"'<>`:\\]|;(?![\w ]{1,40}=)|\Z)",
    # a closing bracket at the end belongs to the surrounding text
    "<value>": r"(?:(?<=\\[\"'])[^\"'\\\r\n]+|(?<=\")(?:[^\"\\\r\n]|\\.)+|(?<=')(?:[^'\\\r\n]|\\.)+"
    r"|(?<![\"'])(?:[^\s&;,'\"<>()\[\]{}]|[({\[]|[)\]}](?=[^\s&;,'\"<>()\[\]{}])){6,})",
    "<quote>": r"(?:\\{0,4}[\"'])",  # JSON in JSON has backslashes before its quotes
    "<blanks>": r"[ \t]{0,4}",
}
_NAMES = ("key", "secret", "passw", "pwd", "token", "signature", "assertion")
# Hints, a pattern, its replacement. A text without any of the hints, in lower case, has no match.
_PATTERNS = (
    # a shared access signature, in an address, quoted or not, or in JSON
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
    # elsewhere, except a bare word or the name of a column or a variable
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
    # an option of a command, also in a list of arguments
    (
        ("--",),
        r"(?i)((?<![\w-])--(?:[a-z\d]{1,20}-){0,3}(?:<name>|token|secret|connection-string)"
        r"(?:[ \t]{1,4}|[\"'],[ \t]{0,2})[\"']?)(?!<reference>|<word>|-)<value>",
        rf"\1{HIDDEN}",
    ),
    # user:password@ in an address; image:tag@sha256: is not one
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
    # recognized by their form: tokens of Entra ID, Databricks, GitHub, Azure DevOps; keys
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


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern once a text has one of its hints: most processes need few."""
    for part, text in _PARTS.items():
        pattern = pattern.replace(part, text)
    return re.compile(pattern, re.DOTALL)


# Azure DevOps used to issue tokens without a marker.
_UNMARKED_LENGTH = 52
_UNMARKED = re.compile(r"(?<![\w+/])(?=[a-z]{0,51}[2-7])[a-z2-7]{52}(?![\w+/=])")

_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_KEY_ENDS = "-----END "
# A line of a key has no blanks, or a long piece without any: a log writes a prefix before it.
_KEY_LINE = re.compile(r"\s*+\S*+\s*+\Z|(?:Proc-Type|DEK-Info): |.*?[A-Za-z0-9+/=]{40}")


def redact(text: str) -> str:
    """Replace the secrets in a text with ``***``.

    Secrets are recognized by their form, or are the current values of environment variables that
    are named accordingly (``AZURE_CLIENT_SECRET``, ``MLFLOW_TRACKING_PASSWORD``, the password in
    ``MLFLOW_TRACKING_URI``).
    """
    text = _environment_secrets().sub(HIDDEN, text)
    if len(text) >= _UNMARKED_LENGTH:
        text = _UNMARKED.sub(HIDDEN, text)
    lower = text.lower()
    for hints, pattern, replacement in _PATTERNS:
        if any(hint in lower for hint in hints):
            text = _compiled(pattern).sub(replacement, text)
    return text


class Redactor:
    """Hides the secrets in a text that arrives in lines, including multi-line private keys."""

    def __init__(self) -> None:
        self._in_key = False

    def redact(self, lines: str) -> str:
        """Hide the secrets in the next lines; remove lines that are part of a key."""
        while self._in_key and lines:
            line, _, rest = lines.partition("\n")
            if (at := line.find(_KEY_ENDS)) >= 0:
                self._in_key, lines = False, lines[at:]
            elif _KEY_LINE.match(line):
                lines = rest
            else:  # a text about keys, not a key
                self._in_key = False
        after = max(0, lines.rfind(_KEY_ENDS))
        self._in_key = self._in_key or _KEY_BEGINS.search(lines, after) is not None
        return redact(lines)


def redacted(value: Any, name: str = "") -> Any:
    """Hide the secrets in all texts of nested mappings and lists.

    Parameters
    ----------
    value
        A text, a mapping, a list or a pydantic model; anything else is returned unchanged.
    name
        Its name in the surrounding data, with dots between levels. All texts inside a ``password``
        are hidden.
    """
    if hasattr(value, "model_dump"):  # pydantic, which is too slow to import just for this
        value = value.model_dump(mode="json")
    if isinstance(value, str):
        return HIDDEN if value and _names_secret(name) else redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(one, f"{name}.{key}") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one, name) for one in value]
    return value


def _names_secret(name: str) -> bool:
    return any(_HOLDS_SECRET.search(part) for part in name.split("."))


@lru_cache(maxsize=4096)
def _variable_kind(name: str) -> str | None:
    """Return the kind of a variable: a secret, an address that may contain one, or None."""
    if _HOLDS_SECRET.search(name):
        return "secret"
    return "address" if _HOLDS_ADDRESS.search(name) else None


_last_seen: dict[str, Any] = {"held": None}


def _environment_secrets() -> re.Pattern[str]:
    """Return a pattern for the secrets in the environment, updated when it changes."""
    # The inner dictionary is fast to compare; os.environ decodes each text on access.
    held: MutableMapping[Any, Any] = getattr(os.environ, "_data", os.environ)
    if held != _last_seen["held"]:
        before = dict(held)
        named = [
            (name, os.environ.get(name, "")) for name in list(os.environ) if _variable_kind(name)
        ]
        _last_seen.update(held=before, pattern=_pattern_for(named))
    pattern: re.Pattern[str] = _last_seen["pattern"]
    return pattern


def _pattern_for(variables: Iterable[tuple[str, str]]) -> re.Pattern[str]:
    """Return a pattern for the secrets of variables, plain or URL-quoted, as whole words."""
    written = set()
    for name, text in variables:
        is_secret = _variable_kind(name) == "secret"
        for secret in [text.strip()] if is_secret else _PASSWORD_IN_ADDRESS.findall(text):
            written |= {secret, quote(secret, safe=""), quote_plus(secret), unquote(secret)}
    secrets = sorted((text for text in written if len(text) >= _SHORTEST), reverse=True)
    # hunter2 must not match in hunter22
    return re.compile(
        rf"(?<!\w)(?:{'|'.join(map(re.escape, secrets))})(?!\w)" if secrets else r"(?!)"
    )


_LONGEST = 65_536  # characters that are held back until their line ends


class RedactingFormatter(logging.Formatter):
    """Hides the secrets in another formatter's output, including tracebacks."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines, of a record."""
        return redact(self._formatter.format(record))


def protect_logs() -> None:
    """Hide secrets in the output of the root logger's handlers."""
    for handler in logging.getLogger().handlers:
        formatter = handler.formatter or logging.Formatter()
        if not isinstance(formatter, RedactingFormatter):
            handler.setFormatter(RedactingFormatter(formatter))


class RedactedStream:
    """A text stream that hides secrets, and otherwise behaves like the stream that it wraps.

    An unfinished line is held back until it ends, or until a flush. If the stream is line buffered,
    as in a terminal, a carriage return ends a line too, so progress bars are visible. A stream that
    writes through (``python -u``) gets each piece immediately, so a secret is hidden only if it
    arrives in one piece, together with its name unless its form identifies it. A private key is
    hidden completely, even if it arrives in many pieces.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._redactor = Redactor()
        self._pending = ""
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the complete lines."""
        with self._lock:
            end = text.rfind("\n") + 1
            if getattr(self._stream, "line_buffering", False):
                end = max(end, text.rfind("\r") + 1)
            if getattr(self._stream, "write_through", False):
                end = len(text)
            pending, self._pending = self._pending + text[:end], text[end:]
            if end == 0 and len(pending) + len(text) <= _LONGEST:
                self._pending = pending + text
            else:
                self._write(pending)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write a pending unfinished line."""
        with self._lock:
            self._write_pending()
            self._stream.flush()

    def close(self) -> None:
        """Write an unfinished line and close the stream."""
        with self._lock:
            self._write_pending()
            self._stream.close()

    def __enter__(self) -> "RedactedStream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write_pending(self) -> None:
        pending, self._pending = self._pending, ""
        self._write(pending)

    def _write(self, text: str) -> None:
        if hidden := self._redactor.redact(text):
            self._stream.write(hidden)


def protect_output() -> None:
    """Hide secrets in everything that this process prints from now on, including tracebacks.

    Bytes that bypass the streams, and child processes that inherit them, are not protected.
    """
    sys.stdout, sys.stderr = _protected(sys.stdout), _protected(sys.stderr)
    if not isinstance(sys.excepthook, _Excepthook):
        sys.excepthook = _Excepthook(sys.excepthook)


class _Excepthook:
    """Shows a traceback as before, unless there is something to hide.

    The frames that rich draws break lines, and a secret split in two is not recognized.
    """

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        hidden = redact(text)
        if hidden == text:
            self._before(kind, error, trace)
        else:
            sys.stderr.write(hidden)
            sys.stderr.flush()


def _protected(stream: Any) -> Any:
    """Wrap a stream once; a process without a console has none."""
    is_done = stream is None or isinstance(stream, RedactedStream)
    return stream if is_done else RedactedStream(stream)
