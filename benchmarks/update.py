"""Updates of rendered projects: `kedro mlops update` compared with cruft and copier.

    .venv/bin/python benchmarks/update.py --seeds 40

Each seed is one history of a project: random edits, an update to the second release, conflicts
resolved by keeping both sides, more edits, an update to the third (update_seeds.py in the tests).
The three tools go through the same histories alternately, with the same git and Python, each in an
environment installed into build/ first. Columns: user edits lost, template changes neither in the
project nor mentioned, exit statuses that do not show conflicts, deleted files that came back, and
the median seconds of an update.

Exit status: 0 if all targets are reached, 1 if one is missed, 2 if the measurement failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.plugin.update.rendering import SOURCES, USERS_ENVIRONMENT  # noqa: E402
from tests.plugin.update.update_seeds import User, conflicts, judge, release, resolve_conflicts  # noqa: E402
from tests.plugin.update.updating import IDENTITY, Template, git, write  # noqa: E402

CRUFT, COPIER, COOKIECUTTER = "cruft==2.16.0", "copier==9.19.0", "cookiecutter==2.7.1"
RELEASES = (1, 2, 3)
TARGET_RATIO = 0.6


class MeasurementError(Exception):
    """A step failed; the message includes the end of its output."""


def environment(name: str, *packages: str) -> Path:
    """Install packages once into an environment below build/, and return its bin folder."""
    folder = ROOT / "build" / f"update-{name}"
    if not (folder / "complete").exists():
        uv = ["sh", str(ROOT / "tools" / "uv.sh")]
        create = [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        install = [*uv, "pip", "install", "--quiet", "--compile-bytecode", *packages]
        for command in (create, install):
            where = USERS_ENVIRONMENT | {"VIRTUAL_ENV": str(folder)}
            if subprocess.run(command, env=where, check=False).returncode:
                raise MeasurementError(f"{name} could not be installed")
        (folder / "complete").touch()
    return folder / "bin"


@dataclass
class Score:
    """The results of one tool over all histories."""

    updates: int = 0
    lost: int = 0
    unmentioned: int = 0
    wrong: int = 0
    resurrected: int = 0
    crashed: int = 0
    conflicts: int = 0
    seconds: list[float] = field(default_factory=list)


class Tool(ABC):
    """A tool that updates projects."""

    name: str

    def __init__(self, programs: Path, template: Template) -> None:
        """Store the folder of its programs and the template it renders."""
        self.programs = programs
        self.template = template

    @abstractmethod
    def project(self, folder: Path) -> Path:
        """Render a project from the first release and commit it."""

    @abstractmethod
    def command(self, number: int) -> list[str]:
        """Return the command that updates to a release."""

    def update(self, project: Path, number: int) -> tuple[int, str, float]:
        """Update and return the exit status, the output and the seconds taken."""
        shell = self.template.shell | IDENTITY | self.variables()
        began = time.perf_counter()
        process = subprocess.run(
            self.command(number),
            cwd=project,
            env=shell,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        seconds = time.perf_counter() - began
        return process.returncode, process.stdout + process.stderr, seconds

    def variables(self) -> dict[str, str]:
        """Return additional environment variables."""
        return {}


class Ours(Tool):
    """`kedro mlops update`."""

    name = "ours"

    def project(self, folder: Path) -> Path:
        """Render a project from the first release and commit it."""
        return self.template.project("v1", folder).path

    def command(self, number: int) -> list[str]:
        """Return the command that updates to a release."""
        python = str(self.programs / "python")
        return [python, "-m", "kedro_azure_mlops", "update", "--to", f"v{number}"]

    def variables(self) -> dict[str, str]:
        """Return additional environment variables."""
        return {"PYTHONPATH": str(SOURCES)}


class Cruft(Ours):
    """Cruft, on the same projects."""

    name = "cruft"

    def command(self, number: int) -> list[str]:
        """Return the command that updates to a release."""
        return [str(self.programs / "cruft"), "update", "-y", "--checkout", f"v{number}"]

    def variables(self) -> dict[str, str]:
        """Return additional environment variables."""
        return {}


class Copier(Tool):
    """Copier, on a template in its format with the same files."""

    name = "copier"

    def project(self, folder: Path) -> Path:
        """Render a project from the first release and commit it."""
        target = folder / "demo"
        command = ["copy", "--quiet", "--defaults", "--vcs-ref", "v1", self.template.url]
        process = subprocess.run(
            [str(self.programs / "copier"), *command, str(target)],
            env=self.template.shell,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise MeasurementError(process.stderr[-800:])
        git(target, "init", "--quiet", "--initial-branch=main")
        git(target, "add", "--all")
        git(target, "commit", "--quiet", "--message", "rendered")
        return target

    def command(self, number: int) -> list[str]:
        """Return the command that updates to a release."""
        return [str(self.programs / "copier"), "update", "--defaults", "--vcs-ref", f"v{number}"]


def cookiecutter_template(folder: Path) -> Template:
    """Write the template in cookiecutter's format."""
    template = Template(folder / "cookiecutter", "https://templates.example/cookiecutter.git")
    before: set[str] = set()
    for number in RELEASES:
        files = {n: c for n, c in release(number).items() if c is not None or n in before}
        template.release(f"v{number}", files)
        before = {name for name, content in files.items() if content is not None}
    return template


