"""Kedro's own commands work with the project's layout: environments, shell, pictures, packages."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import ROOT, USERS_ENVIRONMENT, InstalledProject, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]

PIPELINES = {
    *("pre_processing", "data_engineering", "data_science", "metrics", "__default__"),
    "score",
}
# What must not be in an archive that is handed on.
SECRETS = ("stage/credentials.yml", "local/credentials.yml", "local/token.json")


@pytest.fixture(scope="module")
def project(install: Callable[..., InstalledProject]) -> InstalledProject:
    """The default project."""
    return install()


def kedro(project: InstalledProject, *arguments: str) -> str:
    """Call kedro as in an activated environment and return what it prints."""
    path = os.pathsep.join([str(project.path / ".venv" / "bin"), os.environ["PATH"]])
    process = project.run("kedro", *arguments, PATH=path)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_run_takes_an_environment(project: InstalledProject) -> None:
    assert "Gate: PASSED" in kedro(project, "run", "--env", "stage")
    # its champions come by promotion
    assert project.tracked().models == {"temperature-anomalies-stage": {}}


def test_the_shell_has_catalog_and_pipelines(project: InstalledProject) -> None:
    code = "print('HERE', catalog.load('labels').shape[0], ' '.join(pipelines))"
    said = kedro(project, "ipython", "--", "-c", code)
    (answer,) = (line.split()[1:] for line in said.splitlines() if line.startswith("HERE"))
    assert answer[0] == "32"
    assert set(answer[1:]) == PIPELINES


def test_the_pipeline_can_be_drawn_without_telemetry(project: InstalledProject) -> None:
    kedro(project, "viz", "build")
    drawn = json.loads(project.read("build/api/main"))
    names = {node["name"] for node in drawn["nodes"]}
    assert {"clean", "train_detector", "compare_detectors", "raw_temperatures"} <= names
    assert "heap.load" not in project.read("build/index.html")


def test_commands_write_nothing_into_the_project(project: InstalledProject) -> None:
    before = project.read("pyproject.toml")
    kedro(project, "registry", "list")
    assert project.read("pyproject.toml") == before
    assert "consent: false" in project.read(".telemetry")


@pytest.fixture(scope="module")
def packaged(project: InstalledProject) -> Path:
    """The folder of the wheel and the archive of its configuration."""
    for name in SECRETS:
        secret = project.path / "operation" / "configuration" / name
        secret.write_text("{key: abc}\n", encoding="utf-8")
    done = project.make("package", **USERS_ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in SECRETS:
        (project.path / "operation" / "configuration" / name).unlink()
    return project.path / "dist"


def test_the_archive_holds_the_environments_and_no_secret(packaged: Path) -> None:
    with tarfile.open(packaged / "conf-temperature_anomalies.tar.gz") as archive:
        names = set(archive.getnames())
    for env in ("base", "dev", "stage", "prod"):
        assert f"configuration/{env}/parameters.yml" in names
    assert not names & {f"configuration/{name}" for name in SECRETS}
    assert "configuration/local" in names, "Kedro asks for the folder"


def test_the_wheel_runs_in_another_folder(
    packaged: Path, project: InstalledProject, tmp_path: Path
) -> None:
    (wheel,) = packaged.glob("*.whl")
    site, there = tmp_path / "site", tmp_path / "there"
    shutil.copytree(project.path / "data" / "raw", there / "data" / "raw")
    install = ["sh", ROOT / "tools" / "uv.sh", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--target", site, wheel], env=USERS_ENVIRONMENT, check=True)
    archive = packaged / "conf-temperature_anomalies.tar.gz"
    python = project.path / ".venv" / "bin" / "python"
    ran = subprocess.run(
        [python, "-m", "temperature_anomalies", "--conf-source", archive],
        cwd=there,
        env=clean_environment(PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Gate: PASSED" in ran.stdout
    assert (there / "data" / "processed" / "scores.csv").exists()
