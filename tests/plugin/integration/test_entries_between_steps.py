"""Data of all types pass from step to step unchanged, as in ``kedro run``.

The project differs from the plugin's usual one: another package and configuration folder, a
namespace, nested parameters, no ``mlops.yml``. Only some of its data has catalog entries.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from kedro_azure_mlops.cli import main

# Kedro warns about dots in names; here they separate namespaces
pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain:UserWarning")

REGISTRY = """
import numpy as np
import pandas as pd
from kedro.pipeline import Node, Pipeline
from sklearn.linear_model import Ridge


def make(raw):
    parts = {f"part_{n}": raw.assign(n=n) for n in range(2)}
    return raw, raw.assign(x=raw["x"] * 2), parts, raw.assign(x=raw["x"] * 3), raw.tail(1)


def prepare(raw):
    frame = raw.assign(time=pd.date_range("2024-01-01", periods=len(raw)), word="ä")
    hours = frame.set_index("time").asfreq("D")
    return frame, frame["x"] * 1.5, {"rows": len(raw)}, np.eye(2), hours


def fit(frame, target, alpha):
    return Ridge(alpha=alpha).fit(frame[["x"]], target)


def collect(ordinary, versioned, parts, text, day_sum, params):
    return {
        "ordinary": ordinary["x"].tolist(),
        "versioned": versioned["x"].tolist(),
        "parts": {name: load()["n"].tolist() for name, load in sorted(parts.items())},
        "text": text,
        "day_sum": day_sum["x"].tolist(),
        "params": params,
    }


def judge(frame, target, about, array, hours, model):
    assert str(hours.index.freq) == "<Day>"
    return {
        "types": {column: str(kind) for column, kind in frame.dtypes.items()},
        "target": [target.name, *target],
        "about": about,
        "array": [str(array.dtype), array.tolist()],
        "predicted": model.predict(frame[["x"]]).tolist(),
    }


def register_pipelines():
    made = ["ordinary", "versioned", "parts", "shared@frame", "day_sum"]
    read = ["ordinary", "versioned", "parts", "shared@text", "day_sum", "params:deep.share"]
    carried = ["frame", "target", "about", "array", "hours"]
    inside = Pipeline([Node(fit, ["frame", "target", "params:alpha"], "model", name="fit")])
    return {
        "__default__": Pipeline(
            [
                Node(make, "raw", made, name="make"),
                Node(prepare, "raw", carried, name="prepare"),
                Node(collect, read, "result", name="collect"),
                Node(judge, [*carried, "study.model"], "verdict", name="judge"),
            ]
        )
        + Pipeline(
            inside,
            namespace="study",
            inputs={"frame", "target"},
            parameters={"params:alpha": "params:deep.model.alpha"},
        )
    }
