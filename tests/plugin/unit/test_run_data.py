import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro.pipeline import Node, Pipeline
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.partitions import PartitionedDataset

from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.config import Gate, Mlops, Rule, Tracking
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.hooks import data as run_data
from kedro_azure_mlops.hooks.data import data_tags, digest_of, is_stored, measured
from kedro_azure_mlops.models import ModelDataset

TEXT = b"a,b\n1,2\n"


def nothing(*_: object) -> None:
    """Do nothing."""


class _Registered(dict[str, Pipeline]):
    """Registered pipelines, of which Kedro returns only the requested ones (here none)."""

    all_requested = False

    def set_requested(self, names: None) -> None:
        self.all_requested = names is None

    def values(self) -> list[Pipeline]:
        return list(super().values()) if self.all_requested else []


class _Broken(_Registered):
    def values(self) -> list[Pipeline]:
        raise ImportError("a pipeline has a fault")


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    (tmp_path / "raw.csv").write_bytes(TEXT)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_bytes(TEXT)
    return DataCatalog(
        {
            "raw": CSVDataset(filepath=str(tmp_path / "raw.csv")),
            "clean": CSVDataset(filepath=str(tmp_path / "raw.csv")),
            "gone": CSVDataset(filepath=str(tmp_path / "gone.csv")),
            "remote": CSVDataset(filepath="memory:///test_run_data/raw.csv"),
            "model": ModelDataset(filepath=str(tmp_path / "model")),
            "memory": MemoryDataset(1),
        }
    )


def test_a_versioned_entry_is_stored_before_its_first_version(tmp_path: Path) -> None:
    entry = CSVDataset(filepath=f"{tmp_path}/new.csv", version=Version(None, None))
    assert is_stored(DataCatalog({"new": entry, "memory": MemoryDataset(1)}), "new")
    assert not is_stored(DataCatalog({"memory": MemoryDataset(1)}), "memory")


