"""Build the plugin's wheel into the template, and update the template's locks.

The template carries the wheel until it is on an index; a lock names it like any other package, with
its hash. --check changes nothing and fails if the committed wheel or a lock does not match the
wheel built from src/.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "{{cookiecutter.project_slug}}"
NAME = "kedro-azure-mlops"
_PIN = re.compile(
    rf"^({NAME}(?:\[[a-z,]+\])?==)[^ \\]+( \\\n    --hash=sha256:)[0-9a-f]{{64}}", re.M
)


def build(target: Path) -> Path:
    """Build the wheel from a clean copy of the sources and return its path."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for name in ("pyproject.toml", "LICENSE", "docs/pypi.md"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
        junk = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
        shutil.copytree(ROOT / "src", source / "src", ignore=junk)
        subprocess.run(
            [
                "sh",
                str(ROOT / "tools/uv.sh"),
                "build",
                "--quiet",
                "--wheel",
                "--out-dir",
                folder,
                source,
            ],
            check=True,
        )
        (built,) = Path(folder).glob("*.whl")
        return Path(shutil.copy(built, target / built.name))


def locks(wheel: Path) -> dict[Path, tuple[str, str]]:
    """Return the template's locks that name the plugin, with current and expected text."""
    version = wheel.name.split("-")[1]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    texts = {}
    for lock in sorted((PROJECT / "requirements").glob("*.txt")):
        text = lock.read_text(encoding="utf-8")
        if _PIN.search(text):
            wanted = _PIN.sub(rf"\g<1>{version}\g<2>{digest}", text)
            texts[lock] = (text, wanted)
    return texts


def faults(wheel: Path) -> list[str]:
    """Report the mismatches between the template and this wheel."""
    carried = sorted((PROJECT / "wheels").glob("*.whl"))
    if [one.name for one in carried] != [wheel.name]:
        return [f"wheels/ has {[one.name for one in carried]}, but src/ builds {wheel.name}"]
    problems = []
    if carried[0].read_bytes() != wheel.read_bytes():
        problems = [
            f"wheels/{wheel.name} was not built from src/: {_difference(carried[0], wheel)}"
        ]
    return problems + [
        f"{lock.name} does not name the wheel built from src/"
        for lock, (text, wanted) in locks(wheel).items()
        if text != wanted
    ]


def _difference(one: Path, other: Path) -> str:
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        a = {info.filename: info.CRC for info in first.infolist()}
        b = {info.filename: info.CRC for info in second.infolist()}
    names = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "") or "its container"


def main() -> int:
    """Build the wheel and write it, or compare it with the committed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        if arguments.check:
            problems = faults(wheel)
            for fault in problems:
                print(f"wheel: {fault}; run: make wheel", file=sys.stderr)
            return 1 if problems else 0
        target = PROJECT / "wheels"
        target.mkdir(exist_ok=True)
        for old in target.glob("*.whl"):
            old.unlink()
        shutil.copy(wheel, target / wheel.name)
        for lock, (_, wanted) in locks(wheel).items():
            lock.write_text(wanted, encoding="utf-8", newline="\n")
        print(f"wheels/{wheel.name}, {wheel.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
