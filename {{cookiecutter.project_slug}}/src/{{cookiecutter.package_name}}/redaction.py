"""Find secrets in text and hide them: keys, signatures, tokens, passwords, connection strings."""

import os
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"

_SHORTEST = 8  # characters of a value that is hidden wherever it stands: "passes" is a word
_HOLDS_SECRET = re.compile(
    r"(?i)(passw(or)?d|secret|token|connection_?string|(^|_)(sas|pat|jwt)"
    r"|(access|account|storage|secret|api|master|private)_?key)$"
)
_HOLDS_ADDRESS = re.compile(r"(?i)(_uri|_url|_proxy)$")
_PASSWORD_IN_ADDRESS = re.compile(r"(?i)\b[a-z][a-z\d+.-]*://[^/\s:@]*:([^/\s?#]+)@")

# What a secret is called where it is written `name=value` or `"name": "value"`.
_NAME = (
    r"(?:account|shared_?access|access|storage|api|master|secret|primary|secondary|private)"
    r"[-_]?key|sharedaccesssignature|instrumentationkey|client[-_]?(?:secret|assertion)"
    r"|secret(?:[-_]?value)?|passw(?:or)?d|pwd|(?:access|refresh|id|auth|sas)[-_]?token"
)
_CHARACTER = r"[^\s&;,'\"<>()\[\]{}$*]"
_SHORT, _LONG = rf"(?>{_CHARACTER}" + r"{6,})(?!\()", rf"(?>{_CHARACTER}" + r"{8,})(?!\()"
_PATTERNS = (
    # a shared access signature, in an address as it is or quoted once more
    (r"(?i)((?:[?&;]|%3f|%26)sig(?:=|%3d))[\w%+/.~=-]+", rf"\1{HIDDEN}"),
    (r"(?i)(\bsig(?:=|%3d))[\w%+/=-]{16,}", rf"\1{HIDDEN}"),
    # a value after a name; not a call in a line of code
    (rf"(?i)((?:{_NAME})[\"']?\s?=\s?[\"']?){_SHORT}", rf"\1{HIDDEN}"),
    (rf"(?i)((?:{_NAME})[\"']\s?:\s?[\"'])[^\"'*]+(?=[\"'])", rf"\1{HIDDEN}"),
    (rf"(?i)((?:{_NAME}):\s?)(?=\S*\d){_LONG}", rf"\1{HIDDEN}"),
    # user:password@ in an address
    (r"(?i)(\b[a-z][a-z\d+.-]*://[^/\s:@\"'<>?#]*):(?!\*)[^/\s\"'<>?#]+@", rf"\1:{HIDDEN}@"),
    (r"(?i)(\bhttps?://)[^/\s:@\"'<>?#*]{32,}@", rf"\1{HIDDEN}@"),
    # headers
    (r"(?i)(authorization[\"']?\s?[:=]\s?[\"']?(?:\w+ )?)[^\s\"',*]{8,}", rf"\1{HIDDEN}"),
    (r"(?i)(\bbearer )(?=\S*\d)[\w.~+/=-]{16,}", rf"\1{HIDDEN}"),
    # what is known by its form: tokens of Entra ID, Databricks, GitHub, Azure DevOps; keys
    (r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", HIDDEN),
    (r"\bdapi[0-9a-f]{32}(?:-\d+)?\b", HIDDEN),
    (r"\b(?:gh[pousr]_\w{36,}|github_pat_\w{22,})", HIDDEN),
    (r"\b[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}\b", HIDDEN),
    (r"(?<![\w~.-])[\w~.-]{3}[78]Q~[\w~.-]{31,34}(?![\w~-])", HIDDEN),
    (r"(?<![A-Za-z0-9+/-])[A-Za-z0-9+/]{86}==", HIDDEN),
    (
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        rf"\1 {HIDDEN} \2",
    ),
)
_COMPILED = tuple((re.compile(pattern, re.DOTALL), by) for pattern, by in _PATTERNS)
# A text without any of these, in lower case, holds nothing to hide but values of the environment.
_HINTS = (
    *("sig=", "sig%3d", "key", "secret", "passw", "pwd", "token", "signature", "assertion", "@"),
    *("authorization", "bearer", "eyj", "dapi", "github_pat", "azdo", "q~", "=="),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
)


def redact(text: str) -> str:
    """Hide the secrets of a text behind ``***``; what is around them stays.

    Secrets are what has the form of one, and the values that environment variables with telling
    names hold at this moment (``AZURE_CLIENT_SECRET``, ``MLFLOW_TRACKING_PASSWORD``, the password
    in ``MLFLOW_TRACKING_URI``).
    """
    if held := tuple((name, os.environ.get(name, "")) for name in os.environ if _kind(name)):
        text = _any_of(held).sub(HIDDEN, text)
    lower = text.lower()
    if any(hint in lower for hint in _HINTS):
        for pattern, replacement in _COMPILED:
            text = pattern.sub(replacement, text)
    return text


def redacted(value: Any) -> Any:
    """Hide the secrets in the texts of nested mappings and lists."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: redacted(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one) for one in value]
    return value


@lru_cache(maxsize=4096)
def _kind(name: str) -> str | None:
    """Say what a variable of that name holds: a secret, or an address with perhaps one in it."""
    if _HOLDS_SECRET.search(name):
        return "secret"
    return "address" if _HOLDS_ADDRESS.search(name) else None


@lru_cache(maxsize=64)
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
