"""Each check of the doctor says what is wrong and what to do, and finds the same thing right."""

import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from operation.azureml.config import Cluster
from operation.azureml.health.cloud import clock, quota
from operation.azureml.health.here import Check, compiles, git, lock, python_version, snapshot
from operation.tests.helpers import Project

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def fault(check: Check) -> str:
    assert not check.is_ok
    return check.text


@pytest.mark.parametrize("version", ["3.11.0", "3.13.9"])
def test_a_python_that_fits(project: Project, version):
    assert python_version(project.path, version) == Check(True, f"Python {version}")


@pytest.mark.parametrize("version", ["3.10.14", "3.14.0"])
def test_a_python_that_does_not(project: Project, version):
    text = fault(python_version(project.path, version))

    assert f"Python {version}, but the project asks for >=3.11" in text
    assert text.endswith("make setup")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false")
    for command in (("init",), (*who, "commit", "--allow-empty", "-m", "Start")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_a_commit_is_named_and_what_is_not_in_it(repository: Path):
    (clean,) = git(repository)
    (repository / "new.txt").touch()
    (dirty,) = git(repository)

    assert clean.is_ok
    assert dirty.is_ok
    assert clean.text.endswith("all is committed")
    assert dirty.text.endswith("files not committed: 1")


def test_a_repository_without_a_commit(tmp_path: Path):
    subprocess.run(["git", "init"], cwd=tmp_path, check=True, capture_output=True)

    assert "git commit" in fault(git(tmp_path)[0])


def test_a_machine_without_git(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "git is not installed" in fault(git(tmp_path)[0])


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    lines = [f"{name}==1.0 \\\n    --hash=sha256:aa" for name in ("a", "b", "c", "d", "e")]
    (tmp_path / "requirements/run.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_packages_as_locked(locked: Path):
    installed = dict.fromkeys("abcdef", "1.0")

    assert lock(locked, "run", installed).is_ok


def test_packages_that_are_not_as_locked(locked: Path):
    text = fault(lock(locked, "run", {"a": "1.0", "b": "2.0"}))

    assert "b 2.0, not 1.0; c is missing, not 1.0; d is missing, not 1.0 and 1 more" in text
    assert text.endswith("make setup")


def test_links_that_stay_and_links_that_leave(project: Project, tmp_path: Path):
    (project.path / "src" / "stays").symlink_to(project.path / "pyproject.toml")
    assert snapshot(project.path).is_ok

    (tmp_path / "outside.txt").write_text("secret", encoding="utf-8")
    (project.path / "src" / "leaves").symlink_to(tmp_path / "outside.txt")
    assert "src/leaves is a link that leads out of the project" in fault(snapshot(project.path))


def test_a_configuration_that_compiles(project: Project):
    assert compiles(project.path, "stage") == Check(
        True, "the configuration compiles, steps: pipeline"
    )


def test_a_configuration_that_does_not(project: Project):
    project.configure("stage", "azureml.yml", "steps: {fit: {nodes: [nothing]}}\n")

    assert "there is no node nothing" in fault(compiles(project.path, "stage"))
    assert compiles(project.path, "dev").is_ok


@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_a_clock_that_is_right(minutes):
    assert clock(format_datetime(NOW), NOW + timedelta(minutes=minutes)).is_ok


@pytest.mark.parametrize(
    ("minutes", "said"), [(-7, "7 minutes behind Azure's"), (90, "90 minutes ahead of Azure's")]
)
def test_a_clock_that_is_wrong(minutes, said):
    assert said in fault(clock(format_datetime(NOW), NOW + timedelta(minutes=minutes)))


CLUSTER = Cluster(size="Standard_DS3_v2", max_instances=4)


def test_a_quota_for_all_instances():
    assert quota("cpu", CLUSTER, 4, {"DSv2": (16, 0), "all": (100, 20)}) == Check(
        True, "the quota allows cpu its 4 instances"
    )


def test_a_quota_for_some_instances():
    check = quota("cpu", CLUSTER, 4, {"DSv2": (16, 7)})

    assert check.is_ok
    assert "2 more instances now, of 4 (DSv2: 7 of 16 cores are in use)" in check.text


@pytest.mark.parametrize("limits", [{"DSv2": (3, 0), "all": (100, 0)}, {"all": (0, 0)}])
def test_a_quota_for_no_instance(limits):
    text = fault(quota("cpu", CLUSTER, 4, limits))

    assert "cannot start: Standard_DS3_v2 has 4 cores" in text
    assert "ask for more" in text
