"""The entry file of a Spark step runs ``kedro`` like the command of any other step."""

import os
import sys
from pathlib import Path

import pytest

from kedro_azure_mlops.job.spark_entry import main


def test_ports_are_bound_and_kedro_runs_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "jobs").mkdir()
    seen: dict[str, object] = {}

    def kedro() -> None:
        seen.update(argv=list(sys.argv), folder=Path.cwd(), bound=os.environ["BIND__X"])

    monkeypatch.setattr("kedro.framework.cli.cli.main", kedro)
    monkeypatch.setattr(sys, "argv", ["entry.py", "BIND__X=/a=b", "run", "--params", '"n=3"'])
    monkeypatch.setenv("BIND__X", "before")
    monkeypatch.chdir(Path(__file__).parent)
    main(str(tmp_path / "jobs" / "spark_entry.py"))
    assert seen == {
        "argv": ["kedro", "run", "--params", "n=3"],
        "folder": tmp_path.resolve(),
        "bound": "/a=b",
    }
