"""Kedro's own commands say in words what is wrong."""

import shutil
import sys
from pathlib import Path

import pytest
from kedro.framework.cli.cli import KedroCLI

from kedro_azure_mlops import cli_hooks

PROJECT = Path(__file__).parents[1] / "project"


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(PROJECT, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def status(project: Path, *arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        KedroCLI(project).main(args=list(arguments))
    return ended.value.code


JUPYTER = ("requirements/notebook.txt", "make notebook", "kedro jupyter lab")
VIZ = ("requirements/dev.txt", "make viz", "kedro viz run")


@pytest.mark.parametrize(
    ("command", "package", "module", "made"),
    [
        ("jupyter lab", "jupyterlab", "jupyterlab", JUPYTER),
        ("jupyter notebook", "notebook", "notebook", JUPYTER),
        ("jupyter setup", "ipykernel", "ipykernel", JUPYTER),
        ("viz run", "kedro-viz", "kedro_viz", VIZ),
        ("viz", "kedro-viz", "kedro_viz", VIZ),
    ],
)
def test_a_command_without_its_package_says_how_to_get_it(
    command: str,
    package: str,
    module: str,
    made: tuple[str, str, str],
    copied: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As of viz after `make run` alone, which installs no tools."""
    asked: list[str] = []
    lock, target, without = made
    monkeypatch.setattr(cli_hooks, "find_spec", asked.append)
    assert status(copied, *command.split()) == 2
    assert asked == [module]
    said = capsys.readouterr().err
    named = command.removesuffix(" run")
    assert f"kedro {named} needs the package {package}, which is not installed" in said
    assert f"pip install {package}" in said
    (copied / lock).touch()
    assert status(copied, *command.split()) == 2
    said = capsys.readouterr().err
    assert f"`{target}` installs" in said
    assert f"uv pip install --require-hashes -r {lock} && {without}" in said


def test_jupyter_with_its_package_goes_on_to_kedro(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_hooks, "find_spec", str)
    monkeypatch.setitem(sys.modules, "jupyterlab", None)  # then it is not found
    assert status(copied, "jupyter", "lab") == 1
    assert "needs the package" not in capsys.readouterr().err


def test_viz_without_its_package_says_how_to_get_it(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after `make run` alone, which installs no tools."""
    asked: list[str] = []
    monkeypatch.setattr(cli_hooks, "find_spec", asked.append)
    assert status(copied, "viz", "run") == 2
    assert asked == ["kedro_viz"]
    said = capsys.readouterr().err
    assert "kedro viz needs the package kedro-viz, which is not installed" in said
    assert "pip install kedro-viz" in said
    (copied / "requirements" / "dev.txt").touch()
    assert status(copied, "viz") == 2
    said = capsys.readouterr().err
    assert "`make viz` installs" in said
    assert "uv pip install --require-hashes -r requirements/dev.txt && kedro viz run" in said


def test_viz_with_its_package_goes_on_to_kedro(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_hooks, "find_spec", str)
    status(copied, "viz", "--help")
    assert "needs the package" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("jupyter", "--help"), ("--help",), ("registry", "list")])
def test_other_commands_are_left_alone(
    arguments: tuple[str, ...], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_hooks, "find_spec", lambda _: None)
    assert status(copied, *arguments) == 0


def test_errors_of_kedro_say_what_happened(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the hook click 8.5 makes it "NoneType: None"."""
    for _ in range(2):
        assert status(copied, "pipeline", "create", "no-name") == 1
        said = capsys.readouterr().out
        assert "NoneType" not in said
        assert said.count("'no-name' is not a valid Python package name") == 1
