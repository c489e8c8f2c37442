from pathlib import Path

import pandas as pd
import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.results import ResultTable


def table(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"unit": ["007"] * rows, "score": [0.1 * n for n in range(rows)]})


def entry(folder: Path, **options: object) -> ResultTable:
    arguments = {"load_args": {"dtype": {"unit": str}}, "most_csv_rows": 3} | options
    return ResultTable(filepath=str(folder / "out" / "scores.csv"), **arguments)


@pytest.mark.parametrize(("rows", "name"), [(0, "csv"), (3, "csv"), (4, "parquet")])
def test_a_short_table_is_csv_and_a_long_one_is_parquet(
    tmp_path: Path, rows: int, name: str
) -> None:
    scores = entry(tmp_path)
    assert not scores.exists()
    scores.save(table(rows))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"scores.{name}"]
    assert scores.exists()
    loaded = scores.load()
    assert loaded.to_dict("list") == table(rows).to_dict("list")


def test_saving_removes_a_table_in_the_other_format(tmp_path: Path) -> None:
    scores = entry(tmp_path)
    for rows in (4, 2, 5):
        scores.save(table(rows))
        assert len(scores.load()) == rows
        assert len([*(tmp_path / "out").iterdir()]) == 1


def test_a_table_that_cannot_be_written_leaves_the_previous_one(tmp_path: Path) -> None:
    scores = entry(tmp_path)
    scores.save(table(2))
    with pytest.raises(Exception, match=r"mixed|mixture|Could not convert|object"):
        scores.save(pd.DataFrame({"unit": [{1, 2}, "a", 3, 4.0, b""], "score": range(5)}))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores.csv"]
    assert len(scores.load()) == 2


def test_files_left_by_a_killed_run_are_removed(tmp_path: Path) -> None:
    scores = entry(tmp_path)
    scores.save(table(2))
    (tmp_path / "out" / "scores.csv.new").write_text("half", encoding="utf-8")
    (tmp_path / "out" / "scores.parquet.new").write_text("half", encoding="utf-8")
    scores.clean_up()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores.csv"]


def test_a_url_is_rejected_with_the_types_that_accept_one() -> None:
    with pytest.raises(OperationError, match=r"pandas\.CSVDataset"):
        ResultTable(filepath="abfs://container/scores.csv")
