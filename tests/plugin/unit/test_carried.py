"""Data without a catalog entry crosses steps unchanged, in the safest format for it."""

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
KINDS: dict[str, tuple[Any, str]] = {
    "frame": (frame(a=[1.5, np.nan], b=["x", "y"], c=[True, False]), "data.parquet"),
    "frame of times": (frame(t=DATES, z=DATES.tz_localize("UTC")), "data.parquet"),
    "frame of categories": (frame(c=pd.Categorical(["b", "a"], ordered=True)), "data.parquet"),
    "indexed frame": (frame(a=[1, 2]).set_index(pd.Index(["x", "y"], name="k")), "data.parquet"),
    "frame without rows": (frame(a=np.array([], float)), "data.parquet"),
    "frame of a range": (frame(a=[1, 2, 3]).iloc[1:], "data.parquet"),
    "frame of numbered columns": (pd.DataFrame([[1, 2]]), "data.parquet"),
    "frame with a frequency": (frame(a=[1, 2, 3]).set_index(DATES), "data.pickle"),
    "frame of lists": (frame(a=[[1], [2, 3]]), "data.pickle"),
    "frame of mixed objects": (frame(a=["x", 1, None]), "data.pickle"),
    "frame with two like columns": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "data.pickle"),
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
    """Save in one step, load in the next; also name the file."""
    CarriedDataset(path=str(folder)).save(data)
    (file,) = (path.name for path in folder.iterdir() if path.name != TYPE_FILE)
    return CarriedDataset(path=str(folder)).load(), file


def same(one: Any, other: Any) -> bool:
    if isinstance(other, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    elif isinstance(other, pd.Series):
        pd.testing.assert_series_equal(one, other, check_exact=True)
    elif isinstance(other, np.ndarray):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    else:
        assert one == other
    return type(one) is type(other)


@pytest.mark.parametrize(("data", "file"), KINDS.values(), ids=KINDS)
def test_what_is_carried_comes_back_as_it_was(tmp_path: Path, data: Any, file: str) -> None:
    back, stored = carry(tmp_path / "new", data)
    assert same(back, data)
    assert stored == file


def test_an_estimator_is_a_skops_file_where_that_can_hold_it(tmp_path: Path) -> None:
    rows = np.arange(6.0).reshape(3, 2)
    model = make_pipeline(StandardScaler(), Ridge()).fit(rows, [1, 2, 3])
    back, file = carry(tmp_path / "a", model)
    assert file == "data.skops"
    np.testing.assert_array_equal(back.predict(rows), model.predict(rows))
    local = make_pipeline(FunctionTransformer(lambda x: x + 1), Ridge()).fit(rows, [1, 2, 3])
    back, file = carry(tmp_path / "b", local)
    assert file == "data.pickle"
    np.testing.assert_array_equal(back.predict(rows), local.predict(rows))


def test_a_function_is_carried_by_value(tmp_path: Path) -> None:
    back, _ = carry(tmp_path, lambda x: x + 1)
    assert back(1) == 2


def test_the_folder_says_what_it_holds(tmp_path: Path) -> None:
    carry(tmp_path, {"a": 1})
    found = json.loads((tmp_path / TYPE_FILE).read_text(encoding="utf-8"))
    assert found == {"format": "data.json", "type": "builtins.dict"}


def test_saving_again_leaves_nothing_of_before(tmp_path: Path) -> None:
    carry(tmp_path, frame(a=[1]))
    (tmp_path / "left").mkdir()
    assert carry(tmp_path, [1, 2]) == ([1, 2], "data.json")


@pytest.mark.parametrize(
    "make", [threading.Lock, lambda: (n for n in range(2))], ids=["lock", "generator"]
)
def test_what_cannot_be_pickled_is_refused_with_advice(
    tmp_path: Path, make: Callable[[], Any]
) -> None:
    dataset = CarriedDataset(path=str(tmp_path))
    dataset.save("before")
    with pytest.raises(DatasetError, match=r"cannot be carried .*add a catalog entry"):
        dataset.save(make())
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="holds no data written by a step"):
        dataset.load()
