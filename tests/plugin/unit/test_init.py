"""``kedro mlops init``: what it writes fits this Python, and it names what jobs would lack."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from kedro_azure_mlops.cli.init import command
from tests.plugin.helpers import ROOT

REMARK = "add this line to requirements.txt, or jobs lack the plugin:  kedro-azure-mlops[azure]"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as `kedro new` leaves it: one requirements.txt, nothing of the plugin."""
    root = tmp_path / "project"
    left_out = ("azureml.yml", "mlops.yml", "requirements", ".*")
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*left_out))
    (root / "requirements.txt").write_text("kedro~=1.7.0\nkedro-datasets>=3\n", encoding="utf-8")
    monkeypatch.chdir(root)
    return root


def init() -> str:
    """Run the command and return what it prints."""
    done = CliRunner().invoke(command, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def environment(root: Path) -> dict[str, object]:
    """Return the environment of jobs that was written."""
    return yaml.safe_load((root / "conf/base/azureml.yml").read_text("utf-8"))["environment"]


@pytest.mark.parametrize(
    "text", [None, "", "kedro  # not kedro-azure-mlops\n", "kedro-azure-mlops-extra\n"]
)
def test_requirements_without_the_plugin_are_remarked_on(root: Path, text: str | None) -> None:
    file = root / "requirements.txt"
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")
    assert REMARK in init()
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
def test_requirements_that_name_the_plugin_are_not(root: Path, line: str) -> None:
    (root / "requirements.txt").write_text(f"kedro~=1.7.0\n{line}\n", encoding="utf-8")
    said = init()
    assert "requirements.txt" not in said
    assert "kedro mlops compile" in said


def test_one_of_several_locks_is_enough(root: Path) -> None:
    folder = root / "requirements"
    folder.mkdir()
    (folder / "job.txt").write_text("adlfs==2026.5\n", encoding="utf-8")
    (folder / "run.txt").write_text("kedro==1.7.0\n", encoding="utf-8")
    assert "add this line to requirements/job.txt or requirements/run.txt, or jobs" in init()
    (root / "conf/base/azureml.yml").unlink()
    (folder / "run.txt").write_text("kedro-azure-mlops==0.2.0\n", encoding="utf-8")
    assert "add this line" not in init()


def test_an_azureml_yml_of_ones_own_is_not_judged(root: Path) -> None:
    (root / "conf/base/azureml.yml").write_text("environment: azureml:own:1\n", encoding="utf-8")
    assert "add this line" not in init()


def test_jobs_run_the_python_that_init_ran_on(root: Path) -> None:
    init()
    assert environment(root)["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
