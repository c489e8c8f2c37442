"""``kedro mlops init`` configures this Python version and warns if jobs would lack the plugin."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from kedro_azure_mlops.cli.init import command
from tests.plugin.helpers import ROOT

HINT = "add this line to requirements.txt, or jobs lack the plugin:  kedro-azure-mlops[azure]"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project as created by `kedro new`: one requirements.txt, no files of the plugin."""
    root = tmp_path / "project"
    left_out = ("azureml.yml", "mlops.yml", "requirements", ".*")
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*left_out))
    (root / "requirements.txt").write_text("kedro~=1.7.0\nkedro-datasets>=3\n", encoding="utf-8")
    monkeypatch.chdir(root)
    return root


def init() -> str:
    """Run the command and return its output."""
    result = CliRunner().invoke(command, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def environment(root: Path) -> dict[str, object]:
    """Return the environment of jobs in the written azureml.yml."""
    return yaml.safe_load((root / "conf/base/azureml.yml").read_text("utf-8"))["environment"]


@pytest.mark.parametrize(
    "text", [None, "", "kedro  # not kedro-azure-mlops\n", "kedro-azure-mlops-extra\n"]
)
def test_requirements_without_the_plugin_are_reported(root: Path, text: str | None) -> None:
    file = root / "requirements.txt"
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")
    assert HINT in init()
    assert environment(root)["locks"] == ["requirements.txt"]


@pytest.mark.parametrize(
    "line",
    [
        "kedro-azure-mlops[azure]",
        "Kedro_Azure_MLOps[azure]>=0.2  # the plugin",
        "kedro-azure-mlops==0.2.0 \\\n    --hash=sha256:00",
        "./wheels/kedro_azure_mlops-0.2.0-py3-none-any.whl",
        "git+https://example.com/kedro-azure-mlops.git@v0.2.0",
    ],
)
def test_requirements_with_the_plugin_are_not_reported(root: Path, line: str) -> None:
    (root / "requirements.txt").write_text(f"kedro~=1.7.0\n{line}\n", encoding="utf-8")
    output = init()
    assert "requirements.txt" not in output
    assert "kedro mlops compile" in output


def test_only_one_of_several_locks_must_name_the_plugin(root: Path) -> None:
    folder = root / "requirements"
    folder.mkdir()
    (folder / "job.txt").write_text("adlfs==2026.5\n", encoding="utf-8")
    (folder / "run.txt").write_text("kedro==1.7.0\n", encoding="utf-8")
    assert "add this line to requirements/job.txt or requirements/run.txt, or jobs" in init()
    (root / "conf/base/azureml.yml").unlink()
    (folder / "run.txt").write_text("kedro-azure-mlops==0.2.0\n", encoding="utf-8")
    assert "add this line" not in init()


def test_an_existing_azureml_yml_is_not_checked(root: Path) -> None:
    (root / "conf/base/azureml.yml").write_text("environment: azureml:own:1\n", encoding="utf-8")
    assert "add this line" not in init()


def test_jobs_run_the_python_version_of_init(root: Path) -> None:
    init()
    assert environment(root)["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
