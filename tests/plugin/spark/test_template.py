"""``kedro run --env spark``: the sample stores on a cluster what it stores on pandas, to a bit."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers import render
from tests.plugin.helpers import REPOSITORY, new_shell

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def found(spark: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process has found that ran the rendered sample both ways, see ``template.py``."""
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


def test_features_scores_models_and_metrics_are_equal_to_the_bit(found: dict[str, Any]) -> None:
    """With twins, a late row, error codes and a window of which older rows are history."""
    assert found["errors"] == [{}] * len(found["errors"])
    assert found["differ"] == []
    assert found["rows"] == 12 * 96 * 4


def test_series_that_are_split_by_time_have_the_same_features(found: dict[str, Any]) -> None:
    assert found["split_is_equal"]


def test_the_report_counts_the_same_and_names_the_same_lines(found: dict[str, Any]) -> None:
    ours, theirs = found["reports"]
    assert ours.pop("fingerprint") != theirs.pop("fingerprint")  # rows have no order on Spark
    assert ours == theirs
    assert (ours["sent_twice"], ours["unordered"], ours["error_codes"]) == (1, 2, 4)
    assert ours["found_codes"] == ["boiler: 199.9 4 times, lines 1202, 1402, 1602, 1802"]


def test_new_rows_of_a_folder_score_the_same_and_are_named_by_file_and_line(
    found: dict[str, Any],
) -> None:
    assert found["scores_differ"] == []
    assert found["scored"] == 14 * 96 * 4 + 1
    assert found["lines"] == [2, 10_000_002_690]  # of the second file of the folder


@pytest.mark.parametrize("what", ["bad", "strict", "missing"])
def test_refusals_say_the_same(found: dict[str, Any], what: str) -> None:
    """A row that cannot be read, too much of a fault, no file; what was stored before stays."""
    ours, theirs = found[what]
    assert ours["status"] == theirs["status"]
    assert "".join(ours["says"].split()) == "".join(theirs["says"].split())
    assert found["kept"]


def test_a_table_is_replaced_whole(found: dict[str, Any]) -> None:
    assert found["left"] == ["clean_temperatures", "features"]
