"""What looks like a secret and surely is none: filters of detect-secrets."""

import re
from pathlib import PurePath

from detect_secrets.plugins.base import BasePlugin
from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin
from detect_secrets.plugins.keyword import KeywordDetector

_HASH_OF_LOCK = re.compile(r"\s*--hash=sha256:[0-9a-f]{64}(\s*\\)?")
_DIGEST = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}")
_OF_DIGEST = re.compile(
    r"(?:^|[\s\"'{,_])\w*(?:uuid|commit|sha|revision)[\"']?\s*[:=]\s*[\"']?$", re.I
)
_WORDS = re.compile(r"[a-z]{2,14}(-[a-z]{1,14}){1,5}")
_OF_NAME = re.compile(r"secret_?(?:name|ref)[\"']?\s*[:=]\s*[\"']?$", re.IGNORECASE)
_OF_SECRET = re.compile(r"secret[\"']?\s*[:=]\s*[\"']?$", re.IGNORECASE)
_SAYS_SO = re.compile(r"(?:^|-)(?:secret|password|token|key|name|certificate)(?:-|$)")
_IN_TESTS = {"seed", "dummy", "fake", "example", "sample", "placeholder"}


def is_hash_of_lock(line: str) -> bool:
    """Say whether a line is the hash of a package and nothing else."""
    return bool(_HASH_OF_LOCK.fullmatch(line))


def is_digest(secret: str, line: str, plugin: BasePlugin) -> bool:
    """Say whether a text is the name of a commit or of a model, under a key that says so."""
    before = line.partition(secret)[0]
    by_form = isinstance(plugin, HighEntropyStringsPlugin) and _DIGEST.fullmatch(secret)
    return bool(by_form and _OF_DIGEST.search(before))


def is_name(secret: str, line: str, plugin: BasePlugin) -> bool:
    """Say whether a text is the name of a secret: words with hyphens, where a name stands.

    A key that may hold the secret itself needs a word in the name that says what it names.
    """
    before = line.partition(secret)[0]
    if not isinstance(plugin, KeywordDetector) or not _WORDS.fullmatch(secret):
        return False
    may_be_both = _OF_SECRET.search(before) and _SAYS_SO.search(secret)
    return bool(_OF_NAME.search(before) or may_be_both)


def is_word_of_tests(filename: str, secret: str, plugin: BasePlugin) -> bool:
    """Say whether a text in a test is a word that is written for what does not matter."""
    in_tests = "tests" in PurePath(filename).parts
    return in_tests and isinstance(plugin, KeywordDetector) and secret in _IN_TESTS
