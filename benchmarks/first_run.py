"""Time from an empty folder to a tracked run, compared with Kedro's spaceflights-pandas starter.

    python benchmarks/first_run.py --starter PATH/TO/kedro-starters/spaceflights-pandas

Both sides start in an empty folder and use the same Python, uv and index, alternating in one run.
Ours: install cookiecutter, render, ``make run``, which installs the requirements of a run and
tracks it in MLflow. Theirs: install Kedro, ``kedro new``, install its requirements, ``kedro run``.
Cold means an empty uv cache; warm is the cache that the cold turn has filled. Standard library
only; POSIX only.

Exit status: 0 if all targets are reached, 1 if one is missed, 2 if the measurement failed.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

TEMPLATE = Path(__file__).resolve().parent.parent
BARE_SCRIPT = Path(__file__).resolve().with_name("bare_sample.py")
KEDRO = "kedro==1.7.0"
COOKIECUTTER = "cookiecutter==2.7.1"
RENDERS = 5  # a render takes under a second, so it is repeated within a turn

# The caller's settings must not reach either side.
LEAKS = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS", "KEDRO_ENV")
LEAKS += ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")


class MeasurementError(Exception):
    """A step failed; the message includes the end of its output."""


@dataclass
class Usage:
    """The cost of a command, including the processes it started."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        """Add the costs of two commands."""
        return Usage(self.wall + other.wall, self.cpu + other.cpu)


@dataclass
class Machine:
    """A newcomer's machine, with separate caches of uv and libraries and temporary files."""

    folder: Path
    python: str
    uv: str
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Create its folders and the environment of its commands."""
        for name in ("bin", "uv", "xdg", "tmp"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "bin/uv").symlink_to(self.uv)
        self.env = {key: value for key, value in os.environ.items() if key not in LEAKS}
        self.env |= {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{self.env['PATH']}",
            "UV_CACHE_DIR": str(self.folder / "uv"),
            "XDG_CACHE_HOME": str(self.folder / "xdg"),
            "TMPDIR": str(self.folder / "tmp"),
            "DO_NOT_TRACK": "1",
        }

    def clear_library_caches(self) -> None:
        """Remove the caches of libraries (above all fonts), but not uv's."""
        shutil.rmtree(self.folder / "xdg")
        (self.folder / "xdg").mkdir()

    def run(self, command: Sequence[str | Path], cwd: Path) -> Usage:
        """Run a command and return its cost; raise MeasurementError with its output if it fails."""
        arguments = [str(word) for word in command]
        with tempfile.TemporaryFile() as log:
            start = time.perf_counter()
            process = subprocess.Popen(
                arguments, cwd=cwd, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                log.seek(0)
                tail = log.read().decode(errors="replace").splitlines()[-30:]
                raise MeasurementError("\n".join([f"failed: {' '.join(arguments)}", *tail]))
        return Usage(wall, used.ru_utime + used.ru_stime)

    def environment(self, folder: Path, *requirements: str | Path) -> Usage:
        """Create a virtual environment and install into it."""
        return self.run(
            [self.uv, "venv", "--quiet", "--python", self.python, folder], folder.parent
        ) + self.run(
            [self.uv, "pip", "install", "--quiet", "--python", folder, *requirements], folder.parent
        )


class Ours:
    """The template in this repository."""

    name = "ours"

    def first_run(self, machine: Machine, folder: Path) -> tuple[Path, Usage]:
        """Go from an empty folder to a tracked run; return the project and the cost."""
        used = machine.environment(folder / "tools", COOKIECUTTER)
        used += machine.run(render_command(folder, TEMPLATE, folder / "out"), folder)
        (project,) = (folder / "out").iterdir()
        used += machine.run(["make", "run", f"PYTHON={machine.python}"], project)
        if not (project / "mlruns.db").exists():
            raise MeasurementError("make run did not track a run: mlruns.db is missing")
        return project, used

    def second_run(self, machine: Machine, project: Path) -> Usage:
        """Run the pipeline again."""
        return machine.run([".venv/bin/kedro", "run"], project)

    def run_environment(self, machine: Machine, project: Path, folder: Path) -> Path:
        """Install only the requirements of a run."""
        wheels = ["--find-links", project / "wheels"]  # the plugin, until it is on an index
        machine.environment(folder / "run", *wheels, "-r", project / "requirements/run.txt")
        return folder / "run"


class Theirs:
    """Kedro's starter."""

    name = "spaceflights-pandas"

    def __init__(self, starter: str) -> None:
        """Store the folder or name of the starter."""
        self.starter = starter

    def first_run(self, machine: Machine, folder: Path) -> tuple[Path, Usage]:
        """Go from an empty folder to a run; return the project and the cost."""
        environment = folder / "venv"
        used = machine.environment(environment, KEDRO)
        new = ["new", "--starter", self.starter, "--name", "Spaceflights", "--telemetry", "no"]
        used += machine.run([environment / "bin/kedro", *new], folder)
        project = folder / "spaceflights"
        install = [machine.uv, "pip", "install", "--quiet", "--python", environment]
        used += machine.run([*install, "-r", "requirements.txt"], project)
        used += machine.run([environment / "bin/kedro", "run"], project)
        return project, used

    def second_run(self, machine: Machine, project: Path) -> Usage:
        """Run the pipeline again."""
        return machine.run([project.parent / "venv/bin/kedro", "run"], project)

    def run_environment(self, machine: Machine, project: Path, folder: Path) -> Path:
        """Install the starter's only set of requirements."""
        machine.environment(folder / "run", KEDRO, "-r", project / "requirements.txt")
        return folder / "run"


def render_command(folder: Path, template: Path, out: Path) -> list[str | Path]:
    """Return the command that renders a template with its default answers."""
    cookiecutter = folder / "tools/bin/cookiecutter"
    return [cookiecutter, template, "--no-input", "--default-config", "--output-dir", out]


def size_and_packages(environment: Path) -> tuple[float, int]:
    """Return the size of an environment without bytecode, in MiB, and its number of packages."""
    paths = [path for path in environment.rglob("*") if path.suffix != ".pyc"]
    blocks = sum(path.lstat().st_blocks for path in paths)
    packages = list(environment.glob("lib/python*/site-packages/*.dist-info"))
    return blocks * 512 / 2**20, len(packages)


def plain_template(folder: Path, project: Path) -> Path:
    """Write a template with files of the same sizes at the same paths, but without hooks."""
    for path in [path for path in project.rglob("*") if path.is_file()]:
        copy = folder / "{{cookiecutter.project_slug}}" / path.relative_to(project)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("x" * path.stat().st_size)
    (folder / "cookiecutter.json").write_text('{"project_slug": "plain"}\n')
    return folder


def render_times(machine: Machine, folder: Path) -> tuple[list[float], list[float]]:
    """Render this template and a plain one of the same size alternately; return the seconds."""
    folder.mkdir()
    machine.environment(folder / "tools", COOKIECUTTER)
    machine.run(render_command(folder, TEMPLATE, folder / "first"), folder)
    (project,) = (folder / "first").iterdir()
    templates = (TEMPLATE, plain_template(folder / "plain", project))
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(RENDERS):
        for side, (template, seconds) in enumerate(zip(templates, times, strict=True)):
            out = folder / f"out-{turn}-{side}"
            seconds.append(machine.run(render_command(folder, template, out), folder).wall)
    return times


class Benchmark:
    """All turns of both sides, and their figures."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Start without any figures."""
        self.arguments = arguments
        self.sides = [Ours(), Theirs(arguments.starter)]
        self.found: dict[tuple[str, str], list[float]] = {}

    def note(self, name: str, side: str, value: float, unit: str) -> None:
        """Record a figure and print it."""
        self.found.setdefault((name, side), []).append(value)
        print(f"  {side:20} {name:28} {value:9.1f} {unit}", file=sys.stderr, flush=True)

    def turn(self, number: int, folder: Path) -> None:
        """Measure both sides once, one after the other at every step."""
        print(f"turn {number} of {self.arguments.repeat}", file=sys.stderr, flush=True)
        machines = {
            side.name: Machine(
                folder / f"machine-{side.name}", self.arguments.python, self.arguments.uv
            )
            for side in self.sides
        }
        for cache in ("cold", "warm"):
            for side in self.sides:
                machine = machines[side.name]
                machine.clear_library_caches()
                workspace = folder / f"{cache}-{side.name}"
                workspace.mkdir()
                project, used = side.first_run(machine, workspace)
                self.note(f"first run, {cache}", side.name, used.wall, "s")
                if cache == "warm":
                    self.after_first_run(side, machine, project, workspace)
        ours, plain = render_times(machines["ours"], folder / "render")
        self.note("render", "ours", median(ours), "s")
        self.note("render", "plain template", median(plain), "s")

    def after_first_run(
        self, side: Ours | Theirs, machine: Machine, project: Path, workspace: Path
    ) -> None:
        """Measure the cost of a second run and the size of the environment."""
        self.note("second run, CPU", side.name, side.second_run(machine, project).cpu, "s")
        if side.name == "ours" and BARE_SCRIPT.exists():
            bare = machine.run([".venv/bin/python", BARE_SCRIPT], project)
            self.note("second run, CPU", "bare script", bare.cpu, "s")
        mebibytes, packages = size_and_packages(side.run_environment(machine, project, workspace))
        self.note("run environment, size", side.name, mebibytes, "MiB")
        self.note("run environment, packages", side.name, packages, "")

    def table(self) -> tuple[str, bool]:
        """Return the medians with their ratios and targets, and whether all are reached."""
        lines = [
            f"{'median of ' + str(self.arguments.repeat):28}{'ours':>9}{'other':>9}  ratio  target"
        ]
        reached = True
        for name, other, target in TARGETS:
            ours, theirs = self.found.get((name, "ours")), self.found.get((name, other))
            if not (ours and theirs):
                lines.append(f"{name:28}{'not measured':>18}")
                reached = False
                continue
            ratio = median(ours) / median(theirs)
            reached = reached and ratio <= target
            verdict = "reached" if ratio <= target else "MISSED"
            lines.append(
                f"{name:28}{median(ours):9.2f}{median(theirs):9.2f}{ratio:7.2f}  <= {target:<5}"
                f" {verdict} (other: {other})"
            )
        return "\n".join(lines), reached


TARGETS = (
    ("first run, cold", Theirs.name, 0.9),
    ("first run, warm", Theirs.name, 0.6),
    ("run environment, size", Theirs.name, 0.75),
    ("run environment, packages", Theirs.name, 0.75),
    ("second run, CPU", Theirs.name, 0.45),
    ("second run, CPU", "bare script", 2.2),
    ("render", "plain template", 1.3),
)


def describe_machine(python: str, uv: str) -> str:
    """Describe the hardware and software behind the figures, without identifying the machine."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = [
        subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
        for tool in (python, uv)
    ]
    model = models[0] if models else platform.processor() or platform.machine()
    words = [f"{os.cpu_count()} cores", model, platform.system(), *map(str.strip, versions)]
    return ", ".join(words)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--starter",
        default="spaceflights-pandas",
        help="a local copy of the starter (default: Kedro fetches it from GitHub)",
    )
    parser.add_argument("--repeat", type=int, default=3, help="turns; medians are printed")
    parser.add_argument("--python", default=sys.executable, help="the Python that both sides use")
    parser.add_argument("--uv", default=shutil.which("uv"), help="the uv to use (default: on PATH)")
    arguments = parser.parse_args()
    if not arguments.uv:
        parser.error("uv is not on PATH: set --uv")
    if Path(arguments.starter).is_dir():
        arguments.starter = str(Path(arguments.starter).resolve())
    return arguments


def main() -> int:
    """Measure and print."""
    arguments = parse_arguments()
    benchmark = Benchmark(arguments)
    try:
        for number in range(1, arguments.repeat + 1):
            with tempfile.TemporaryDirectory(prefix="first-run-") as folder:
                benchmark.turn(number, Path(folder))
    except MeasurementError as problem:
        print(problem, file=sys.stderr)
        return 2
    table, reached = benchmark.table()
    print(f"{describe_machine(arguments.python, arguments.uv)}\n\n{table}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
