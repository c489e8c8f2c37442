"""Size of a rendered project, the plugin's cost for other commands, and tests broken by changes.

    python benchmarks/footprint.py                 # files and lines of renders, by kind; start-up
    python benchmarks/footprint.py --tests         # also the time of a rendered project's tests
    python benchmarks/footprint.py --changes       # five typical changes: how many tests fail
    python benchmarks/footprint.py --beside DIR... # also count renders of other templates

Start-up is the median time of `kedro registry list` in Kedro's blank project, with the plugin
installed and with its entry points hidden, alternately.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PROVIDERS = ("azure_pipelines", "github_actions")
SAMPLES = ("temperature anomalies", "none")
FILES, LINES = 90, 5_000  # for one provider, without locks, data and wheels
MILLISECONDS = 50
_KINDS = {
    "source": r"^src/.*\.py$",
    "tests": r"^operation/tests/",
    "ops scripts": r"^operation/execution/",
    "configuration": r"^operation/configuration/",
    "CI": r"^(azure_pipelines|\.github)/",
    "infrastructure": r"^operation/infrastructure/",
    "documents": r"\.md$",
}
_NOT_COUNTED = re.compile(r"^(data/raw/.*\.csv|wheels/|requirements/.*\.txt|\.git/)")
_HIDDEN = """
import importlib.metadata as metadata
found = metadata.entry_points
def without(*arguments, **options):
    points = found(*arguments, **options)
    if not isinstance(points, metadata.EntryPoints):
        return points
    return metadata.EntryPoints(p for p in points if not p.value.startswith("HIDDEN"))
metadata.entry_points = without
"""


def render(target: Path, **answers: str) -> Path:
    """Render the template of this repository."""
    pairs = [f"{name}={value}" for name, value in answers.items()]
    command = [BIN / "cookiecutter", ROOT, "--no-input", "--default-config", "--output-dir", target]
    subprocess.run([*map(str, command), *pairs], check=True, capture_output=True)
    (project,) = target.iterdir()
    return project


def count(project: Path) -> tuple[Counter[str], Counter[str]]:
    """Count files and lines by kind, without locks, data and wheels."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for path in sorted(project.rglob("*")):
        name = path.relative_to(project).as_posix()
        if not path.is_file() or _NOT_COUNTED.search(name) or "__pycache__" in name:
            continue
        kind = next((kind for kind, rule in _KINDS.items() if re.search(rule, name)), "other")
        files[kind] += 1
        lines[kind] += path.read_bytes().count(b"\n")
    return files, lines


def show_footprint(workspace: Path, beside: list[Path]) -> None:
    """Print a table for each CI provider and sample, and the totals of other templates."""
    for provider, sample in product(PROVIDERS, SAMPLES):
        target = workspace / f"{provider}-{sample}"
        files, lines = count(render(target, ci_provider=provider, sample=sample))
        print(f"\n{provider + ', sample: ' + sample:<48}{'files':>8}{'lines':>8}")
        for kind in [*_KINDS, "other"]:
            print(f"  {kind:<46}{files[kind]:>8}{lines[kind]:>8}")
        total = files.total(), lines.total()
        reached = "reached" if total[0] <= FILES and total[1] <= LINES else "MISSED"
        print(f"  {'all':<46}{total[0]:>8}{total[1]:>8}   <= {FILES}, {LINES:,}: {reached}")
    for other in beside:
        files, lines = count(other)
        print(f"{other.name:<48}{files.total():>8}{lines.total():>8}")


def show_start(workspace: Path, turns: int) -> None:
    """Print how much the installed plugin slows down another command."""
    new = ["new", "--name", "Blank", "--tools", "none", "--example", "n", "--telemetry", "no"]
    quiet = os.environ | {"DO_NOT_TRACK": "1"}
    subprocess.run([BIN / "kedro", *new], cwd=workspace, check=True, capture_output=True, env=quiet)
    took: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(turns + 1):  # the first turn warms up
        for name, hidden in (("with", "nothing"), ("without", "kedro_azure_mlops")):
            folder = workspace / f"hidden-{name}"
            folder.mkdir(exist_ok=True)
            (folder / "sitecustomize.py").write_text(_HIDDEN.replace("HIDDEN", hidden))
            started = time.perf_counter()
            subprocess.run(
                [BIN / "kedro", "registry", "list"],
                cwd=workspace / "blank",
                check=True,
                capture_output=True,
                env=quiet | {"PYTHONPATH": str(folder)},
            )
            took[name].append(time.perf_counter() - started)
    with_, without = (statistics.median(took[name][1:]) * 1000 for name in ("with", "without"))
    costs = with_ - without
    reached = "reached" if costs <= MILLISECONDS else "MISSED"
    print(
        f"\nkedro registry list: {with_:.0f} ms with the plugin, {without:.0f} ms without: "
        f"{costs:+.0f} ms   <= {MILLISECONDS} ms: {reached}"
    )


