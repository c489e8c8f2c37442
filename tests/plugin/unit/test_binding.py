"""``BIND__`` variables redirect catalog entries to other paths, and leave all others unchanged."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import bind, entry_of, place_of, port_of
from tests.plugin.helpers import Project

CATALOG: dict[str, Any] = {
    "scores": {"type": "pandas.CSVDataset", "filepath": "data/scores.csv", "versioned": True},
    "test": {"type": "pandas.PartitionedDataset", "path": "data/parts", "dataset": {"type": "x"}},
    "train": {"type": "CachedDataset", "dataset": {"type": "x", "filepath": "data/train.parquet"}},
    "{layer}_report": {"type": "json.JSONDataset", "filepath": "data/{layer}.json"},
    "features": {
        "type": "pandas.CSVDataset",
        "filepath": "abfs://box/f.csv",
        "credentials": "blob",
        "load_args": {"sep": ";"},
    },
    "champion": {"type": "x.RegisteredChampion", "name": "m"},
}


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("scores", {**CATALOG["scores"], "filepath": "/p/x"}),
        ("test", {**CATALOG["test"], "path": "/p/x"}),
        (
            "train",
            {"type": "CachedDataset", "dataset": {"type": "x", "filepath": "/p/x"}},
        ),
        ("cleaning_report", {"type": "json.JSONDataset", "filepath": "/p/x"}),
        (
            "features",
            {"type": "pandas.CSVDataset", "filepath": "/p/x", "load_args": {"sep": ";"}},
        ),
    ],
    ids=["versioned", "partitioned", "wrapped", "factory", "remote"],
)
def test_entries_of_every_type_are_redirected(
    port: str, expected: dict[str, Any], ran: Project
) -> None:
    bound = bind(CATALOG, {port: "/p/x"})
    assert bound[port] == expected
    assert {name: bound[name] for name in CATALOG if name != port} == {
        name: entry for name, entry in CATALOG.items() if name != port
    }


def test_transcoded_entries_are_redirected_together() -> None:
    entries = {f"x@{kind}": {"type": kind, "filepath": "data/x.parquet"} for kind in ("a", "b")}
    bound = bind(entries, {"x": "/p/x.parquet"})
    assert {entry["filepath"] for entry in bound.values()} == {"/p/x.parquet"}


@pytest.mark.parametrize("port", ["nothing", "champion"])
def test_a_missing_entry_or_one_without_a_path_is_rejected(port: str, ran: Project) -> None:
    with pytest.raises(OperationError, match=port):
        bind(CATALOG, {port: "/p/x"})


def test_dataset_names_become_port_names() -> None:
    assert port_of("space.name@pandas") == "space__name"
    assert port_of("scores") == "scores"


def test_entries_come_from_the_catalog_or_a_factory() -> None:
    assert entry_of(CATALOG, "raw_report") == {
        "type": "json.JSONDataset",
        "filepath": "data/raw.json",
    }
    assert entry_of(CATALOG, "unheard_of") is None
    assert place_of(CATALOG["train"]) == "data/train.parquet"
    assert place_of(CATALOG["champion"]) is None


def test_a_run_reads_and_writes_the_paths_of_the_variables(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "given.csv", tmp_path / "made" / "clean.parquet"
    rows = len(pd.read_csv((project.path / "data/raw/hours.csv").rename(source)))
    monkeypatch.setenv("BIND__raw_hours", str(source))
    monkeypatch.setenv("BIND__clean_hours", str(target))
    project.run("prepare")
    assert 0 < len(pd.read_parquet(target)) <= rows
    assert not project.processed("clean_hours.parquet").exists()
    assert project.processed("cleaning_report.json").exists()


def test_without_variables_nothing_changes(project: Project) -> None:
    bootstrap_project(project.path)
    with KedroSession.create(project_path=project.path) as session:
        entry = session.load_context().config_loader["catalog"]["predictions"]
    assert entry["filepath"] == "data/predictions.csv"


def test_only_the_first_process_of_a_distributed_step_writes(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    project.run("prepare", "train")
    assert [path.name for path in (project.path / "data").iterdir()] == ["raw"]
    monkeypatch.setenv("RANK", "0")
    project.run("prepare")
    assert project.processed("clean_hours.parquet").exists()
