"""A full disk at each write of a run is reported, and leaves no partial files."""

import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click import ClickException

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.hooks.run import TrackedRun
from kedro_azure_mlops.hooks.tracking import MlflowTracking
from kedro_azure_mlops.hooks.work import Work
from kedro_azure_mlops.job.carried import CarriedDataset
from kedro_azure_mlops.local.process import StepProcess
from kedro_azure_mlops.models import ModelDataset, load_model
from kedro_azure_mlops.serve.batches import ScoredPieces
from kedro_azure_mlops.serve.bundle import write_bundle
from kedro_azure_mlops.writing import OutOfSpaceError, name_full_disks_of_logs
from tests.plugin.bundled import make_bundle, run, unpack
from tests.plugin.helpers import Project
from tests.plugin.small_disk import Disk, small_disk
from tests.plugin.trained import measured, project_with_scorer, save_small_model

PAGE = 4096
ENTRIES = [
    *("clean_hours", "cleaning_report", "train", "test", "model", "predictions"),
    *("comparison", "compared", "metrics", "gate", "summary"),
]


@pytest.fixture(scope="module")
def _disk() -> Iterator[Disk]:
    with small_disk() as disk:
        yield disk


@pytest.fixture
def disk(_disk: Disk) -> Iterator[Disk]:
    yield _disk
    _disk.free()


@pytest.fixture(scope="module")
def _used(_disk: Disk, database: Path) -> Project:
    project = Project.copy_to(_disk.path / "project", database)
    project.run()
    return project


@pytest.fixture
def used(_used: Project) -> Project:
    """A project on the small disk, with the results of an earlier run."""
    return _used


def results(project: Project) -> dict[str, bytes]:
    files = [path for path in (project.path / "data").rglob("*") if path.is_file()]
    return {path.relative_to(project.path).as_posix(): path.read_bytes() for path in files}


def fill_before(
    monkeypatch: pytest.MonkeyPatch,
    disk: Disk,
    owner: type,
    method: str,
    left: int,
    entry: str = "",
) -> None:
    """Fill the disk when an internal method of the run is called, optionally for one entry only."""
    original = getattr(owner, method)

    def filled(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not entry or args == (entry,):
            disk.fill(left)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, method, filled)


def run_out_of_space(project: Project, *pipelines: str, **parameters: Any) -> str:
    """Run, and return the error message; Kedro prints it in any project, and exits with 2."""
    with pytest.raises(OutOfSpaceError) as refusal:
        project.run(*pipelines, **parameters)
    assert isinstance(refusal.value, ClickException)
    assert refusal.value.exit_code == 2
    message = refusal.value.message
    assert "pickle" not in message
    assert "Free some space and run the same command again." in message
    return message


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_that_does_not_fit_keeps_the_earlier_one(
    used: Project, disk: Disk, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    before = results(used)
    fill_before(monkeypatch, disk, Work, "before_saved", 0, entry)
    # the values differ from the earlier run's, so that new results would show
    message = run_out_of_space(used, train_fraction=0.6, model={"arguments": {"alpha": 2.0}})
    assert message.startswith(f"No space left in {used.path / 'data'}")
    assert ("the model" if entry == "model" else f"the entry {entry}") in message
    after = results(used)
    assert after.keys() == before.keys(), "no file is half written or lost"
    unchanged = [name for name in before if name.split("/")[1].split(".")[0] == entry]
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}


def test_the_same_run_succeeds_when_there_is_space_again(used: Project) -> None:
    used.run()
    assert used.gate()["digest"] == digest(used.processed("model"))
    assert not list(used.path.rglob("*.new*"))
    assert not (used.path / "build").exists()


def test_a_run_that_cannot_write_its_claim_is_not_started(used: Project, disk: Disk) -> None:
    before, files = results(used), disk.files()
    disk.fill()
    message = run_out_of_space(used)
    assert message.startswith(f"No space left in {used.path}: a run needs more than the ")
    assert (results(used), disk.files()) == (before, files)


