"""Several threads score rows like a single one."""

import threading

import numpy as np
import pytest

from kedro_azure_mlops import judging
from kedro_azure_mlops.judging import on_all_cores


@pytest.mark.parametrize("rows", [0, 1, 10, 11, 35])
def test_scored_blocks_are_joined_in_order(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_BLOCK", 10)
    threads, sizes = set(), []

    def score(block: np.ndarray) -> np.ndarray:
        threads.add(threading.current_thread().name)
        sizes.append(len(block))
        return block.sum(axis=1, keepdims=True)

    table = np.arange(2.0 * rows).reshape(rows, 2)
    assert on_all_cores(score, table).tolist() == table.sum(axis=1).tolist()
    assert sum(sizes) == rows
    assert max(sizes) <= 10
    assert (threading.main_thread().name in threads) == (rows <= 10), "few rows need no thread"
