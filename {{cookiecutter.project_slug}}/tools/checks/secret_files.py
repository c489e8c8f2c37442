"""Look for secrets in files: tools.checks.secret_files FILES.

The kinds are those of detect-secrets and those of secrets.py and secret_places.py; what is surely
none secret_filters.py takes out. Nothing is sent anywhere to ask whether it works. Exit status 0:
none, 1: some.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.initialize import from_file
from detect_secrets.filters.allowlist import is_line_allowlisted
from detect_secrets.settings import default_settings, get_settings
from detect_secrets.util.code_snippet import get_code_snippet

HERE = Path(__file__).resolve().parent
KINDS = (HERE / "secrets.py", HERE / "secret_places.py")
FILTERS = HERE / "secret_filters.py"
SURELY_NONE = ("hash_of_lock", "digest", "name", "word_of_tests")
# It lets each file pass whose path holds the word.
TOO_WIDE = "detect_secrets.filters.heuristic.is_swagger_file"
STORES = {".pfx", ".p12", ".jks", ".keystore", ".ppk"}
MEND = "keep it in a key vault, or mark the line if it is none: pragma: allowlist secret"

Find = tuple[int, str]


def secrets_in(files: list[Path]) -> Iterator[tuple[Path, int, str]]:
    """Yield file, line and kind of what looks like a secret."""
    with default_settings():
        settings = get_settings()
        own = []
        for place in KINDS:
            kinds = from_file(str(place))
            own += [kind() for kind in kinds]
            settings.configure_plugins(
                [{"name": kind.__name__, "path": f"file://{place}"} for kind in kinds]
            )
        settings.disable_filters(TOO_WIDE)
        settings.filters |= {f"file://{FILTERS}::is_{name}": {} for name in SURELY_NONE}
        for file in files:
            found = set(_finds_in(file, own))
            yield from ((file, line, kind) for line, kind in sorted(found))


def _finds_in(file: Path, kinds: list) -> Iterator[Find]:
    if file.suffix.lower() in STORES:
        yield 1, "Store of private keys"
        return
    text, is_utf8 = _text_of(file)
    if is_utf8:
        yield from _known_to_detect_secrets(file)
    elif text:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, file.name)
            copy.write_text(text, encoding="utf-8")
            yield from _known_to_detect_secrets(copy)
    # In YAML it reads values and no comments.
    yield from _own(file, text, kinds)


def _known_to_detect_secrets(file: Path) -> Iterator[Find]:
    found = SecretsCollection()
    found.scan_file(str(file))
    yield from ((secret.line_number, secret.type) for _, secret in found)


def _own(file: Path, text: str, kinds: list) -> Iterator[Find]:
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        context = get_code_snippet(lines, number)
        for kind in kinds:
            found = kind.analyze_line(str(file), line, number, context)
            if found and not is_line_allowlisted(str(file), line, context):
                yield number, kind.secret_type


def _text_of(file: Path) -> tuple[str, bool]:
    """Return a file's text, empty if it has none, and whether it is UTF-8."""
    content = file.read_bytes()
    utf16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}.get(content[:2])
    if utf16 is None and content[1::2].count(0) * 4 > len(content):
        utf16 = "utf-16-le"
    if utf16 is None and content[::2].count(0) * 4 > len(content):
        utf16 = "utf-16-be"
    try:
        if utf16 is None and b"\0" in content:
            return "", False
        return content.decode(utf16 or "utf-8"), utf16 is None
    except UnicodeDecodeError:
        return ("" if utf16 else content.decode("latin-1")), False


def main() -> int:
    """Print what looks like a secret in the files that are named; return 1 if anything does."""
    parser = argparse.ArgumentParser(prog="secret_files", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*")
    found = list(secrets_in(parser.parse_args().files))
    for file, line, kind in found:
        print(f"{file.as_posix()}:{line}: {kind}: {MEND}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
