"""``kedro run --env spark``: the sample has bit-identical results on a cluster and on pandas."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers import render
from tests.plugin.helpers import REPOSITORY, new_shell

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def results(spark: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of the rendered sample on both engines, see ``template.py``."""
    project = render(REPOSITORY, tmp_path_factory.mktemp("sample")).path
    process = subprocess.run(
        [sys.executable, "-m", "tests.plugin.spark.template"],
        cwd=project,
        env=new_shell() | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_features_scores_models_and_metrics_are_bit_identical(results: dict[str, Any]) -> None:
    """The data has duplicates, a late row, error codes, and history before the window."""
    assert results["errors"] == [{}] * len(results["errors"])
    assert results["differ"] == []
    assert results["rows"] == 12 * 96 * 4


def test_series_split_by_time_have_the_same_features(results: dict[str, Any]) -> None:
    assert results["split_is_equal"]


def test_cleaning_reports_have_the_same_counts_and_lines(results: dict[str, Any]) -> None:
    ours, theirs = results["reports"]
    assert ours.pop("fingerprint") != theirs.pop("fingerprint")  # rows have no order on Spark
    assert ours == theirs
    assert (ours["sent_twice"], ours["unordered"], ours["error_codes"]) == (1, 2, 4)
    assert ours["found_codes"] == ["boiler: 199.9 4 times, lines 1202, 1402, 1602, 1802"]


def test_new_rows_of_a_folder_have_the_same_scores_and_line_numbers(
    results: dict[str, Any],
) -> None:
    assert results["scores_differ"] == []
    assert results["scored"] == 14 * 96 * 4 + 1
    assert results["lines"] == [2, 10_000_002_690]  # in the second file of the folder


@pytest.mark.parametrize("case", ["bad", "strict", "missing"])
def test_refusals_have_the_same_message(results: dict[str, Any], case: str) -> None:
    """An unreadable row, too many faults, and no file; the stored results are kept."""
    ours, theirs = results[case]
    assert ours["status"] == theirs["status"]
    assert "".join(ours["message"].split()) == "".join(theirs["message"].split())
    assert results["kept"]


def test_a_replaced_table_leaves_no_other_files(results: dict[str, Any]) -> None:
    assert results["left"] == ["clean_temperatures", "features"]
