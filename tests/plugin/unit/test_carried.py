"""Data without a catalog entry passes between steps unchanged, in the safest suitable format."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from kedro_azure_mlops.job.carried import TYPE_FILE, CarriedDataset


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


DATES = pd.date_range("2024-01-01", periods=3, freq="h")
CASES: dict[str, tuple[Any, str]] = {
    "frame": (frame(a=[1.5, np.nan], b=["x", "y"], c=[True, False]), "data.parquet"),
    "frame of times": (frame(t=DATES, z=DATES.tz_localize("UTC")), "data.parquet"),
    "frame of categories": (frame(c=pd.Categorical(["b", "a"], ordered=True)), "data.parquet"),
    "indexed frame": (frame(a=[1, 2]).set_index(pd.Index(["x", "y"], name="k")), "data.parquet"),
    "frame without rows": (frame(a=np.array([], float)), "data.parquet"),
    "sliced frame": (frame(a=[1, 2, 3]).iloc[1:], "data.parquet"),
    "frame with numbered columns": (pd.DataFrame([[1, 2]]), "data.parquet"),
    "frame with a frequency": (frame(a=[1, 2, 3]).set_index(DATES), "data.pickle"),
    "frame of lists": (frame(a=[[1], [2, 3]]), "data.pickle"),
    "frame of mixed objects": (frame(a=["x", 1, None]), "data.pickle"),
    "frame with duplicate columns": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "data.pickle"),
    "series": (pd.Series([1.0, 2.0], name="energy"), "series.parquet"),
    "series without a name": (pd.Series(["a", "b"]), "series.parquet"),
    "series with a tuple as name": (pd.Series([1], name=("a", 1)), "data.pickle"),
    "array": (np.arange(6, dtype="float32").reshape(2, 3), "data.npy"),
    "array of times": (DATES.to_numpy(), "data.npy"),
    "array of objects": (np.array(["a", None], object), "data.pickle"),
    "dictionary": ({"a": [1, 2.5, None, {"b": "ä"}], "c": True}, "data.json"),
    "text": ("text", "data.json"),
    "number": (3, "data.json"),
    "tuple": ((1, 2), "data.pickle"),
    "dictionary of numbers": ({1: "a"}, "data.pickle"),
    "dictionary of arrays": ({"a": np.float64(1)}, "data.pickle"),
    "counter": (Counter("aab"), "data.pickle"),
}


def carry(folder: Path, data: Any) -> tuple[Any, str]:
    """Save with one dataset and load with another; return the data and the name of the file."""
    CarriedDataset(path=str(folder)).save(data)
    (file,) = (path.name for path in folder.iterdir() if path.name != TYPE_FILE)
    return CarriedDataset(path=str(folder)).load(), file


def is_same(loaded: Any, saved: Any) -> bool:
    if isinstance(saved, pd.DataFrame):
        pd.testing.assert_frame_equal(loaded, saved, check_exact=True)
    elif isinstance(saved, pd.Series):
        pd.testing.assert_series_equal(loaded, saved, check_exact=True)
    elif isinstance(saved, np.ndarray):
        np.testing.assert_array_equal(loaded, saved)
        assert loaded.dtype == saved.dtype
    else:
        assert loaded == saved
    return type(loaded) is type(saved)


@pytest.mark.parametrize(("data", "file"), CASES.values(), ids=CASES)
def test_data_is_loaded_unchanged(tmp_path: Path, data: Any, file: str) -> None:
    loaded, stored = carry(tmp_path / "new", data)
    assert is_same(loaded, data)
    assert stored == file


def test_an_estimator_is_saved_with_skops_if_possible(tmp_path: Path) -> None:
    rows = np.arange(6.0).reshape(3, 2)
    model = make_pipeline(StandardScaler(), Ridge()).fit(rows, [1, 2, 3])
    loaded, file = carry(tmp_path / "a", model)
    assert file == "data.skops"
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))
    local = make_pipeline(FunctionTransformer(lambda x: x + 1), Ridge()).fit(rows, [1, 2, 3])
    loaded, file = carry(tmp_path / "b", local)
    assert file == "data.pickle"
    np.testing.assert_array_equal(loaded.predict(rows), local.predict(rows))


def test_a_function_is_pickled_by_value(tmp_path: Path) -> None:
    loaded, _ = carry(tmp_path, lambda x: x + 1)
    assert loaded(1) == 2


def test_the_folder_records_the_format_and_type(tmp_path: Path) -> None:
    carry(tmp_path, {"a": 1})
    recorded = json.loads((tmp_path / TYPE_FILE).read_text(encoding="utf-8"))
    assert recorded == {"format": "data.json", "type": "builtins.dict"}


def test_saving_again_removes_the_earlier_files(tmp_path: Path) -> None:
    carry(tmp_path, frame(a=[1]))
    (tmp_path / "left").mkdir()
    assert carry(tmp_path, [1, 2]) == ([1, 2], "data.json")


@pytest.mark.parametrize(
    "make", [threading.Lock, lambda: (n for n in range(2))], ids=["lock", "generator"]
)
def test_unpicklable_data_is_rejected_with_advice(tmp_path: Path, make: Callable[[], Any]) -> None:
    dataset = CarriedDataset(path=str(tmp_path))
    dataset.save("before")
    with pytest.raises(DatasetError, match=r"cannot be carried .*add a catalog entry"):
        dataset.save(make())
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="holds no data written by a step"):
        dataset.load()