"""
FRAME = {"type": "pandas.CSVDataset", "save_args": {"index": False}}
CATALOG: dict[str, Any] = {
    "raw": FRAME | {"filepath": "data/raw.csv"},
    "ordinary": FRAME | {"filepath": "data/interim/ordinary.csv"},
    "versioned": FRAME | {"filepath": "data/interim/versioned.csv", "versioned": True},
    "parts": {
        "type": "partitions.PartitionedDataset",
        "path": "data/interim/parts",
        "dataset": FRAME,
        "filename_suffix": ".csv",
    },
    "shared@frame": FRAME | {"filepath": "data/interim/shared.csv"},
    "shared@text": {"type": "text.TextDataset", "filepath": "data/interim/shared.csv"},
    "{span}_sum": FRAME | {"filepath": "data/interim/{span}.csv"},
    "about": {"type": "MemoryDataset"},
    "{name}get": {"type": "kedro.io.MemoryDataset", "copy_mode": "assign"},
    "result": {"type": "json.JSONDataset", "filepath": "data/result.json"},
    "verdict": {"type": "json.JSONDataset", "filepath": "data/verdict.json"},
}
JOB: dict[str, Any] = {
    "compute": "cpu",
    "environment": "azureml:kinds:1",
    "inputs": {"raw": {}},
    "outputs": {"result": {}, "verdict": {}},
    "params": ["deep.share", "deep.model.alpha"],
    "steps": {
        "first": {"nodes": ["make", "prepare"]},
        "second": {"namespaces": ["study"]},
        "third": {"nodes": ["collect", "judge"]},
    },
}
PARAMETERS = {"deep": {"share": 0.5, "model": {"alpha": 0.1}}}
SETTINGS = """
CONF_SOURCE = "where/it/is"
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "dev"}
"""


@dataclass
class Kinds:
    """The project, the results of one run, and the output of its job."""

    path: Path
    expected: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, encoding="utf-8")

    def configure(self, name: str, content: Any) -> None:
        self.write(f"where/it/is/base/{name}.yml", json.dumps(content))  # JSON is valid YAML


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    """The project and the results of ``kedro run``, whose intermediate files are deleted."""
    project = Kinds(tmp_path_factory.mktemp("kinds") / "project")
    project.write("pyproject.toml", '[tool.kedro]\npackage_name = "kinds"\nproject_name = "Kinds"\n'
                'kedro_init_version = "1.0.0"\nsource_dir = "src"\n')  # fmt: skip
    project.write("src/kinds/__init__.py", "")
    project.write("src/kinds/settings.py", SETTINGS)
    project.write("src/kinds/pipeline_registry.py", REGISTRY)
    project.write("where/it/is/dev/catalog.yml", "{}\n")
    project.write("data/raw.csv", "x\n1\n2\n4\n")
    for name, content in (("catalog", CATALOG), ("azureml", JOB), ("parameters", PARAMETERS)):
        project.configure(name, content)
    bootstrap_project(project.path)
    with KedroSession.create(project_path=project.path, env="dev") as session:
        session.run()
    project.expected = {
        name: json.loads((project.path / f"data/{name}.json").read_text(encoding="utf-8"))
        for name in ("result", "verdict")
    }
    shutil.rmtree(project.path / "data/interim")
    return project


@pytest.fixture(scope="module")
def ran(kinds: Kinds) -> Kinds:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("kedro_azure_mlops.cli.local.show_log", lines.append)
        patch.chdir(kinds.path)
        status = main(["local", "--env", "dev"])
    kinds.printed = "\n".join(lines)
    assert status == 0, kinds.printed
    return kinds


def output_of(kinds: Kinds, name: str) -> Any:
    file = kinds.path / f"build/local/dev/third/outputs/{name}/{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))


def test_three_steps_match_one_run_for_data_with_entries(ran: Kinds) -> None:
    assert ran.expected["result"]["parts"] == {"part_0": [0] * 3, "part_1": [1] * 3}
    assert output_of(ran, "result") == ran.expected["result"]
    assert not (ran.path / "data/interim").exists()


def test_three_steps_match_one_run_for_data_without_entries(ran: Kinds) -> None:
    assert ran.expected["verdict"]["about"] == {"rows": 3}
    verdict, expected = output_of(ran, "verdict"), dict(ran.expected["verdict"])
    # the last bit of BLAS sums depends on the memory address of an array
    assert verdict.pop("predicted") == pytest.approx(expected.pop("predicted"), rel=1e-12)
    assert verdict == expected


def test_carried_data_are_reported_and_stored_by_type(ran: Kinds) -> None:
    names = "about (first -> third), array (first -> third), frame (first -> third)"
    assert "carried between steps as Parquet, npy, JSON or skops" in ran.printed
    assert names in ran.printed
    assert "study.model (second -> third)" in ran.printed
    assert "ordinary (" not in ran.printed
    files = ran.path.glob("build/local/dev/*/outputs/*/*.*")
    stored = {
        file.parent.name: file.name for file in files if file.name.startswith(("data.", "series."))
    }
    assert stored == {
        "about": "data.json",
        "array": "data.npy",
        "frame": "data.parquet",
        "hours": "data.pickle",
        "study__model": "data.skops",
        "target": "series.parquet",
    }


def test_carry_false_refuses_data_without_an_entry(
    kinds: Kinds, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(kinds.path)
    shutil.rmtree(kinds.path / "build/azureml", ignore_errors=True)
    kinds.configure("azureml", JOB | {"carry": False})
    try:
        assert main(["compile", "--env", "dev"]) == 2
    finally:
        kinds.configure("azureml", JOB)
    assert "compile: about crosses from step first to third, but " in capsys.readouterr().err
    assert not (kinds.path / "build/azureml/dev.yml").exists()
    assert main(["compile", "--env", "dev", "--check"]) == 0
    printed = capsys.readouterr().out
    assert "compile: carried between steps as" in printed
    assert "experiment" not in printed
