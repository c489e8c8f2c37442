"""Cost of splitting a pipeline into steps: a single step, one per pipeline, or one per node.

    python benchmarks/azure_steps.py

A step of an Azure ML job is a container that starts Python, imports the project and reads and
writes its data. ``kedro mlops local`` runs the compiled job of the sample, and of a pipeline of
nine small nodes, as one step (the default), one step per pipeline, and one per node (like
kedro-azureml), excluding the time that Azure takes to start a container. ``compile`` alternates
with ``kedro registry list``. Standard library only; POSIX only.

Exit status: 0 if all targets are reached, 1 if one is missed, 2 if the measurement failed.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from first_run import (
    COOKIECUTTER,
    Machine,
    MeasurementError,
    Usage,
    describe_machine,
    render_command,
)

TEMPLATE = Path(__file__).resolve().parent.parent
SHARE_OF_PER_NODE = 0.25
SHARE_OF_REGISTRY_LIST = 1.3
LISTS = 5  # a listing takes a second or two, so it is repeated within a turn

SAMPLE = {
    "pre_processing": ["clean"],
    "data_engineering": ["engineer_features", "split_by_time"],
    "data_science": ["train_detector", "score_readings"],
    "metrics": [
        "compare_detectors",
        "refit_challenger",
        "score_newest_week",
        "measure_slices",
        "collect_metrics",
        "measure_cost",
        "decide",
        "choose_model",
        "plot_timeline",
        "plot_score_histogram",
        "plot_precision_recall",
        "write_report",
    ],
}
NINE = {f"part_{p}": [f"add_{3 * p + n}" for n in range(3)] for p in range(3)}

NODES = '''"""Nodes with hardly any work."""

import pandas as pd
from kedro.pipeline import Node, Pipeline


def add(frame: pd.DataFrame) -> pd.DataFrame:
    """Add one."""
    return frame.assign(x=frame["x"] + 1)


def create_pipeline(**_: object) -> Pipeline:
    """Chain three nodes."""
    numbers = range(FIRST, FIRST + 3)
    return Pipeline([Node(add, f"x{n}", f"x{n + 1}", name=f"add_{n}") for n in numbers])
'''


def cuts(pipelines: dict[str, list[str]]) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Return the three ways to split the pipeline, as `steps` in azureml.yml."""
    return {
        "one step": {},
        "one per pipeline": {name: {"pipelines": [name]} for name in pipelines},
        "one per node": {node: {"nodes": [node]} for nodes in pipelines.values() for node in nodes},
    }


