"""Write one diff of the rendered projects of two revisions of the template.

    python tools/rendered_diff.py main

Renders each choice of each question from both committed revisions and writes build/rendered.diff.
A change shared by several choices is written once. Exit status: 0, with or without changes; 2 if
something could not be rendered.
"""

import argparse
import difflib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

# These record the revision that a project was rendered from.
SKIPPED = {".git", ".cruft.json"}


class RenderError(Exception):
    """A revision could not be rendered."""


def unpack(revision: str, folder: Path) -> None:
    """Extract the files of a revision of this repository into a folder."""
    command = ["git", "archive", "--format=tar", f"{revision}^{{tree}}"]
    archive = subprocess.run(command, capture_output=True, check=False)
    if archive.returncode:
        raise RenderError(f"cannot read {revision}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def choices(template: Path) -> dict[str, dict[str, str]]:
    """Return sets of answers by name: the defaults, then every other choice of each question."""
    questions = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    sets: dict[str, dict[str, str]] = {"defaults": {}}
    for question, offered in questions.items():
        if isinstance(offered, list) and not question.startswith("_"):
            sets |= {f"{question}={choice}": {question: choice} for choice in offered[1:]}
    return sets


def render(template: Path, answers: dict[str, str]) -> dict[str, bytes]:
    """Return the files of a project by name; none if the template lacks one of the choices."""
    if answers and answers not in choices(template).values():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        pairs = [f"{question}={answer}" for question, answer in answers.items()]
        options = ["--no-input", "--default-config", "--output-dir", folder]
        command = [sys.executable, "-m", "cookiecutter", *options, str(template), *pairs]
        rendered = subprocess.run(command, capture_output=True, text=True, check=False)
        if rendered.returncode:
            title = " ".join(pairs) or "the default answers"
            raise RenderError(f"{title} cannot be rendered: {rendered.stderr.strip()}")
        (project,) = Path(folder).iterdir()
        names = {path.relative_to(project): path for path in project.rglob("*") if path.is_file()}
        return {
            name.as_posix(): path.read_bytes()
            for name, path in sorted(names.items())
            if not SKIPPED & set(name.parts)
        }


def difference(name: str, old: bytes | None, new: bytes | None) -> str:
    """Return the diff of a file, where None means a missing file; empty if nothing changed."""
    if old == new:
        return ""
    sides = [
        f"a/{name}" if old is not None else "absent",
        f"b/{name}" if new is not None else "absent",
    ]
    try:
        lines = [(side or b"").decode("utf-8").splitlines(keepends=True) for side in (old, new)]
    except UnicodeDecodeError:
        return f"--- {sides[0]}\n+++ {sides[1]}\nThe file is binary.\n"
    changed = list(difflib.unified_diff(*lines, *sides))
    if not changed:
        return f"--- {sides[0]}\n+++ {sides[1]}\nThe file is empty.\n"
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in changed)


def differences(base: Path, head: Path) -> Iterator[str]:
    """Yield a headline for each set of answers with changes, and the changes not yet yielded."""
    seen: set[str] = set()
    for title, answers in (choices(base) | choices(head)).items():
        print(f"rendered_diff: {title}", flush=True)
        old, new = render(base, answers), render(head, answers)
        diffs = [difference(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]
        new_diffs = [text for text in diffs if text and text not in seen]
        seen.update(new_diffs)
        if new_diffs:
            yield f"# {title}\n"
            yield from new_diffs


def main() -> int:
    """Write the diff and print its size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="the older revision")
    parser.add_argument("--head", default="HEAD", help="the newer revision (default: HEAD)")
    parser.add_argument("--output", type=Path, default=Path("build/rendered.diff"))
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            sides = Path(folder, "base"), Path(folder, "head")
            for side, revision in zip(sides, (arguments.base, arguments.head), strict=True):
                unpack(revision, side)
            text = "".join(differences(*sides))
    except (RenderError, OSError, ValueError) as error:
        print(f"rendered_diff: {error}", file=sys.stderr)
        return 2
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")
    files = text.count("\n+++ ")
    print(f"rendered_diff: {files} differences in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
