"""Kedro's own commands work with the project layout: run, IPython, Viz and packaging."""

import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import ROOT, USERS_ENVIRONMENT, InstalledProject, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]

PIPELINES = {
    *("pre_processing", "data_engineering", "data_science", "metrics", "__default__"),
    "score",
}
# Files that the packaged archive must not contain.
SECRETS = ("stage/credentials.yml", "local/credentials.yml", "local/token.json")


@pytest.fixture(scope="module")
def project(install: Callable[..., InstalledProject]) -> InstalledProject:
    """The default project."""
    return install()


def kedro(project: InstalledProject, *arguments: str) -> str:
    """Run kedro as in an activated environment and return its output."""
    path = os.pathsep.join([str(project.path / ".venv" / "bin"), os.environ["PATH"]])
    process = project.run("kedro", *arguments, PATH=path)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_run_accepts_an_environment(project: InstalledProject) -> None:
    assert "Gate: PASSED" in kedro(project, "run", "--env", "stage")
    # stage gets champions only by promotion
    assert project.tracked().models == {"temperature-anomalies-stage": {}}


def test_the_shell_has_catalog_and_pipelines(project: InstalledProject) -> None:
    code = "print('HERE', catalog.load('labels').shape[0], ' '.join(pipelines))"
    output = kedro(project, "ipython", "--", "-c", code)
    (answer,) = (line.split()[1:] for line in output.splitlines() if line.startswith("HERE"))
    assert answer[0] == "32"
    assert set(answer[1:]) == PIPELINES


def test_viz_draws_the_pipeline_without_telemetry(project: InstalledProject) -> None:
    kedro(project, "viz", "build")
    graph = json.loads(project.read("build/api/main"))
    names = {node["name"] for node in graph["nodes"]}
    assert {"clean", "train_detector", "compare_detectors", "raw_temperatures"} <= names
    assert "heap.load" not in project.read("build/index.html")


def test_commands_do_not_modify_the_project(project: InstalledProject) -> None:
    before = project.read("pyproject.toml")
    kedro(project, "registry", "list")
    assert project.read("pyproject.toml") == before
    assert "consent: false" in project.read(".telemetry")


@pytest.fixture(scope="module")
def packaged(project: InstalledProject) -> Path:
    """The folder with the built wheel and the configuration archive.

    An earlier build left a module that has since been deleted.
    """
    deleted = project.path / "build" / "lib" / "temperature_anomalies" / "deleted.py"
    deleted.parent.mkdir(parents=True)
    deleted.touch()
    for name in SECRETS:
        secret = project.path / "operation" / "configuration" / name
        secret.write_text("{key: abc}\n", encoding="utf-8")
    built = project.make("package", **USERS_ENVIRONMENT)
    assert built.returncode == 0, built.stdout + built.stderr
    for name in SECRETS:
        (project.path / "operation" / "configuration" / name).unlink()
    return project.path / "dist"


def test_the_archive_contains_the_environments_but_no_secrets(packaged: Path) -> None:
    with tarfile.open(packaged / "conf-temperature_anomalies.tar.gz") as archive:
        names = set(archive.getnames())
    for env in ("base", "dev", "stage", "prod"):
        assert f"configuration/{env}/parameters.yml" in names
    assert not names & {f"configuration/{name}" for name in SECRETS}
    assert "configuration/local" in names, "Kedro requires this folder"


def test_the_wheel_has_the_modules_of_the_project(
    packaged: Path, project: InstalledProject
) -> None:
    (wheel,) = packaged.glob("*.whl")
    source = project.path / "src"
    modules = {file.relative_to(source).as_posix() for file in source.rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.endswith(".py")} == modules


def test_the_wheel_runs_in_another_folder(
    packaged: Path, project: InstalledProject, tmp_path: Path
) -> None:
    (wheel,) = packaged.glob("*.whl")
    site, workdir = tmp_path / "site", tmp_path / "there"
    shutil.copytree(project.path / "data" / "raw", workdir / "data" / "raw")
    install = ["sh", ROOT / "tools" / "uv.sh", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--target", site, wheel], env=USERS_ENVIRONMENT, check=True)
    archive = packaged / "conf-temperature_anomalies.tar.gz"
    python = project.path / ".venv" / "bin" / "python"
    ran = subprocess.run(
        [python, "-m", "temperature_anomalies", "--conf-source", archive],
        cwd=workdir,
        env=clean_environment(PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Gate: PASSED" in ran.stdout
    assert (workdir / "data" / "processed" / "scores.csv").exists()
