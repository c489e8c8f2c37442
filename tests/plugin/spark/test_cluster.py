"""On a cluster, results equal those of pandas, even if an executor dies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin.helpers import REPOSITORY, new_shell


@pytest.mark.spark
def test_a_cluster_matches_pandas_and_survives_a_lost_executor(
    tmp_path: Path, spark: object
) -> None:
    """Split groups and a sample are bit-identical, and an error names its function and group."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.plugin.spark.cluster", str(tmp_path)],
        cwd=REPOSITORY,
        env=new_shell(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    results = json.loads(process.stdout.splitlines()[-1])
    error = results.pop("error")
    assert results == dict.fromkeys(["is_equal", "was_killed", "is_same_sample"], True)
    assert error.startswith("failing, given ")
    assert "of unit=b, failed: ValueError: there is no such unit" in error
