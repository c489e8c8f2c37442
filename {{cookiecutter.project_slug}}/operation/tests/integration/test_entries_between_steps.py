"""Catalog entries of every kind are handed from step to step as they are in ``kedro run``."""

import json
import shutil
from typing import Any

import pytest

from operation.tests.helpers import Project

PIPELINE = """
import pandas as pd
from kedro.pipeline import Node, Pipeline


def make(raw):
    parts = {f"part_{n}": raw.assign(n=n) for n in range(2)}
    return raw, raw.assign(x=raw["x"] * 2), parts, raw.assign(x=raw["x"] * 3), raw.tail(1)


def collect(ordinary, versioned, parts, text, day_sum, params):
    return {
        "ordinary": ordinary["x"].tolist(),
        "versioned": versioned["x"].tolist(),
        "parts": {name: load()["n"].tolist() for name, load in sorted(parts.items())},
        "text": text,
        "day_sum": day_sum["x"].tolist(),
        "params": params,
    }


def create_pipeline(**_):
    made = ["ordinary", "versioned", "parts", "shared@frame", "day_sum"]
    read = ["ordinary", "versioned", "parts", "shared@text", "day_sum", "params:train_fraction"]
    return Pipeline(
        [Node(make, "raw", made, name="make"), Node(collect, read, "result", name="collect")]
    )
"""
FRAME = {"type": "pandas.CSVDataset", "save_args": {"index": False}}
CATALOG: dict[str, Any] = {
    "raw": FRAME | {"filepath": "data/raw/x.csv"},
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
    "result": {"type": "json.JSONDataset", "filepath": "data/processed/result.json"},
}
JOB: dict[str, Any] = {
    "experiment": "kinds",
    "compute": "cpu",
    "environment": "azureml:kinds:1",
    "inputs": {"raw": {}},
    "outputs": {"result": {}},
    "params": ["train_fraction"],
    "steps": {"first": {"nodes": ["make"]}, "second": {"nodes": ["collect"]}},
}


@pytest.fixture
def kinds(project: Project) -> Project:
    """The project with one pipeline, whose data are stored in every kind of entry."""
    (package,) = (project.path / "src").iterdir()
    for folder in (package / "pipelines").iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    (package / "pipelines" / "kinds").mkdir()
    code = package / "pipelines" / "kinds" / "__init__.py"
    code.write_text(PIPELINE, encoding="utf-8")
    project.write("x.csv", "x\n1\n2\n")
    for name, content in (("catalog", CATALOG), ("azureml", JOB)):
        project.configure("base", f"{name}.yml", json.dumps(content))  # JSON is YAML
    tracking = project.path / "operation/configuration/base/mlflow.yml"
    text = tracking.read_text(encoding="utf-8")
    tracking.write_text(text.replace("enabled: true", "enabled: false"), encoding="utf-8")
    return project


def test_two_steps_give_what_one_run_gives(kinds: Project) -> None:
    ran = kinds.kedro("run", "--env", "dev")
    assert ran.returncode == 0, ran.stderr
    wanted = json.loads(kinds.processed("result.json").read_text(encoding="utf-8"))
    assert wanted["parts"] == {"part_0": [0, 0], "part_1": [1, 1]}
    shutil.rmtree(kinds.path / "data/interim")
    local = kinds.verb("local", "--env", "dev")
    assert local.returncode == 0, local.stdout + local.stderr
    (made,) = (kinds.path / "build/local/dev").glob("second/outputs/result/result.json")
    assert json.loads(made.read_text(encoding="utf-8")) == wanted
    assert not (kinds.path / "data/interim").exists()


def test_an_entry_that_no_file_holds_is_refused(kinds: Project) -> None:
    changed = CATALOG | {"ordinary": {"type": "kedro.io.MemoryDataset"}}
    kinds.configure("base", "catalog.yml", json.dumps(changed))
    refused = kinds.verb("compile", "--env", "dev")
    assert refused.returncode == 2
    assert "compile: ordinary crosses from step first to second" in refused.stderr
    assert not (kinds.path / "build/azureml").exists()
