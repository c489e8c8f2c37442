"""Projects that are moved, copied or in oddly named folders keep all their files inside."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from kedro_azure_mlops.config import read_mlops
from kedro_azure_mlops.contract import digest, load_proven_scorer
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.database import open_database
from kedro_azure_mlops.hooks.server import database_of, experiment_id, server_of, sqlite_address
from kedro_azure_mlops.registry import open_registry
from tests.plugin.helpers import Project

ANOTHER_MODEL = {"train_fraction": 0.69}  # the one in service is not registered again
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
NAMES = [
    *("a?b", "feature%2Flogin", "a%41b", "a#b", "grüner Raum", 'Ada\'s "project"', "100%"),
    *("a::b", "*{y}", "a&b=c;d?e=f", "$(touch x)", "-n", "file:x", "a\\b"),
]


def stored(database: Path) -> list[Path]:
    """Return the locations of files in the database."""
    locations = []
    with sqlite3.connect(database) as connection:
        for table, column in LOCATIONS:
            locations += connection.execute(f"SELECT {column} FROM {table}").fetchall()  # noqa: S608
    connection.close()
    return [Path(local_file_uri_to_path(location)) for (location,) in locations if location]


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def champion_of(project: Project, target: Path) -> str:
    """Fetch the champion, score its example, and return its number."""
    registry = open_registry("local", project.path)
    version = registry.champion()
    assert version is not None
    folder = registry.fetch(version, target / "fetched")
    load_proven_scorer(folder, read_mlops(project.path, "local").scorer, version.digest)
    return version.number


def is_self_contained(project: Project) -> bool:
    """Return whether all files of the database exist, and are in the project."""
    versions = [path for path in stored(project.path / "mlruns.db") if path.name == "model"]
    assert versions
    assert all((path / "MLmodel").is_file() for path in versions)
    return all(path.is_relative_to(project.path) for path in stored(project.path / "mlruns.db"))


@pytest.fixture
def original(ran: Project, tmp_path: Path) -> Project:
    """A project that was run once, for this test only."""
    shutil.copytree(ran.path, tmp_path / "original")
    project = Project(tmp_path / "original")
    assert champion_of(project, tmp_path / "before") == "1"
    return project


def test_a_copy_writes_nothing_into_the_original(original: Project, tmp_path: Path) -> None:
    before = content(original.path)
    copy = Project(Path(shutil.copytree(original.path, tmp_path / "a copy")))
    copy.run(**ANOTHER_MODEL)
    assert copy.gate()["champion_version"] == "1", "the copy has the champion of the original"
    assert copy.gate()["passed"]
    assert champion_of(copy, tmp_path) == "2"
    assert is_self_contained(copy)
    assert content(original.path) == before
    assert champion_of(original, tmp_path) == "1"


def test_two_projects_in_one_process_are_tracked_separately(
    original: Project, tmp_path: Path
) -> None:
    copy = Project(Path(shutil.copytree(original.path, tmp_path / "a copy")))
    original.run("prepare")
    before = content(original.path)
    copy.run("prepare")
    assert content(original.path) == before
    assert is_self_contained(copy)


def test_a_copy_works_without_the_original(original: Project, tmp_path: Path) -> None:
    copy = Project(Path(shutil.copytree(original.path, tmp_path / "original" / "copy")))
    copy = Project(Path(shutil.move(copy.path, tmp_path / "copy")))
    shutil.rmtree(original.path)
    assert champion_of(copy, tmp_path) == "1", "found before anything is run"
    copy.run()
    assert copy.gate()["champion_version"] == "1"
    assert is_self_contained(copy)
    assert not original.path.exists(), "the old folder is not created again"


def test_a_moved_project_keeps_working(original: Project, tmp_path: Path) -> None:
    moved = Project(Path(shutil.move(original.path, tmp_path / "moved")))
    Project.copy_to(tmp_path / "original", moved.path / "mlruns.db")  # another one takes its place
    (tmp_path / "original/mlruns.db").unlink()
    moved.run(**ANOTHER_MODEL)
    assert moved.gate()["champion_version"] == "1"
    assert champion_of(moved, tmp_path) == "2"
    assert is_self_contained(moved)
    assert not (tmp_path / "original/mlartifacts").exists()


def test_a_copied_database_reads_files_of_the_original_and_writes_to_the_copy(
    original: Project, tmp_path: Path
) -> None:
    copy = Project.copy_to(tmp_path / "copy", original.path / "mlruns.db")
    before = content(original.path)
    assert champion_of(copy, tmp_path) == "1", "its files are only in the original"
    copy.run(**ANOTHER_MODEL)
    assert copy.gate()["champion_version"] == "1"
    assert content(original.path) == before
    assert {path.name for path in (copy.path / "mlartifacts").iterdir()} == {"plant"}


@pytest.fixture
def home(tmp_path: Path, database: Path) -> Path:
    """A folder with a tracking database."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(database, folder / "mlruns.db")
    return folder


def opened(home: Path) -> mlflow.MlflowClient:
    address = sqlite_address(home / "mlruns.db")
    open_database(address)
    return mlflow.MlflowClient(address)


