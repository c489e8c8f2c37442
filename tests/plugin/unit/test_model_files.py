"""A stored model's bytes depend on the model alone."""

from pathlib import Path

import numpy as np
import skops.io
from sklearn.ensemble import IsolationForest

from kedro_azure_mlops.model_files import normalise_skops

NODE = np.dtype({"names": ["left", "flag"], "formats": ["<i8", "u1"], "itemsize": 16})


def table(between: int) -> np.ndarray:
    """Make nodes as scikit-learn stores them, with something in the bytes that belong to none."""
    raw = np.full(4 * NODE.itemsize, between, np.uint8).view(NODE)
    raw["left"], raw["flag"] = np.arange(4), 1
    return raw


def test_what_lies_between_fields_is_not_stored(tmp_path: Path) -> None:
    found = []
    for between in (0, 170):
        file = tmp_path / f"{between}.skops"
        skops.io.dump({"nodes": table(between), "plain": np.arange(3.0)}, file)
        normalise_skops(file)
        found.append(file.read_bytes())
        kept = skops.io.load(file)
        assert kept["nodes"]["left"].tolist() == [0, 1, 2, 3]
        assert kept["nodes"]["flag"].tolist() == [1, 1, 1, 1]
        assert kept["nodes"].dtype == NODE
        assert kept["plain"].tolist() == [0, 1, 2]
    assert found[0] == found[1]


def test_a_forest_that_was_stored_and_loaded_is_stored_the_same(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    forest = IsolationForest(n_estimators=5, random_state=0).fit(rows)
    files = [tmp_path / name for name in ("first.skops", "second.skops")]
    for file in files:
        skops.io.dump(forest, file)
        normalise_skops(file)
        forest = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
    assert files[0].read_bytes() == files[1].read_bytes()
