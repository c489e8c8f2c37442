"""The bytes of a stored model depend only on the model."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.ensemble import IsolationForest

from kedro_azure_mlops import models
from kedro_azure_mlops.model_files import compact_skops, normalise_skops

NODE = np.dtype({"names": ["left", "flag"], "formats": ["<i8", "u1"], "itemsize": 16})


def nodes_with_padding(padding: int) -> np.ndarray:
    """Return nodes as scikit-learn stores them, with a value in the bytes between the fields."""
    raw = np.full(4 * NODE.itemsize, padding, np.uint8).view(NODE)
    raw["left"], raw["flag"] = np.arange(4), 1
    return raw


def test_padding_between_fields_is_not_stored(tmp_path: Path) -> None:
    contents = []
    for padding in (0, 170):
        file = tmp_path / f"{padding}.skops"
        skops.io.dump({"nodes": nodes_with_padding(padding), "plain": np.arange(3.0)}, file)
        normalise_skops(file)
        contents.append(file.read_bytes())
        loaded = skops.io.load(file)
        assert loaded["nodes"]["left"].tolist() == [0, 1, 2, 3]
        assert loaded["nodes"]["flag"].tolist() == [1, 1, 1, 1]
        assert loaded["nodes"].dtype == NODE
        assert loaded["plain"].tolist() == [0, 1, 2]
    assert contents[0] == contents[1]


def test_a_loaded_forest_is_stored_with_the_same_bytes(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    forest = IsolationForest(n_estimators=5, random_state=0).fit(rows)
    files = [tmp_path / name for name in ("first.skops", "second.skops")]
    for file in files:
        skops.io.dump(forest, file)
        normalise_skops(file)
        forest = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
    assert files[0].read_bytes() == files[1].read_bytes()


def lines_of_schema(archive: bytes) -> int:
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        return files.read("schema.json").count(b"\n") + 1


def test_schemas_are_compact_only_while_the_plugin_saves() -> None:
    with compact_skops(), compact_skops():
        compact = skops.io.dumps({"numbers": np.arange(3)})
    indented = skops.io.dumps({"numbers": np.arange(3)})
    assert lines_of_schema(compact) == 1
    assert lines_of_schema(indented) > 10
    assert skops.io.loads(compact)["numbers"].tolist() == [0, 1, 2]


def test_saving_a_model_never_indents_a_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.DataFrame({"x": np.arange(20.0), "y": 1.0})
    lines = []

    def normalise(file: Path) -> None:
        lines.append(lines_of_schema(file.read_bytes()))
        normalise_skops(file)

    monkeypatch.setattr(models, "normalise_skops", normalise)
    models.save_model(IsolationForest(n_estimators=2).fit(rows), tmp_path / "model")
    assert lines == [1]
