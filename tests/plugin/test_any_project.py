"""A project that was not made from the template: Kedro's blank project with a regression."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from kedro_azure_mlops.cli import main
from tests.plugin.helpers import new_shell

NODES = '''
"""Nodes as anyone writes them: nothing here knows the plugin."""

import pandas as pd
from sklearn.linear_model import Ridge


def split(houses, fraction):
    rows = int(len(houses) * fraction)
    train, test = houses.iloc[:rows], houses.iloc[rows:]
    return train[["rooms", "area"]], train["price"], test[["rooms", "area"]], test["price"]


def train(X_train, y_train, options):
    return Ridge(alpha=options["alpha"]).fit(X_train, y_train)


def evaluate(model, X_test, y_test):
    return {"r2": float(model.score(X_test, y_test))}
'''
REGISTRY = """
from kedro.pipeline import Node, Pipeline

from .nodes import evaluate, split, train


def register_pipelines():
    parts = ["X_train", "y_train", "X_test", "y_test"]
    prepare = Pipeline([Node(split, ["houses#csv", "params:split.fraction"], parts, name="split")])
    fit = Pipeline(
        [
            Node(train, ["X_train", "y_train", "params:model"], "regressor", name="train"),
            Node(evaluate, ["regressor", "X_test", "y_test"], "scores", name="evaluate"),
        ],
        namespace="active",
        inputs={*parts},
        parameters={"params:model"},
    )
    return {"prepare": prepare, "fit": fit, "__default__": prepare + fit}
"""
CATALOG = """
"{name}#csv":
  type: pandas.CSVDataset
  filepath: data/01_raw/{name}.csv

"{namespace}.regressor":
  type: kedro_azure_mlops.ModelDataset
  filepath: data/06_models/{namespace}_regressor

active.scores:
  type: json.JSONDataset
  filepath: data/08_reporting/scores.json
"""
PARAMETERS = "split: {fraction: 0.75}\nmodel: {alpha: 1.0}\n"


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kedro's blank project with a regression pipeline, before the plugin is set up."""
    folder = tmp_path_factory.mktemp("new")
    new = ["new", "--name", "Houses", "--tools", "none", "--example", "n", "--telemetry", "no"]
    subprocess.run(
        [sys.executable, "-m", "kedro", *new],
        cwd=folder,
        env=new_shell() | {"DO_NOT_TRACK": "1"},
        check=True,
        capture_output=True,
    )
    root = folder / "houses"
    source = root / "src" / "houses"
    (source / "nodes.py").write_text(NODES, encoding="utf-8")
    (source / "pipeline_registry.py").write_text(REGISTRY, encoding="utf-8")
    (root / "conf/base/catalog.yml").write_text(CATALOG, encoding="utf-8")
    (root / "conf/base/parameters.yml").write_text(PARAMETERS, encoding="utf-8")
    random = np.random.default_rng(0)
    rooms, area = random.integers(1, 7, 200), random.uniform(30, 200, 200).round(1)
    price = (2_000 * area + 10_000 * rooms + random.normal(0, 9_000, 200)).round()
    table = pd.DataFrame({"rooms": rooms.astype(float), "area": area, "price": price})
    (root / "data/01_raw").mkdir(parents=True)
    table.to_csv(root / "data/01_raw/houses.csv", index=False)
    return root


@pytest.fixture
def project(houses: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project as the current folder."""
    monkeypatch.chdir(houses)
    yield houses
    configure_project("houses")


def run(root: Path, **parameters: object) -> None:
    """Run the pipeline in this process."""
    bootstrap_project(root)
    with KedroSession.create(project_path=root, runtime_params=parameters) as session:
        session.run()


def test_a_run_without_mlops_yml_is_not_tracked(project: Path) -> None:
    run(project)
    assert not (project / "mlruns.db").exists()
    assert json.loads((project / "data/08_reporting/scores.json").read_text())["r2"] > 0.9


def test_init_writes_three_files_and_prints_the_next_steps(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == 0
    printed = capsys.readouterr().out
    for name in ("conf/base/mlops.yml", "conf/base/azureml.yml", ".amlignore"):
        assert f"wrote  {name}" in printed
        assert (project / name).is_file()
    assert "kedro mlops compile" in printed
    mlops = yaml.safe_load((project / "conf/base/mlops.yml").read_text())
    assert mlops["tracking"]["model"] == "active.regressor"
    assert "houses#csv" in yaml.safe_load((project / "conf/base/azureml.yml").read_text())["inputs"]


def test_init_never_overwrites(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited = project / "conf/base/mlops.yml"
    text = edited.read_text() + "# mine\n"
    edited.write_text(text)
    assert main(["init"]) == 0
    assert "kept   conf/base/mlops.yml" in capsys.readouterr().out
    assert edited.read_text() == text


def test_init_rejects_a_folder_without_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 2
    assert "no pyproject.toml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_tracked_and_its_model_is_registered(project: Path) -> None:
    run(project, model={"alpha": 2.0})
    client = mlflow.MlflowClient(f"sqlite:///{(project / 'mlruns.db').as_posix()}")
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["model.alpha"] == "2.0"
    assert tracked.data.metrics["r2"] > 0.9
    (version,) = client.search_model_versions()
    assert version.tags["digest"]


def test_the_champion_is_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["champion", "--env", "local"]) == 0
    assert "version 1" in capsys.readouterr().out


def test_compile_passes_data_without_a_catalog_entry_and_reports_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _split_into_steps(project)
    assert main(["compile"]) == 0
    captured = capsys.readouterr()
    assert "X_test" in captured.out + captured.err
    job = yaml.safe_load(next((project / "build/azureml").glob("*.yml")).read_text())
    assert set(job["jobs"]) == {"prepare", "fit"}


def test_a_local_job_has_the_same_result_as_a_run(project: Path) -> None:
    _split_into_steps(project)
    run(project)
    expected = json.loads((project / "data/08_reporting/scores.json").read_text())
    assert main(["local"]) == 0
    (scores,) = (project / "build").rglob("outputs/**/scores.json")
    assert json.loads(scores.read_text()) == expected


def _split_into_steps(root: Path) -> None:
    file = root / "conf/base/azureml.yml"
    config = yaml.safe_load(file.read_text())
    config["steps"] = {"prepare": {"pipelines": ["prepare"]}, "fit": {"pipelines": ["fit"]}}
    file.write_text(yaml.safe_dump(config))
