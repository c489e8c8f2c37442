"""The bytes of a stored model depend only on the model."""

from pathlib import Path

import numpy as np
import skops.io
from sklearn.ensemble import IsolationForest

from kedro_azure_mlops.model_files import normalise_skops

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
