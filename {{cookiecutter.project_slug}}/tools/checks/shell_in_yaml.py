"""Check the shell in pipelines and workflows: python -m tools.checks.shell_in_yaml FILES.

What shellcheck finds is printed as `file:line:column: SCxxxx message`, at its place in the YAML
file. Exit status 0: nothing, 1: something, 2: could not look.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from tools.checks.shell_scripts import Script, scripts_in


class CheckError(Exception):
    """What kept the check from looking."""


def shellcheck() -> str:
    """Return the path of shellcheck: that of this environment, else the one on PATH."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("shellcheck", path=places)
    if found is None:
        raise CheckError("shellcheck is not installed here, type: make setup")
    return found


def finds(program: str, script: Script) -> Iterator[tuple[int, int, str]]:
    """Yield line, column and text of what shellcheck says about a script."""
    # The first line says how the runner starts the shell.
    options = "--norc", "--format=json1", "--external-sources", "-"
    checked = subprocess.run(
        [program, *options],
        input=f"#!/bin/{script.shell}\n{script.text}",
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if checked.returncode not in (0, 1):
        raise CheckError(f"shellcheck stopped with {checked.returncode}: {checked.stderr.strip()}")
    for comment in json.loads(checked.stdout)["comments"]:
        line, column = script.place(comment["line"] - 1, comment["column"])
        yield line, column, f"SC{comment['code']} {comment['message']}"


def faults(program: str, file: Path) -> Iterator[str]:
    """Yield what is wrong with the shell in a file."""
    try:
        source = file.read_text(encoding="utf-8")
        scripts = list(scripts_in(source))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CheckError(f"{file}: cannot be read as YAML: {reason}") from error
    found = {find for script in scripts for find in finds(program, script)}
    for line, column, text in sorted(found):
        yield f"{file}:{line}:{column}: {text}"


def main() -> int:
    """Print what is wrong in the files that are named."""
    parser = argparse.ArgumentParser(prog="shell_in_yaml", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILES")
    arguments = parser.parse_args()
    try:
        program = shellcheck()
        found = [fault for file in arguments.files for fault in faults(program, file)]
    except CheckError as error:
        print(f"shell_in_yaml: {error}", file=sys.stderr)
        return 2
    if found:
        print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