def test_the_partitions_of_a_folder_have_one_digest(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/a.csv").write_bytes(TEXT)
    dataset = "pandas.CSVDataset"
    parts = PartitionedDataset(path=f"{tmp_path}/parts", dataset=dataset, filename_suffix=".csv")
    assert digest_of(DataCatalog({"parts": parts}), "parts") == digest(tmp_path / "parts")


def test_a_file_has_the_digest_of_its_bytes(catalog: DataCatalog) -> None:
    assert digest_of(catalog, "raw") == hashlib.sha256(TEXT).hexdigest()


def test_a_folder_has_the_digest_of_a_model(catalog: DataCatalog, tmp_path: Path) -> None:
    assert digest_of(catalog, "model") == digest(tmp_path / "model")


def test_a_folder_has_the_digest_of_a_data_asset(catalog: DataCatalog, tmp_path: Path) -> None:
    for name in ("MLmodel.b", "c/d", "c.e", "C"):
        (tmp_path / "model" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_text(name, encoding="utf-8")
    assert digest_of(catalog, "model") == content_digest(tmp_path / "model")


def test_a_remote_file_has_the_digest_of_its_bytes(catalog: DataCatalog) -> None:
    assert digest_of(catalog, "remote") is None
    catalog["remote"]._fs.pipe("/test_run_data/raw.csv", TEXT)
    assert digest_of(catalog, "remote") == digest_of(catalog, "raw")


@pytest.mark.parametrize("name", ["gone", "memory"])
def test_an_entry_without_a_file_has_no_digest(catalog: DataCatalog, name: str) -> None:
    assert digest_of(catalog, name) is None


def test_a_broken_pipeline_that_is_not_run_causes_no_error(
    catalog: DataCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use = Pipeline([Node(nothing, ["clean"], "used")])
    monkeypatch.setattr(run_data, "pipelines", _Broken())
    assert data_tags(use, catalog, tmp_path)["data.path.clean"] == "raw.csv"


def test_the_signature_in_a_url_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = DataCatalog({"raw": CSVDataset(filepath="https://host/raw.csv?sig=secret")})
    monkeypatch.setattr(run_data, "digest_of", lambda *_: "digest")
    monkeypatch.setattr(run_data, "pipelines", _Registered())
    tags = data_tags(Pipeline([Node(nothing, "raw", "used")]), signed, Path("/project"))
    assert tags["data.path.raw"] == "https://host/raw.csv"


def test_raw_files_and_outputs_of_earlier_runs_are_tagged_separately(
    catalog: DataCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaning = Node(nothing, ["raw", "params:cleaning"], "clean")
    use = Node(nothing, ["clean", "raw", "gone", "memory", "parameters"], "used")
    registered = _Registered({"one": Pipeline([cleaning]), "two": Pipeline([use])})
    monkeypatch.setattr(run_data, "pipelines", registered)
    raw = {"data.file.raw": hashlib.sha256(TEXT).hexdigest(), "data.path.raw": "raw.csv"}
    assert data_tags(registered["one"], catalog, tmp_path) == raw
    assert data_tags(registered["one"] + registered["two"], catalog, tmp_path) == raw
    assert data_tags(registered["two"], catalog, tmp_path) == raw | {
        "data.from_earlier_runs": "clean"
    }
    outside = data_tags(registered["one"], catalog, tmp_path / "model")
    assert outside["data.path.raw"] == (tmp_path / "raw.csv").as_posix()


@pytest.fixture
def numbers(tmp_path: Path) -> DataCatalog:
    """JSON entries with numbers, and other entries."""
    contents = {
        "metrics": {"r2": 0.9, "rows": 3, "odd": float("nan")},
        "cost": {"r2": 0.1, "seconds": 4.0},
        "gate": {"score": 1.0},
        "report": {"rows": 3, "source": "a file"},
        "flags": {"is_good": True},
        "names": ["a"],
        "empty": {},
    }
    entries = {name: JSONDataset(filepath=f"{tmp_path}/{name}.json") for name in contents}
    for name, content in contents.items():
        entries[name].save(content)
    entries["gone"] = JSONDataset(filepath=f"{tmp_path}/gone.json")
    table = CSVDataset(filepath=f"{tmp_path}/table.csv")
    return DataCatalog(entries | {"table": table, "memory": MemoryDataset({"r2": 0.5})})


def test_all_json_entries_with_numbers_are_recorded_by_default(numbers: DataCatalog) -> None:
    metrics = measured(numbers, list(numbers.keys()), Mlops(gate=Gate(decision="gate")))
    assert metrics.keys() == {"cost", "metrics"}
    assert metrics["cost"] == {"r2": 0.1, "seconds": 4.0}
    numbers_of_metrics = {"metrics.r2": 0.9, "rows": 3.0, "odd": float("nan")}
    assert metrics["metrics"] == pytest.approx(numbers_of_metrics, nan_ok=True)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("content", "named"),
    [({"mae": 1.7, "model": "ridge"}, "model"), ({"test": {"mae": 1.7}}, "test")],
    ids=["text", "nested"],
)
def test_an_entry_with_a_limited_metric_and_other_values_is_named(
    numbers: DataCatalog, caplog: pytest.LogCaptureFixture, content: dict[str, Any], named: str
) -> None:
    numbers["metrics"].save(content)
    names = ["metrics", "report"]
    assert measured(numbers, names, Mlops()) == {}
    assert warnings_in(caplog) == [], "may hold anything"
    assert measured(numbers, names, Mlops(gate=Gate(rules=[Rule(metric="mae")]))) == {}
    (message,) = warnings_in(caplog)
    assert f"metrics is not tracked as metrics: it also holds {named}, which" in message
    assert "list metrics in tracking.metrics" in message


def test_other_values_of_a_configured_entry_are_left_out_and_named(
    numbers: DataCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    config = Mlops(tracking=Tracking(metrics=["report"]))
    assert measured(numbers, ["report"], config) == {"report": {"rows": 3.0}}
    assert warnings_in(caplog) == ["report: source cannot be tracked: no number"]


def test_only_the_configured_entries_are_recorded(numbers: DataCatalog) -> None:
    config = Mlops(tracking=Tracking(metrics=["metrics", "gone", "elsewhere"]))
    metrics = measured(numbers, list(numbers.keys()), config)
    assert list(metrics) == ["metrics"]
    assert metrics["metrics"]["r2"] == 0.9
    assert measured(numbers, list(numbers.keys()), Mlops(tracking=Tracking(metrics=[]))) == {}
