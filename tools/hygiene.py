"""Report the files in a folder that break the house rules; with --fix correct their white space."""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

SKIPPED = {
    *(
        ".git",
        ".venv",
        ".venv-serve",
        ".venv-spark",
        ".venv-leave",
        ".uv",
        "build",
        "mlruns",
        "mlartifacts",
    ),
    *("__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"),
}
HOOKS = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}" / ".pre-commit-config.yaml"

DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
LONGEST = 160  # characters of a path with long Jinja conditions; a clone's folder may add 100
ILLEGAL_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')

BYTES = "tests/fuzz/corpus/"  # files that are broken on purpose

LEAKS = {
    "a path of one machine": re.compile(r"(?:^|[^\w.])/(?:work|root|home/\w+)/"),
    "the address of a package index": re.compile(r"pypi[.]org|python[h]osted[.]org"),
}


def files_below(root: Path) -> list[Path]:
    """Return the files in a folder, except those that tools create."""
    paths: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED]
        paths += (Path(folder, name) for name in files)
    return sorted(paths)


def faults_of_names(names: list[str]) -> Iterator[str]:
    """Report files that cannot be checked out on Windows or macOS."""
    seen: dict[str, str] = {}
    for name in names:
        if any(ILLEGAL_ON_WINDOWS.search(p) or DEVICE.fullmatch(p) for p in name.split("/")):
            yield f"{name}: Windows does not allow this file name"
        if len(name) > LONGEST:
            yield f"{name}: longer than {LONGEST} characters; Windows allows 260 for the whole path"
        if seen.setdefault(name.casefold(), name) != name:
            yield f"{name}: differs from {seen[name.casefold()]} only in upper and lower case"


def faults_of_text(text: str) -> Iterator[str]:
    """Report faulty white space and leaks in the text of a file."""
    if "\r" in text:
        yield "has line ends other than LF"
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield "does not end with exactly one line end"
    for number, line in enumerate(text.splitlines(), start=1):
        if line != line.rstrip():
            yield f"line {number} ends with white space"
        for leak, pattern in LEAKS.items():
            if pattern.search(line):
                yield f"line {number} contains {leak}"


def text_of(path: Path) -> str | None:
    """Return the text of a file with its line ends unchanged; None if it is binary."""
    content = path.read_bytes()
    return None if b"\0" in content else content.decode("utf-8")


def faults_below(root: Path) -> Iterator[str]:
    """Report faults in the names and texts of the files in a folder."""
    paths = {path.relative_to(root).as_posix(): path for path in files_below(root)}
    yield from faults_of_names(list(paths))
    for name, path in paths.items():
        text = None if name.startswith(BYTES) else text_of(path)
        if text is not None:
            yield from (f"{name}: {fault}" for fault in faults_of_text(text))


def ignored_below(root: Path) -> Iterator[str]:
    """Report template files that git ignores, because of its own .gitignore: clones lack them."""
    if not (root / ".git").exists():
        return
    folder = HOOKS.parent.name
    command = ["git", "-C", root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard"]
    listing = subprocess.run([*command, "--", folder], capture_output=True, check=True).stdout
    for name in listing.decode("utf-8").split("\0"):
        if name and not SKIPPED.intersection(Path(name).parts):
            yield f"{name}: git ignores it, so clones lack it: git add --force"


def secrets_below(root: Path) -> Iterator[str]:
    """Report lines that look like secrets to the rendered project's hooks."""
    hooks = secret_hooks()
    # Skip data, which looks like hashes, and the hooks, which contain the patterns.
    files = [p for p in files_below(root) if p.suffix != ".csv" and p.name != HOOKS.name]
    program, *options = shlex.split(hooks["detect-secrets"])
    command = [Path(sys.executable).parent / Path(program).name, *options, *files]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for kind, location in re.findall(r"Secret Type: (.*)\nLocation: +(.*)", output):
        path, _, line = location.rpartition(":")
        yield f"{path}: line {line} looks like a secret ({kind})"
    form = re.compile(hooks["azure-secrets"].encode())
    for path in files:
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if form.search(line):
                yield f"{path}: line {number} looks like an Azure secret"


def secret_hooks() -> dict[str, str]:
    """Return the entries of the rendered project's hooks by hook id."""
    lines = HOOKS.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("{%"))
    return {hook["id"]: hook["entry"] for hook in yaml.safe_load(text)["repos"][0]["hooks"]}


def fix(path: Path) -> None:
    """Remove trailing white space and extra line ends from a text file."""
    text = text_of(path)
    if text is None:
        return
    fixed = "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n") + "\n"
    if text and fixed != text:
        path.write_bytes(fixed.encode("utf-8"))
        print(f"fixed {path}")


def main() -> int:
    """Check or fix the folder; return 1 if something is left to fix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, nargs="?", default=Path())
    parser.add_argument("--fix", action="store_true")
    arguments = parser.parse_args()
    if arguments.fix:
        for path in files_below(arguments.root):
            fix(path)
    root = arguments.root
    faults = [*faults_below(root), *ignored_below(root), *secrets_below(root)]
    print("\n".join(faults) or "hygiene: all is well")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