def test_files_outside_the_project_stay_where_they_are(home: Path, tmp_path: Path) -> None:
    client = opened(home)
    locations = {
        "on a share": (tmp_path / "share/plant").as_uri(),
        "in a folder of that name": (tmp_path / "share/mlartifacts/plant").as_uri(),
        "in a cloud": "s3://bucket/mlartifacts/plant",
    }
    (tmp_path / "share/mlartifacts/plant").mkdir(parents=True)
    ids = {name: client.create_experiment(name, location) for name, location in locations.items()}
    own = experiment_id(client, "own")
    moved = opened(Path(shutil.move(home, tmp_path / "moved")))
    assert {name: moved.get_experiment(ids[name]).artifact_location for name in ids} == locations
    own_folder = tmp_path / "moved/mlartifacts/own"
    assert moved.get_experiment(own).artifact_location == own_folder.as_uri()
    assert moved.create_run(own).info.artifact_uri.startswith(f"{own_folder.as_uri()}/")


def test_a_copy_inside_the_original_can_be_copied_out(home: Path, tmp_path: Path) -> None:
    client = opened(home)
    id = experiment_id(client, "own")
    for target in (home / "inner", home / "inner/innermost", tmp_path / "out"):
        origin = Path(str(database_of(client.tracking_uri))).parent
        ignored = shutil.ignore_patterns("inner", "innermost")
        shutil.copytree(origin, target, ignore=ignored)
        client = opened(target)
        location = client.get_experiment(id).artifact_location
        assert location == (target / "mlartifacts/own").as_uri()
        assert opened(origin).get_experiment(id).artifact_location != location
    shutil.rmtree(home)
    shutil.move(tmp_path / "out", home)
    assert opened(home).get_experiment(id).artifact_location == (home / "mlartifacts/own").as_uri()


@pytest.mark.parametrize("name", ["/Users/ada/x", "../../x", "..", "a/b", "x" * 300, "a b"])
def test_an_experiment_named_like_a_path_keeps_its_files_next_to_the_database(
    home: Path, tmp_path: Path, name: str
) -> None:
    client = opened(home)
    run = client.create_run(experiment_id(client, name))
    client.log_text(run.info.run_id, "text", "file.txt")
    (file,) = (home / "mlartifacts").rglob("file.txt")
    assert file.parents[3] == home / "mlartifacts"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert experiment_id(client, name) == run.info.experiment_id


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder outside the project, which must stay empty."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(
    name: str, tmp_path: Path, database: Path, elsewhere: Path
) -> None:
    project = Project.copy_to(tmp_path / "home" / name, database)
    project.run()
    assert project.gate()["passed"]
    assert champion_of(project, elsewhere.parent) == "1"
    model = digest(project.path / "data/model")
    registered = open_registry("local", project.path).champion()
    assert registered is not None
    assert registered.digest == model
    assert open_registry("local", project.path).place == "MLflow at sqlite:///mlruns.db"
    project.run("score")
    assert (project.path / "data/new_scores.csv").is_file()
    assert is_self_contained(project)
    assert [path.name for path in (tmp_path / "home").iterdir()] == [name]
    assert sorted(path.name for path in project.path.glob("ml*")) == ["mlartifacts", "mlruns.db"]


def test_a_folder_name_that_kedro_cannot_read_is_reported(tmp_path: Path, database: Path) -> None:
    project = Project.copy_to(tmp_path / "a[1]", database)
    with pytest.raises(OperationError, match=r"Kedro treats the \[ in .*/a\[1\]/conf as a pattern"):
        project.run()


@pytest.mark.parametrize("name", ["a?b", 'Ada\'s "project" %41'])
def test_a_first_run_creates_its_database_in_any_folder(
    name: str, tmp_path: Path, database: Path, elsewhere: Path
) -> None:
    project = Project.copy_to(tmp_path / "home" / name, database)
    (project.path / "mlruns.db").unlink()
    project.run("prepare")
    assert is_tracked(project)
    assert [path.name for path in (tmp_path / "home").iterdir()] == [name]
    assert sorted(path.name for path in project.path.glob("ml*")) == ["mlartifacts", "mlruns.db"]


def is_tracked(project: Project) -> bool:
    with sqlite3.connect(project.path / "mlruns.db") as connection:
        (status,) = connection.execute("SELECT status FROM runs").fetchall()
    connection.close()
    return status == ("FINISHED",)


@pytest.mark.parametrize("name", [*NAMES, "plain"])
def test_the_address_of_a_database_names_its_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / name / "mlruns.db"
    address = sqlite_address(file)
    assert database_of(address) == file
    assert ("+pysqlite" in address) == bool({"?", "%", "#"} & set(name))


def test_other_addresses_are_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, Any] = {
        "http://127.0.0.1:5000": None,
        "sqlite:////shared/runs.db": Path("/shared/runs.db"),
        "sqlite://": None,
        "postgresql://ada@host/db": None,
        "databricks": None,
    }
    for address, file in files.items():
        assert server_of(address, tmp_path) == address
        assert database_of(address) == file
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert server_of("databricks", tmp_path) == f"sqlite:///{tmp_path.as_posix()}/other.db"
    with_timeout = server_of("sqlite:///a?timeout=60", tmp_path, given=True)
    assert with_timeout == f"sqlite:///{tmp_path.as_posix()}/a?timeout=60"
    assert database_of(with_timeout) == tmp_path / "a"