def test_a_full_mlflow_store_before_a_run_is_reported(
    used: Project, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = results(used)
    fill_before(monkeypatch, disk, MlflowTracking, "begin", 0)
    with pytest.raises(Exception, match="No space left in") as refusal:
        used.run()
    assert refusal.value.exit_code == 2
    assert f"No space left in {used.path}: MLflow's record of the run" in str(refusal.value)
    assert "No run was started." in str(refusal.value)
    assert results(used) == before


@pytest.mark.parametrize(("method", "left"), [("set_tags", 0), ("log_folder", 3 * PAGE)])
def test_a_full_mlflow_store_after_a_run_is_reported(
    used: Project, disk: Disk, monkeypatch: pytest.MonkeyPatch, method: str, left: int
) -> None:
    def finish(self: Any, *args: Any) -> None:
        fill_before(monkeypatch, disk, TrackedRun, method, left)
        real_finish(self, *args)

    real_finish = MlflowTracking.finish
    monkeypatch.setattr(MlflowTracking, "finish", finish)
    before = disk.files()
    with pytest.raises(Exception, match="No space left in") as refusal:
        used.run(train_fraction=0.69)  # another model: the one in service would not be stored again
    assert refusal.value.exit_code == 2
    assert f"No space left in {used.path}: MLflow's record of the run" in str(refusal.value)
    assert "Nothing is lost" in str(refusal.value)
    kept = [name for name in disk.files() - before if name.endswith("/MLmodel")]
    assert kept == [], "no partial model is stored"


@pytest.mark.parametrize("seed", range(3))
def test_a_run_on_a_full_disk_reports_it_or_succeeds(used: Project, disk: Disk, seed: int) -> None:
    before = results(used)
    disk.fill(random.Random(seed).randrange(2, 50) * PAGE)  # noqa: S311
    try:
        used.run()
    except Exception as error:  # noqa: BLE001
        assert str(error).startswith("No space left in ")
        assert error.exit_code == 2
    after = results(used)
    assert after.keys() == before.keys()
    for name, content in after.items():
        if name.endswith(".json"):
            json.loads(content)
    load_model(used.processed("model"))
    disk.free()
    used.run()


def test_kedro_prints_only_the_message_in_any_project(used: Project, disk: Disk) -> None:
    disk.fill()
    run = used.kedro("run")
    assert run.returncode == 2
    assert f"Error: No space left in {used.path}" in run.stderr
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize("left", [0, 2 * PAGE, 6 * PAGE])
def test_a_failed_save_leaves_no_partial_model(disk: Disk, left: int) -> None:
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame({"x": range(900)})
    model = LinearRegression().fit(rows, rows["x"])
    dataset = ModelDataset(filepath=str(disk.path / f"model-{left}"))
    disk.fill(left)
    with pytest.raises(Exception, match=f"No space left in {disk.path}: the model needs more"):
        dataset.save(model)
    assert not any(name.startswith(f"model-{left}") for name in disk.files())
    disk.free()
    dataset.save(model)
    dataset.load()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_failed_save_leaves_no_partial_scores(disk: Disk, kind: str) -> None:
    pieces = [pd.DataFrame({"x": [0.1 + n] * 5000}) for n in range(3)]
    dataset = ScoredPieces(filepath=str(disk.path / f"scores.{kind}"))
    dataset.save(pieces[:1])
    disk.fill(2 * PAGE)
    with pytest.raises(Exception, match=f"No space left in {disk.path}: the table of scores"):
        dataset.save([pd.DataFrame({"x": pd.Series(range(50_000)) / 7})])
    assert {name for name in disk.files() if name.startswith("scores")} == {f"scores.{kind}"}
    assert sum(len(table) for table in dataset.load()) == 5000
    disk.free()
    dataset.save(pieces)
    assert sum(len(table) for table in dataset.load()) == 15_000
    (disk.path / f"scores.{kind}").unlink()


@pytest.mark.parametrize("data", [pd.DataFrame({"x": range(9000)}), {"a": "b" * 9000}, {1, 2}])
def test_carried_data_are_not_reported_as_unpicklable(disk: Disk, data: Any) -> None:
    folder = disk.path / type(data).__name__
    dataset = CarriedDataset(path=str(folder))
    folder.mkdir(exist_ok=True)
    disk.fill()
    with pytest.raises(Exception, match=f"No space left in {folder}: ") as refusal:
        dataset.save(data)
    assert "cannot be carried" not in str(refusal.value)
    assert not dataset.exists()
    disk.free()
    dataset.save(data)
    assert dataset.exists()


@pytest.mark.parametrize("left", [0, 2 * PAGE, 20 * PAGE])
def test_a_failed_bundle_leaves_no_partial_files(disk: Disk, tmp_path: Path, left: int) -> None:
    project = project_with_scorer(disk.path / f"bundled-{left}")
    save_small_model(project / "data" / "model")
    before = disk.files()
    disk.fill(left)
    with pytest.raises(Exception, match=f"No space left in {project}"):
        write_bundle("dev", Path("data/model"), root=project)
    left_over = {name for name in disk.files() - before if (disk.path / name).is_file()}
    assert not {name for name in left_over if not name.endswith(".pyc")}
    disk.free()
    assert write_bundle("dev", Path("data/model"), root=project).is_file()


def test_the_runner_of_a_bundle_names_the_file_that_does_not_fit(
    disk: Disk, tmp_path: Path
) -> None:
    archive = make_bundle(save_small_model(tmp_path / "model"), tmp_path / "project")
    bundle = unpack(archive, tmp_path / "unpacked")
    rows, target = tmp_path / "rows.csv", disk.path / "scores.csv"
    measured().to_csv(rows, index=False)
    before = disk.files()
    disk.fill()
    result = run(bundle, str(rows), str(target))
    assert (result.status, result.err) == (2, f"score_file: {target}: No space left on device\n")
    assert disk.files() == before
    disk.free()
    assert run(bundle, str(rows), str(target)).status == 0
    assert target.is_file()


def test_the_bundle_command_exits_with_2(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = project_with_scorer(disk.path / "bundled-by-command")
    save_small_model(project / "data" / "model")
    monkeypatch.chdir(project)
    disk.fill()
    assert main(["bundle", "--env", "dev", "--model", "data/model", "--no-wheels"]) == 2
    assert f"bundle: No space left in {project}" in capsys.readouterr().err
    disk.free()


def test_a_full_log_is_reported_once_and_logging_continues(
    disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("a.log.on.the.small.disk")
    handler = logging.FileHandler(disk.path / "run.log", encoding="utf-8")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        name_full_disks_of_logs()
        disk.fill()
        for _ in range(3):
            logger.warning("x" * 3 * PAGE)
        err = capsys.readouterr().err
        assert err.count(f"No space left in {disk.path}: the log needs more than the") == 1
        assert "Traceback" not in err
        disk.free()
        logger.warning("there is space again")
        assert "there is space again" in (disk.path / "run.log").read_text(encoding="utf-8")
    finally:
        logger.removeHandler(handler)
        handler.close()


def test_a_full_log_does_not_stop_its_step(disk: Disk, tmp_path: Path) -> None:
    messages: list[str] = []
    disk.fill()
    logs = disk.path
    command = f"yes | head -c 99999; touch {tmp_path / 'done'}"
    ended = StepProcess(command, tmp_path, [{"PATH": "/usr/bin:/bin"}], logs, messages.append).run()
    disk.free()
    assert ended.problem is None
    assert (tmp_path / "done").exists()
    assert len([line for line in messages if line.startswith(f"No space left in {logs}")]) == 1
