"""On a cluster, an executor may die and groups be spread: results stay equal to those of pandas."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin.helpers import REPOSITORY, new_shell


@pytest.mark.spark
def test_a_cluster_gives_what_pandas_gives_and_survives_an_executor(
    tmp_path: Path, spark: object
) -> None:
    """Split groups and a sample are equal to the bit, and an error is as clear."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.plugin.spark.cluster", str(tmp_path)],
        cwd=REPOSITORY,
        env=new_shell(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    error = found.pop("error")
    assert found == dict.fromkeys(["is_equal", "was_killed", "is_same_sample"], True)
    assert error.startswith("failing, given ")
    assert "of unit=b, failed: ValueError: there is no such unit" in error