def make_nine(sample: Path, target: Path) -> Path:
    """Copy the project and replace its pipelines with nine small nodes."""
    shutil.copytree(sample, target, symlinks=True)
    (pipelines,) = target.glob("src/*/pipelines")
    configuration = target / "operation/configuration"
    for folder in [path for path in pipelines.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    for number, name in enumerate(NINE):
        (pipelines / name).mkdir()
        code = NODES.replace("FIRST", str(3 * number))
        (pipelines / name / "__init__.py").write_text(code)
    (target / "data/raw/x0.csv").write_text("x\n1\n2\n3\n")
    entries = {
        f"x{n}": {
            "type": "pandas.CSVDataset",
            "filepath": f"data/{'raw' if n == 0 else 'interim'}/x{n}.csv",
        }
        for n in range(10)
    }
    # JSON is YAML
    (configuration / "base/catalog.yml").write_text(json.dumps(entries))
    (configuration / "base/mlops.yml").write_text("tracking: {enabled: false}\n")
    for env in ("dev", "stage", "prod"):
        (configuration / env / "mlops.yml").unlink()
    azureml = configuration / "base/azureml.yml"
    text = azureml.read_text()
    text = re.sub(r"(?ms)^(inputs|outputs):.*?(?=^\S)", "", text)
    text = re.sub(r"(?m)^params:.*$", "params: []", text)
    azureml.write_text(text + "inputs: {x0: {}}\noutputs: {x9: {}}\n")
    return target


def change(file: Path, old: str, new: str) -> None:
    """Replace text in a file, which must contain it."""
    text = file.read_text()
    if old not in text:
        raise MeasurementError(f"{file.name} has changed: it does not contain {old!r}")
    file.write_text(text.replace(old, new))


def set_steps(project: Path, steps: dict[str, dict[str, list[str]]]) -> None:
    """Configure the steps of the dev environment."""
    file = project / "operation/configuration/dev/azureml.yml"
    text = file.read_text().partition("\nsteps: ")[0]
    file.write_text(f"{text.rstrip()}\nsteps: {json.dumps(steps)}\n")


def run_locally(machine: Machine, project: Path) -> Usage:
    """Run the compiled job without earlier results."""
    shutil.rmtree(project / "build", ignore_errors=True)
    (project / "mlruns.db").unlink(missing_ok=True)
    command = [".venv/bin/kedro", "mlops", "local", "--env", "dev", "--force"]
    return machine.run(command, project)


def compile_and_list(machine: Machine, project: Path) -> tuple[float, float]:
    """Compile and list the registry alternately; return the median seconds of each."""
    commands = (
        [".venv/bin/kedro", "mlops", "compile", "--env", "dev"],
        [".venv/bin/kedro", "registry", "list"],
    )
    times: list[list[float]] = [[], []]
    for _ in range(LISTS):
        for command, seconds in zip(commands, times, strict=True):
            seconds.append(machine.run(command, project).wall)
    return median(times[0]), median(times[1])


def report(
    usages: dict[tuple[str, str], list[Usage]], list_times: list[tuple[float, float]]
) -> bool:
    """Print the medians; return whether all targets are reached."""
    reached = True
    print(f"{'':14}{'':18}{'containers':>11}{'CPU s':>9}{'wall s':>9}  CPU, share of one per node")
    for name, pipelines in (("sample", SAMPLE), ("nine nodes", NINE)):
        per_node = median(used.cpu for used in usages[name, "one per node"])
        for way, steps in cuts(pipelines).items():
            cpu, wall = (median(getattr(u, k) for u in usages[name, way]) for k in ("cpu", "wall"))
            verdict = ""
            if way == "one step":
                good = cpu <= SHARE_OF_PER_NODE * per_node
                reached = reached and good
                verdict = f"  <= {SHARE_OF_PER_NODE} {'reached' if good else 'MISSED'}"
            print(
                f"{name:14}{way:18}{len(steps) or 1:11}{cpu:9.1f}{wall:9.1f}"
                f"{cpu / per_node:7.2f}{verdict}"
            )
    compiled, registry = (median(values) for values in zip(*list_times, strict=True))
    ratio = compiled / registry
    good = ratio <= SHARE_OF_REGISTRY_LIST
    print(
        f"\ncompile {compiled:.2f} s, kedro registry list {registry:.2f} s: ratio {ratio:.2f}"
        f"  <= {SHARE_OF_REGISTRY_LIST} {'reached' if good else 'MISSED'}"
    )
    return reached and good


def measure(arguments: argparse.Namespace) -> bool:
    """Render and install the projects, and run all splits alternately."""
    with tempfile.TemporaryDirectory(prefix="azure-steps-") as folder:
        root = Path(folder)
        machine = Machine(root / "machine", arguments.python, arguments.uv)
        machine.environment(root / "tools", COOKIECUTTER)
        machine.run(render_command(root, TEMPLATE, root / "out"), root)
        (sample,) = (root / "out").iterdir()
        machine.run(["make", "setup", f"PYTHON={arguments.python}"], sample)
        projects = {"sample": sample, "nine nodes": make_nine(sample, root / "nine")}
        for project in projects.values():  # the first run compiles bytecode
            run_locally(machine, project)
        usages: dict[tuple[str, str], list[Usage]] = {}
        list_times = []
        for turn in range(1, arguments.repeat + 1):
            print(f"turn {turn} of {arguments.repeat}", file=sys.stderr, flush=True)
            for name, pipelines in (("sample", SAMPLE), ("nine nodes", NINE)):
                for way, steps in cuts(pipelines).items():
                    set_steps(projects[name], steps)
                    used = run_locally(machine, projects[name])
                    usages.setdefault((name, way), []).append(used)
                    print(f"  {name:12}{way:18}{used.cpu:8.1f} s CPU", file=sys.stderr, flush=True)
            set_steps(sample, {})
            list_times.append(compile_and_list(machine, sample))
    print(f"{describe_machine(arguments.python, arguments.uv)}; median of {arguments.repeat}\n")
    return report(usages, list_times)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, help="turns; medians are printed")
    parser.add_argument("--python", default=sys.executable, help="the Python to use")
    parser.add_argument("--uv", default=shutil.which("uv"), help="the uv to use (default: on PATH)")
    arguments = parser.parse_args()
    if not arguments.uv:
        parser.error("uv is not on PATH: set --uv")
    try:
        return 0 if measure(arguments) else 1
    except MeasurementError as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
