"""A save by Kedro's own datasets leaves either the old or the new content."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, Version
from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.pandas import CSVDataset, ParquetDataset
from kedro_datasets.partitions import PartitionedDataset
from kedro_datasets.text import TextDataset

from kedro_azure_mlops.hooks.whole import WholeFiles, clean_up_after_killed_runs
from kedro_azure_mlops.models import ModelDataset

TABLE = pd.DataFrame({"x": [1, 2]})


def save(dataset: Any, data: Any, meanwhile: Callable[[], object] = lambda: None) -> WholeFiles:
    """Save as a run does, and call ``meanwhile`` after all is written and before it is moved."""
    catalog = DataCatalog({"entry": dataset})
    whole = WholeFiles(catalog)
    whole.begin("entry")
    try:
        catalog.save("entry", data)
        meanwhile()
    except DatasetError:
        whole.discard()
        raise
    whole.end("entry")
    return whole


@pytest.mark.parametrize("kind", [CSVDataset, ParquetDataset])
def test_the_old_table_remains_until_the_new_one_is_complete(tmp_path: Path, kind: type) -> None:
    dataset = kind(filepath=str(tmp_path / f"table.{kind.__name__[:3].lower()}"))
    save(dataset, TABLE)
    seen = []
    save(dataset, TABLE * 2, meanwhile=lambda: seen.append(dataset.load()))
    pd.testing.assert_frame_equal(seen[0], TABLE)
    pd.testing.assert_frame_equal(dataset.load(), TABLE * 2)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failed_save_changes_nothing(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "numbers.json"))
    with pytest.raises(DatasetError, match=r"numbers\.json"):
        save(dataset, {"a": 1, "b": object()})
    assert list(tmp_path.iterdir()) == []
    save(dataset, {"a": 1})
    with pytest.raises(DatasetError):
        save(dataset, {"a": 2, "b": object()})
    assert dataset.load() == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.json"]
    save(dataset, {"a": 3})
    assert dataset.load() == {"a": 3}


def test_append_mode_appends_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    by_file_system = {"open_args_save": {"mode": "a"}}
    for dataset in (
        TextDataset(filepath=str(file), fs_args=by_file_system),
        CSVDataset(filepath=str(file), fs_args=by_file_system),
    ):
        file.write_text("before\n", encoding="utf-8")
        save(dataset, "after" if isinstance(dataset, TextDataset) else TABLE)
        assert file.read_text(encoding="utf-8").startswith("before\n")
        assert len(file.read_text(encoding="utf-8")) > len("before\n")


def test_a_link_remains_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "table.csv"
    link.symlink_to(tmp_path / "far" / "table.csv")
    save(CSVDataset(filepath=str(link)), TABLE)
    assert link.is_symlink()
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["table.csv"]


def test_file_permissions_are_preserved(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    save(CSVDataset(filepath=str(file)), TABLE)
    file.chmod(0o640)
    save(CSVDataset(filepath=str(file)), TABLE)
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_replaced_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise OSError("the file is a mount point")

    monkeypatch.setattr(Path, "replace", busy)
    dataset = CSVDataset(filepath=str(tmp_path / "table.csv"))
    save(dataset, TABLE)
    save(dataset, TABLE * 2)
    pd.testing.assert_frame_equal(dataset.load(), TABLE * 2)
    assert len(list(tmp_path.iterdir())) == 1


def test_versioned_and_custom_datasets_save_directly(tmp_path: Path) -> None:
    versioned = CSVDataset(filepath=str(tmp_path / "t.csv"), version=Version(None, "v1"))
    save(versioned, TABLE)
    assert (tmp_path / "t.csv" / "v1" / "t.csv").is_file()

    class CsvWithMetadata(CSVDataset):
        def save(self, data: pd.DataFrame) -> None:
            super().save(data)
            Path(self._get_save_path()).with_suffix(".meta").touch()

    save(CsvWithMetadata(filepath=str(tmp_path / "own.csv")), TABLE)
    assert (tmp_path / "own.meta").exists()


def test_a_new_folder_of_plots_is_moved_when_complete(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    folder = tmp_path / "plots"
    dataset = MatplotlibDataset(filepath=str(folder))
    seen: list[bool] = []
    save(dataset, {"a.png": Figure()}, meanwhile=lambda: seen.append(folder.exists()))
    assert seen == [False]
    assert [path.name for path in folder.iterdir()] == ["a.png"]
    save(dataset, {"b.png": Figure()})
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png"]


def test_a_failed_partitioned_save_is_removed_or_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = PartitionedDataset(path=str(tmp_path / "parts"), dataset="json.JSONDataset")
    failing = {"a": [1], "b": object()}
    with pytest.raises(DatasetError):
        save(dataset, failing)
    assert not (tmp_path / "parts").exists()
    save(dataset, {"a": [1]})
    with pytest.raises(DatasetError):
        save(dataset, failing)
    assert (tmp_path / "parts").exists()
    assert f"may be incomplete: {tmp_path / 'parts'}" in caplog.text


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (tmp_path / "model.new").mkdir()
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old" / "MLmodel").touch()
    (tmp_path / ".table.new.csv").touch()
    (tmp_path / "mine.new").touch()
    entries = {
        "model": ModelDataset(filepath=str(model)),
        "table": CSVDataset(filepath=str(tmp_path / "table.csv")),
    }
    clean_up_after_killed_runs(DataCatalog(entries), [*entries, "of_memory"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.new", "model"]
    assert (model / "MLmodel").is_file(), "the only copy is restored"