def test(project: Path) -> tuple[int, int, float]:
    """Run a project's tests; return the numbers of passed and failed ones and the seconds."""
    started = time.perf_counter()
    process = subprocess.run(
        [BIN / "python", "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - started
    # pytest's last line; Kedro logs after it when a process ends
    last = [
        line for line in process.stdout.splitlines() if re.search(r"\d+ passed|failed|error", line)
    ]
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|errors?)", last[-1])}
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    if process.returncode and not failed:
        print(process.stdout[-3000:], process.stderr[-3000:], file=sys.stderr)
        failed = -1
    for line in process.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(f"      {line[:150]}")
    return counts.get("passed", 0), failed, took


def _use_own_file(project: Path) -> None:
    """Set raw_file to the team's own file."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(1)
    times = pd.date_range("2025-05-01", periods=3_000, freq="10min").repeat(2)
    table = pd.DataFrame({"timestamp": times, "sensor_id": ["north", "south"] * 3_000})
    table["temperature"] = (4 + random.normal(0, 1, len(table))).round(2)
    table.to_csv(project / "data/raw/own.csv", index=False)
    _edit(project, "raw_file: data/raw/temperatures.csv", "raw_file: data/raw/own.csv")
    _edit(project, "labels_file: data/raw/labels.csv", "labels_file: null")


def _change_parameter(project: Path) -> None:
    _edit(project, "holdout: 0.4", "holdout: 0.5")


def _add_node(project: Path) -> None:
    (pipeline,) = project.glob("src/*/pipelines/data_engineering/__init__.py")
    text = pipeline.read_text(encoding="utf-8")
    nodes = pipeline.with_name("nodes.py")
    nodes.write_text(
        nodes.read_text(encoding="utf-8")
        + '\n\ndef count_rows(features: pd.DataFrame) -> dict[str, int]:\n    """Count rows."""\n'
        "    return {'rows': len(features)}\n",
        encoding="utf-8",
    )
    text = re.sub(r"from (\S*nodes) import ", r"from \1 import count_rows, ", text, count=1)
    node = (
        '            Node(count_rows, inputs="features", outputs="row_count", name="count_rows"),\n'
    )
    text = text.replace("        [\n", "        [\n" + node, 1)
    pipeline.write_text(text, encoding="utf-8")


def _change_estimator(project: Path) -> None:
    _edit(
        project,
        "estimator: sklearn.ensemble.IsolationForest",
        "estimator: sklearn.svm.OneClassSVM",
    )


def _edit(project: Path, before: str, after: str) -> None:
    file = project / "operation/configuration/base/parameters.yml"
    text = file.read_text(encoding="utf-8")
    if before not in text:
        raise SystemExit(f"parameters.yml does not contain {before!r}")
    file.write_text(text.replace(before, after), encoding="utf-8")


def _make_classifier(project: Path) -> None:
    """Replace the pipelines with a churn classifier."""
    (package,) = project.glob("src/*/")
    for pipeline in (package / "pipelines").glob("*/"):
        shutil.rmtree(pipeline)
    churn = package / "pipelines" / "churn"
    churn.mkdir(parents=True)
    (churn / "__init__.py").write_text("from .pipeline import create_pipeline\n")
    (churn / "pipeline.py").write_text(
        "import pandas as pd\n"
        "from kedro.pipeline import Node, Pipeline\n"
        "from sklearn.linear_model import LogisticRegression\n\n\n"
        "def train(customers: pd.DataFrame) -> LogisticRegression:\n"
        "    features = customers[['age', 'spent']]\n"
        "    return LogisticRegression().fit(features, customers['churned'])\n\n\n"
        "def create_pipeline(**_: object) -> Pipeline:\n"
        "    return Pipeline([Node(train, 'customers', 'classifier', name='train')])\n"
    )
    base = project / "operation/configuration/base"
    (base / "catalog.yml").write_text(
        "customers:\n  type: pandas.CSVDataset\n  filepath: data/raw/customers.csv\n\n"
        "classifier:\n  type: kedro_azure_mlops.ModelDataset\n  filepath: data/processed/model\n"
    )
    (base / "parameters.yml").write_text("model_name: churn\n")
    (base / "mlops.yml").write_text("tracking: {model: classifier, data: customers}\n")
    azureml = base / "azureml.yml"
    text = azureml.read_text()
    text = re.sub(r"(?ms)^inputs:.*?(?=^\S)", "inputs: {customers: {}}\n", text)
    text = re.sub(r"(?ms)^outputs:.*?(?=^\S)", "outputs: {classifier: {}}\n", text)
    text = re.sub(r"(?m)^params:.*$", "params: []", text)
    azureml.write_text(text)
    (project / "data/raw/customers.csv").write_text(
        "age,spent,churned\n" + "".join(f"{20 + n},{n * 7 % 50},{n % 2}\n" for n in range(60))
    )


CHANGES: dict[str, Callable[[Path], None]] = {
    "the team's own data file as raw_file": _use_own_file,
    "a different value for one parameter": _change_parameter,
    "an additional node": _add_node,
    "a different estimator": _change_estimator,
    "the pipelines replaced by a churn classifier": _make_classifier,
}


def show_changes(workspace: Path) -> None:
    """Print how many of a project's tests each change breaks."""
    print("\ntests that fail after a team's change:")
    for number, (name, change) in enumerate(CHANGES.items()):
        project = render(workspace / f"change-{number}")
        change(project)
        passed, failed, took = test(project)
        print(f"  {name:<48}{failed:>4} failed, {passed} passed, {took:.0f} s", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", action="store_true", help="run the rendered project's tests")
    parser.add_argument(
        "--changes", action="store_true", help="make five changes and run the tests"
    )
    parser.add_argument("--turns", type=int, default=7, help="turns of the start-up measurement")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="other renders to count")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        show_footprint(workspace, arguments.beside)
        show_start(workspace, arguments.turns)
        if arguments.tests:
            passed, failed, took = test(render(workspace / "tests"))
            print(f"\ntests of a render: {passed} passed, {failed} failed, {took:.0f} s   <= 120 s")
        if arguments.changes:
            show_changes(workspace)


if __name__ == "__main__":
    main()