def copier_template(folder: Path) -> Template:
    """Write the template in copier's format."""
    template = Template(folder / "copier", "https://templates.example/copier.git")
    template.path.mkdir()
    git(template.path, "init", "--quiet", "--initial-branch=main")
    before: set[str] = set()
    for number in RELEASES:
        files = {n: c for n, c in release(number).items() if c is not None or n in before}
        write(template.path / "template", files)
        settings = "_subdirectory: template\nproject_name: {type: str, default: Demo}\n"
        answers = "[[ _copier_conf.answers_file ]].jinja".replace("[", "{").replace("]", "}")
        dump = "[[ _copier_answers|to_nice_yaml ]]\n".replace("[", "{").replace("]", "}")
        write(template.path, {"copier.yml": settings, f"template/{answers}": dump})
        git(template.path, "add", "--all", "--force")
        git(template.path, "commit", "--quiet", "--message", f"v{number}")
        git(template.path, "tag", f"v{number}")
        before = {name for name, content in files.items() if content is not None}
    return template


def live(tool: Tool, first: Path, seed: int, folder: Path, score: Score) -> None:
    """Simulate one history of a project with one tool."""
    project = Path(shutil.copytree(first, folder / tool.name / "demo", symlinks=True))
    user = User(seed, project)
    for number in RELEASES[1:]:
        user.edit_randomly(number)
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--allow-empty", "--message", "edited")
        status, output, seconds = tool.update(project, number)
        verdict = judge(user, number, status, output)
        score.updates += 1
        score.seconds.append(seconds)
        score.lost += len(verdict.lost)
        score.unmentioned += len(verdict.unmentioned)
        score.resurrected += len(verdict.resurrected)
        score.wrong += verdict.wrong_status
        score.crashed += "Traceback" in output
        score.conflicts += bool(conflicts(project))
        # An edit can be lost only once.
        for mark in verdict.lost:
            user.ledger.texts.pop(mark, None)
            user.ledger.binaries.pop(mark, None)
        resolve_conflicts(project)
    shutil.rmtree(folder / tool.name)


def show(scores: dict[str, Score]) -> None:
    """Print the table."""
    print(f"{'':8}{'updates':>9}{'lost':>7}{'unmentioned':>13}{'wrong status':>14}"
          f"{'came back':>11}{'crashed':>9}{'conflicts':>11}{'s/update':>10}")  # fmt: skip
    for name, score in scores.items():
        print(f"{name:8}{score.updates:>9}{score.lost:>7}{score.unmentioned:>13}{score.wrong:>14}"
              f"{score.resurrected:>11}{score.crashed:>9}{score.conflicts:>11}"
              f"{median(score.seconds):>10.2f}")  # fmt: skip


def reached(scores: dict[str, Score]) -> bool:
    """Print whether each target is reached; return whether all are."""
    ours, ratio = scores["ours"], 0.0
    ratio = median(ours.seconds) / median(scores["cruft"].seconds)
    targets = {
        "edits lost: 0": ours.lost == 0,
        "changes unmentioned: 0": ours.unmentioned == 0,
        "wrong exit statuses: 0": ours.wrong == 0,
        f"seconds: {ratio:.2f} of cruft's, at most {TARGET_RATIO}": ratio <= TARGET_RATIO,
    }
    for target, is_reached in targets.items():
        print(f"{'reached' if is_reached else 'MISSED':>8}  {target}")
    return all(targets.values())


def measure(seeds: Sequence[int], folder: Path) -> dict[str, Score]:
    """Simulate all histories with all tools."""
    template = cookiecutter_template(folder)
    with_cookiecutter = environment("cruft", CRUFT, COOKIECUTTER)
    tools = [
        Ours(with_cookiecutter, template),
        Cruft(with_cookiecutter, template),
        Copier(environment("copier", COPIER), copier_template(folder)),
    ]
    firsts = {tool.name: tool.project(folder / f"first-{tool.name}") for tool in tools}
    scores = {tool.name: Score() for tool in tools}
    for seed in seeds:
        for tool in tools:
            live(tool, firsts[tool.name], seed, folder / "lives", scores[tool.name])
        print(f"seed {seed} finished", file=sys.stderr)
    return scores


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with tempfile.TemporaryDirectory(prefix="update-") as folder:
        os.environ["HOME"] = folder
        try:
            scores = measure(seeds, Path(folder).resolve())
        except MeasurementError as error:
            print(f"the measurement failed: {error}", file=sys.stderr)
            return 2
    show(scores)
    return 0 if reached(scores) else 1


if __name__ == "__main__":
    sys.exit(main())
