"""Check the template's releases: tags, their sections in CHANGELOG.md, history.

Rendered projects are updated from tag to tag for years. So each tag must keep its section, which
lists the manual steps after an update, and stay in the history of the branch. With --notes TAG
the tag's section is printed instead, unless something is wrong.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

SECTION = re.compile(r"^## (\S+).*?\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
TO_DO = re.compile(r"^### What to do after updating\n+(?=[^#\s])", re.MULTILINE)
OLDEST = re.compile(r"^Updates are supported from (v\d\S*) on\.$", re.MULTILINE)
TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


def git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git."""
    return subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )


def tags(root: Path) -> list[str]:
    """Return the tags of a repository, oldest release first; empty without a repository."""
    listed = git(root, "tag", "--list", "v*").stdout.split()
    return sorted(listed, key=lambda tag: [int(n) for n in re.findall(r"\d+", tag)])


def starts(root: Path) -> list[str]:
    """Return the tags from which updates are tested: the oldest supported and the last one."""
    releases = tags(root)
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    oldest = [match[1] for match in OLDEST.finditer(text) if match[1] in releases] or releases[:1]
    return list(dict.fromkeys([*oldest, *releases[-1:]]))


def faults(root: Path) -> Iterator[str]:
    """Report faults in the releases of a repository."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = {match[1]: match[2] for match in SECTION.finditer(text)}
    for name in {*tags(root), *sections} - {"Unreleased"}:
        if not TAG.fullmatch(name):
            yield f"{name}: a release must be named like v1.2.3"
        elif name not in sections:
            yield f"CHANGELOG.md: the tag {name} has no section '## {name}'"
    for name, section in sections.items():
        if not TO_DO.search(section):
            yield f"CHANGELOG.md: {name} lacks '### What to do after updating'"
    for name in tags(root):
        if git(root, "merge-base", "--is-ancestor", name, "HEAD").returncode:
            yield f"{name} is not in the history of this branch: history must not be rewritten"


def faults_of_version(root: Path, tag: str) -> Iterator[str]:
    """Report the places where the plugin's version differs from a tag."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if tag != f"v{project['version']}":
        yield f"pyproject.toml: the plugin is {project['version']}, the tag is {tag}"
    wheels = [path.name for path in root.glob("*/wheels/*.whl")]
    if [name.split("-")[1] for name in wheels] != [tag.removeprefix("v")]:
        carried = ", ".join(wheels) or "no wheel"
        yield f"the template carries {carried}, the tag is {tag}: make wheel"


def notes(root: Path, tag: str) -> str:
    """Return the text of a tag's section; empty if it has none."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    return next((match[2].strip() for match in SECTION.finditer(text) if match[1] == tag), "")


def main() -> int:
    """Print the faults, or a section; return 1 if there are faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", metavar="TAG", help="print the section of this tag")
    tag = parser.parse_args().notes
    problems = list(faults(Path()))
    if tag and not TAG.fullmatch(tag):
        problems.append(f"{tag}: a release must be named like v1.2.3")
    elif tag and not notes(Path(), tag):
        problems.append(f"CHANGELOG.md: the tag {tag} has no section '## {tag}'")
    if tag and not problems:
        problems += faults_of_version(Path(), tag)
    if problems:
        print("\n".join(problems), file=sys.stderr if tag else sys.stdout)
        return 1
    print(notes(Path(), tag) if tag else "release: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
