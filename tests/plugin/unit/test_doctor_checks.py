"""Each doctor check accepts a sound setup, and names the problem of a broken one and its fix."""

import hashlib
import importlib.metadata
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

import pytest

from kedro_azure_mlops.azure import doctor as checks
from kedro_azure_mlops.azure.doctor import (
    PLUGIN,
    Check,
    compiles,
    git,
    lock,
    plugin,
    python_version,
    scorer,
    snapshot,
    wheels,
)
from kedro_azure_mlops.azure.doctor_azure import clock, quota
from kedro_azure_mlops.config import Cluster
from tests.plugin.helpers import Project

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def problem(check: Check) -> str:
    assert not check.is_ok
    return check.text


@pytest.mark.parametrize("version", ["3.11.0", "3.13.9"])
def test_a_supported_python_is_accepted(project: Project, version):
    assert python_version(project.path, version) == Check(True, f"Python {version}")


@pytest.mark.parametrize("version", ["3.10.14", "3.14.0"])
def test_an_unsupported_python_is_a_problem(project: Project, version):
    text = problem(python_version(project.path, version))

    assert f"Python {version}, but the project requires >=3.11" in text
    assert text.endswith("(make setup)")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false")
    for command in (("init",), (*identity, "commit", "--allow-empty", "-m", "Start")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_the_commit_and_uncommitted_files_are_reported(repository: Path):
    (clean,) = git(repository)
    (repository / "new.txt").touch()
    (dirty,) = git(repository)

    assert clean.is_ok
    assert dirty.is_ok
    assert clean.text.endswith("everything is committed")
    assert dirty.text.endswith("files not committed: 1")


def test_a_repository_without_a_commit_is_a_problem(tmp_path: Path):
    subprocess.run(["git", "init"], cwd=tmp_path, check=True, capture_output=True)

    assert "git commit" in problem(git(tmp_path)[0])


def test_a_missing_git_is_a_problem(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "git is not installed" in problem(git(tmp_path)[0])


@pytest.fixture
def locked_project(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    lines = [f"{name}==1.0 \\\n    --hash=sha256:aa" for name in ("a", "b", "c", "d", "e")]
    (tmp_path / "requirements/run.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_packages_that_match_the_lock_are_accepted(locked_project: Path):
    installed = dict.fromkeys("abcdef", "1.0")

    assert lock(locked_project, "run", installed).is_ok


def test_packages_that_differ_from_the_lock_are_named(locked_project: Path):
    text = problem(lock(locked_project, "run", {"a": "1.0", "b": "2.0"}))

    assert "b 2.0, not 1.0; c is missing, not 1.0; d is missing, not 1.0 and 1 more" in text
    assert text.endswith("(make setup)")


def azure_lock(path: Path) -> Path:
    (path / "requirements").mkdir()
    lines = [f"{name}==1.0 \\\n    --hash=sha256:aa" for name in ("client", "rest", "shared")]
    (path / "requirements/azure.txt").write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_azure_packages_may_be_missing(tmp_path: Path):
    check = lock(azure_lock(tmp_path), "azure", {"shared": "1.0"}, may_lack=True)

    assert (check.is_ok, check.is_note) == (True, True)
    assert "azure-ai-ml is not installed; it is needed for submit, deploy" in check.text
    assert check.text.endswith("(make azure)")


@pytest.mark.parametrize(
    ("installed", "may_lack"),
    [
        ({"shared": "2.0"}, True),
        ({"client": "2.0", "rest": "1.0", "shared": "1.0"}, True),
        ({"client": "1.0", "shared": "1.0"}, False),
        ({"shared": "1.0"}, False),
    ],
    ids=["different version", "different client", "half installed", "required"],
)
def test_azure_packages_that_differ_from_the_lock_are_a_problem(
    installed: dict[str, str], may_lack: bool, tmp_path: Path
):
    text = problem(lock(azure_lock(tmp_path), "azure", installed, may_lack=may_lack))

    assert "requirements/azure.txt differs from the installed packages" in text


def test_links_must_not_point_out_of_the_project(project: Project, tmp_path: Path):
    (project.path / "src" / "stays").symlink_to(project.path / "pyproject.toml")
    assert snapshot(project.path).is_ok

    (tmp_path / "outside.txt").write_text("secret", encoding="utf-8")
    (project.path / "src" / "leaves").symlink_to(tmp_path / "outside.txt")
    assert "src/leaves is a link that points out of the project" in problem(snapshot(project.path))


def test_a_valid_configuration_compiles(project: Project):
    assert compiles(project.path, "stage") == Check(
        True, "the configuration compiles, steps: pipeline"
    )


def test_a_configuration_that_does_not_compile_is_a_problem(project: Project):
    project.configure("stage", "azureml.yml", "steps: {fit: {nodes: [nothing]}}\n")

    assert "there is no node nothing" in problem(compiles(project.path, "stage"))
    assert compiles(project.path, "dev").is_ok


@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_a_clock_within_the_tolerance_is_accepted(minutes):
    assert clock(format_datetime(NOW), NOW + timedelta(minutes=minutes)).is_ok


@pytest.mark.parametrize(
    ("minutes", "message"), [(-7, "7 minutes behind Azure's"), (90, "90 minutes ahead of Azure's")]
)
def test_a_wrong_clock_is_a_problem(minutes, message):
    assert message in problem(clock(format_datetime(NOW), NOW + timedelta(minutes=minutes)))


CLUSTER = Cluster(size="Standard_DS3_v2", max_instances=4)


def test_a_quota_for_all_instances_is_accepted():
    assert quota("cpu", CLUSTER, 4, {"DSv2": (16, 0), "all": (100, 20)}) == Check(
        True, "the quota allows the 4 instances of cpu"
    )


def test_a_quota_for_some_instances_is_reported():
    check = quota("cpu", CLUSTER, 4, {"DSv2": (16, 7)})

    assert check.is_ok
    assert "2 more instances now, of 4 (DSv2: 7 of 16 cores are in use)" in check.text


@pytest.mark.parametrize("limits", [{"DSv2": (3, 0), "all": (100, 0)}, {"all": (0, 0)}])
def test_a_quota_for_no_instance_is_a_problem(limits):
    text = problem(quota("cpu", CLUSTER, 4, limits))

    assert "cannot start: Standard_DS3_v2 has 4 cores" in text
    assert "ask for more" in text


def test_a_project_without_requires_python_accepts_any(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("[tool.kedro]\n", encoding="utf-8")

    assert python_version(tmp_path, "3.99.0").is_ok


def entry_points(*, hooks: str = "kedro_azure_mlops.hooks:hooks") -> EntryPoints:
    commands = "kedro_azure_mlops.cli:commands"
    return EntryPoints(
        [
            EntryPoint("mlops", hooks, "kedro.hooks"),
            EntryPoint("mlops", commands, "kedro.project_commands"),
        ]
    )


def test_a_plugin_that_kedro_loads_is_accepted():
    (check,) = plugin(entry_points())

    assert check.is_ok
    assert check.text.startswith(f"{PLUGIN} ")
    assert plugin_problems(importlib.metadata.entry_points()) == []  # the installed plugin


def plugin_problems(known: EntryPoints) -> list[str]:
    return [check.text for check in plugin(known) if not check.is_ok]


def test_a_plugin_that_is_not_registered_is_a_problem():
    (text,) = plugin_problems(EntryPoints(entry_points().select(group="kedro.hooks")))

    assert "is not registered under kedro.project_commands" in text


def test_a_plugin_that_cannot_be_imported_is_a_problem():
    (text,) = plugin_problems(entry_points(hooks="kedro_azure_mlops.none:hooks"))

    assert "Kedro cannot load kedro_azure_mlops.none:hooks (kedro.hooks)" in text


def test_hooks_that_the_project_disables_are_a_problem(monkeypatch):
    monkeypatch.setattr(checks, "settings", SimpleNamespace(DISABLE_HOOKS_FOR_PLUGINS=(PLUGIN,)))

    (text,) = plugin_problems(entry_points())

    assert "DISABLE_HOOKS_FOR_PLUGINS" in text


@pytest.fixture
def project_with_wheel(tmp_path: Path) -> Path:
    """A project whose lock names a wheel of ``wheels/``."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/kedro_azure_mlops-1.0-py3-none-any.whl").write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    text = f"other==1 --hash=sha256:aa\n{PLUGIN}==1.0 --hash=sha256:{digest}\n"
    (tmp_path / "requirements/run.txt").write_text(text, encoding="utf-8")
    find_links = '[tool.uv]\nfind-links = ["wheels"]\n'
    (tmp_path / "pyproject.toml").write_text(find_links, encoding="utf-8")
    return tmp_path


def test_a_wheel_that_matches_the_lock_is_accepted(project_with_wheel: Path):
    assert list(wheels(project_with_wheel)) == [
        Check(True, f"wheels/ has the wheels that the locks name: {PLUGIN} 1.0")
    ]


def test_a_changed_wheel_is_a_problem(project_with_wheel: Path):
    (project_with_wheel / "wheels/kedro_azure_mlops-1.0-py3-none-any.whl").write_bytes(b"other")

    (check,) = wheels(project_with_wheel)

    assert "kedro_azure_mlops-1.0-py3-none-any.whl is not the wheel that the locks" in problem(
        check
    )


def test_a_wheel_of_a_different_version_is_a_problem(project_with_wheel: Path):
    (project_with_wheel / "wheels/kedro_azure_mlops-1.0-py3-none-any.whl").rename(
        project_with_wheel / "wheels/kedro_azure_mlops-0.9-py3-none-any.whl"
    )

    (check,) = wheels(project_with_wheel)

    assert f"requirements/run.txt names {PLUGIN}==1.0, but wheels/ has only 0.9" in problem(check)


def test_a_missing_wheel_is_a_problem(project_with_wheel: Path):
    (project_with_wheel / "wheels/kedro_azure_mlops-1.0-py3-none-any.whl").unlink()

    (check,) = wheels(project_with_wheel)
    assert "but wheels/ has no wheel for it. Restore the wheel (git checkout" in problem(check)

    # without find-links the wheel comes from an index
    (project_with_wheel / "pyproject.toml").write_text("", encoding="utf-8")
    assert list(wheels(project_with_wheel)) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.at.all:load", "cannot be imported: ModuleNotFoundError"),
        ("json:none", "json has no function none"),
        ("json", "json has no function (write pkg.mod:f)"),
    ],
)
def test_a_scorer_that_cannot_be_imported_is_a_problem(name, message):
    assert message in problem(scorer(name))
    assert scorer("json:loads").is_ok
