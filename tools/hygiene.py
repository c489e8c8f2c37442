"""Say which files of a folder break its house rules; with --fix mend those of white space."""

import argparse
import os
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

SKIPPED = {".git", ".venv", ".uv", "build", "__pycache__", ".pytest_cache", ".ruff_cache"}
CHECKS = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}" / "tools/checks"

DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
ILLEGAL_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')

LEAKS = {
    "a path of somebody's machine": re.compile(r"(?:^|[^\w.])/(?:work|root|home/\w+)/"),
    "the address of a package index": re.compile(r"pypi[.]org|python[h]osted[.]org"),
}


def files_below(root: Path) -> list[Path]:
    """Return the files of a folder, without what tools put there."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED]
        found += (Path(folder, name) for name in files)
    return sorted(found)


def faults_of_names(names: list[str]) -> Iterator[str]:
    """Say which file names could not be checked out on Windows or macOS."""
    seen: dict[str, str] = {}
    for name in names:
        if any(ILLEGAL_ON_WINDOWS.search(p) or DEVICE.fullmatch(p) for p in name.split("/")):
            yield f"{name}: Windows cannot have a file of this name"
        if len(name) > 140:
            yield f"{name}: the path is longer than 140 characters, Windows stops at 260 in all"
        if seen.setdefault(name.casefold(), name) != name:
            yield f"{name}: differs from {seen[name.casefold()]} by upper and lower case only"


def faults_of_text(text: str) -> Iterator[str]:
    """Say what is wrong with the white space of a file, or should not be in it."""
    if "\r" in text:
        yield "has line ends other than LF"
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield "does not end with exactly one line end"
    for number, line in enumerate(text.splitlines(), start=1):
        if line != line.rstrip():
            yield f"line {number} ends with white space"
        for leak, pattern in LEAKS.items():
            if pattern.search(line):
                yield f"line {number} holds {leak}"


def text_of(path: Path) -> str | None:
    """Return the text of a file with its own line ends, None for a binary one."""
    content = path.read_bytes()
    return None if b"\0" in content else content.decode("utf-8")


def faults_below(root: Path) -> Iterator[str]:
    """Say what is wrong with the names and the texts of a folder's files."""
    paths = {path.relative_to(root).as_posix(): path for path in files_below(root)}
    yield from faults_of_names(list(paths))
    for name, path in paths.items():
        text = text_of(path)
        if text is not None:
            yield from (f"{name}: {fault}" for fault in faults_of_text(text))


def secrets_below(root: Path) -> Iterator[str]:
    """Say which lines of a folder's files look like secrets to the rendered project's hook."""
    secrets_in = runpy.run_path(str(CHECKS / "secret_files.py"))["secrets_in"]
    # Data looks like hashes.
    files = [path for path in files_below(root) if path.suffix != ".csv"]
    for path, line, kind in secrets_in(files):
        yield f"{path}: line {line} looks like a secret ({kind})"


def mend(path: Path) -> None:
    """Take trailing white space and superfluous line ends out of a text file."""
    text = text_of(path)
    if text is None:
        return
    mended = "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n") + "\n"
    if text and mended != text:
        path.write_bytes(mended.encode("utf-8"))
        print(f"mended {path}")


def main() -> int:
    """Check or mend the folder; return 1 when there is something left to mend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, nargs="?", default=Path())
    parser.add_argument("--fix", action="store_true")
    arguments = parser.parse_args()
    if arguments.fix:
        for path in files_below(arguments.root):
            mend(path)
    faults = [*faults_below(arguments.root), *secrets_below(arguments.root)]
    print("\n".join(faults) or "hygiene: all is well")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
