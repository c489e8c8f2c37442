"""Kedro's own commands report readable errors."""

import shutil
import sys
from pathlib import Path

import pytest
from kedro.framework.cli.cli import KedroCLI

from kedro_azure_mlops import cli_hooks

PROJECT = Path(__file__).parents[1] / "project"


@pytest.fixture
def project_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(PROJECT, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def exit_status(project: Path, *arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        KedroCLI(project).main(args=list(arguments))
    return ended.value.code


JUPYTER = ("requirements/notebook.txt", "make notebook", "kedro jupyter lab")
VIZ = ("requirements/dev.txt", "make viz", "kedro viz run")


@pytest.mark.parametrize(
    ("command", "package", "module", "installation"),
    [
        ("jupyter lab", "jupyterlab", "jupyterlab", JUPYTER),
        ("jupyter notebook", "notebook", "notebook", JUPYTER),
        ("jupyter setup", "ipykernel", "ipykernel", JUPYTER),
        ("viz run", "kedro-viz", "kedro_viz", VIZ),
        ("viz", "kedro-viz", "kedro_viz", VIZ),
    ],
)
def test_a_command_without_its_package_explains_how_to_install_it(
    command: str,
    package: str,
    module: str,
    installation: tuple[str, str, str],
    project_copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`make run` alone installs no tools."""
    searched: list[str] = []
    lock, make_target, plain_command = installation
    monkeypatch.setattr(cli_hooks, "find_spec", searched.append)
    assert exit_status(project_copy, *command.split()) == 2
    assert searched == [module]
    error = capsys.readouterr().err
    label = command.removesuffix(" run")
    assert f"kedro {label} needs the package {package}, which is not installed" in error
    assert f"pip install {package}" in error
    (project_copy / lock).touch()
    assert exit_status(project_copy, *command.split()) == 2
    error = capsys.readouterr().err
    assert f"`{make_target}` installs" in error
    assert f"uv pip install --require-hashes -r {lock} && {plain_command}" in error


def test_jupyter_with_its_package_is_run_by_kedro(
    project_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_hooks, "find_spec", str)
    monkeypatch.setitem(sys.modules, "jupyterlab", None)  # its import then fails
    assert exit_status(project_copy, "jupyter", "lab") == 1
    assert "needs the package" not in capsys.readouterr().err


def test_viz_without_its_package_explains_how_to_install_it(
    project_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make run` alone installs no tools."""
    searched: list[str] = []
    monkeypatch.setattr(cli_hooks, "find_spec", searched.append)
    assert exit_status(project_copy, "viz", "run") == 2
    assert searched == ["kedro_viz"]
    error = capsys.readouterr().err
    assert "kedro viz needs the package kedro-viz, which is not installed" in error
    assert "pip install kedro-viz" in error
    (project_copy / "requirements" / "dev.txt").touch()
    assert exit_status(project_copy, "viz") == 2
    error = capsys.readouterr().err
    assert "`make viz` installs" in error
    assert "uv pip install --require-hashes -r requirements/dev.txt && kedro viz run" in error


def test_viz_with_its_package_is_run_by_kedro(
    project_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_hooks, "find_spec", str)
    exit_status(project_copy, "viz", "--help")
    assert "needs the package" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("jupyter", "--help"), ("--help",), ("registry", "list")])
def test_other_commands_are_unaffected(
    arguments: tuple[str, ...], project_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_hooks, "find_spec", lambda _: None)
    assert exit_status(project_copy, *arguments) == 0


def test_kedro_errors_keep_their_message(
    project_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the hook, click 8.5 prints "NoneType: None"."""
    for _ in range(2):
        assert exit_status(project_copy, "pipeline", "create", "no-name") == 1
        output = capsys.readouterr().out
        assert "NoneType" not in output
        assert output.count("'no-name' is not a valid Python package name") == 1
