"""A model whose files were damaged after training is neither evaluated nor registered."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project
from temperature_anomalies.cli import cli

from tests.template.sample.helpers import NAME, Project


@pytest.fixture
def copied(ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of a project that was run once, as the current folder."""
    project = Project(Path(shutil.copytree(ran.path, tmp_path / "project")))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(project.path)
    return project


def evaluate_again() -> Result:
    bootstrap_project(Path.cwd())
    return CliRunner().invoke(cli, ["run", "--pipelines", "metrics"])


def registered(project: Project) -> Any:
    client = project.client()
    versions = client.search_model_versions(f"name='{NAME}'")
    return project.champion(), [(one.version, dict(one.tags)) for one in versions]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["model.onnx", "model.skops", "detector.json"])
def test_a_damaged_file_is_reported_and_nothing_is_registered(copied: Project, name: str) -> None:
    before, verdict = registered(copied), copied.processed("gate.json").read_bytes()
    challenger = copied.path / "data/interim/challenger"
    flip(challenger / name)
    result = evaluate_again()
    assert result.exit_code == 2
    assert f"{name} was changed" in result.output
    assert "Traceback" not in result.output
    assert registered(copied) == before
    assert copied.processed("gate.json").read_bytes() == verdict
    flip(challenger / name)
    assert evaluate_again().exit_code == 0
    assert registered(copied)[0] == "1"
