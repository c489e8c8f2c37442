"""Servers, batch runs and devices record their answers in the form that monitoring reads."""

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml

from kedro_azure_mlops import hooks
from kedro_azure_mlops.config import Mlops, Recording
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.monitor.served import read_served
from kedro_azure_mlops.serve.batches import score_pieces
from kedro_azure_mlops.serve.process import prepare, write_image_context
from tests.plugin.bundled import make_bundle, run, unpack
from tests.plugin.cloud import Command
from tests.plugin.servers import PYTHON, LocalServer, serve
from tests.plugin.trained import (
    LOCK,
    body_of,
    measured,
    project_with_scorer,
    save_small_model,
    small_scorer,
)

needs_servers = pytest.mark.skipif(
    not PYTHON.is_file(), reason="`make test` installs the servers into .venv-serve"
)
SCHEMA = small_scorer().schema


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose scorer serves, as the current folder."""
    folder = project_with_scorer(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def record(project: Path, **settings: Any) -> None:
    """Set keys of the project's ``recording``."""
    file = project / "conf/base/mlops.yml"
    text = yaml.safe_dump({"recording": {"enabled": True, **settings}})
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def answered(folder: Path) -> list[tuple[str, float | None]]:
    rows = read_served(folder, SCHEMA).rows.sort_values(["time", "unit"])
    values = rows["deviation"].astype(object).where(rows["deviation"].notna(), None)
    return list(zip(rows["unit"], values, strict=True))


def expected(body: Any) -> list[tuple[str, float | None]]:
    rows = sorted(body["data"], key=lambda row: (row["time"], row["unit"]))
    return [(row["unit"], row["deviation"]) for row in rows]


@needs_servers
@pytest.mark.parametrize("server", ["azure", "plain"])
def test_a_server_records_its_answers(own_project: Path, model: Path, server: str) -> None:
    plain = ["--plain"] if server == "plain" else []
    table = measured(60).assign(unit=["north", "south"] * 60)
    table["time"] = pd.date_range("2024-01-01", periods=120, freq="min")
    with serve(own_project, "--model", str(model), "--record", *plain) as running:
        assert "recording answers in data/served" in running.log.read_text("utf-8")
        reply = running.ask("POST", "/score", body_of(table), x_request_id="mine-7")
        assert reply.headers["x-request-id"] == "mine-7"
        assert running.ask("POST", "/score", b"{").status == 400
        assert running.ask("POST", "/score", body_of(table.tail(1))).headers["x-request-id"]
        assert running.end() == 0
    recorded = read_served(own_project / "data/served", SCHEMA)
    assert answered(own_project / "data/served") == expected(reply.body)
    assert recorded.rows["request_id"].value_counts()["mine-7"] == 120
    assert (recorded.rows["latency_ms"] > 0).all()
    assert set(recorded.rows["model_digest"]) == {reply.body["model"]["digest"]}
    # converted by the project's Python, which has pyarrow; the server's Python may lack it
    assert {file.suffix for file in (own_project / "data/served").glob("*/*")} == {".parquet"}


@needs_servers
def test_a_server_records_nothing_by_default(own_project: Path, model: Path) -> None:
    folder = str(own_project / "elsewhere")
    with serve(own_project, "--model", str(model), "--plain", RECORD_FOLDER=folder) as running:
        assert running.ask("POST", "/score", body_of(measured(40))).status == 200
    assert not (own_project / "data/served").exists()
    assert not (own_project / "elsewhere").exists()


@needs_servers
def test_answers_of_a_killed_server_are_read_and_the_next_server_converts_them(
    own_project: Path, model: Path
) -> None:
    record(own_project, folder="kept")
    rows = measured(40).query("unit == 'north'")
    with serve(own_project, "--model", str(model), "--plain") as running:
        reply = running.ask("POST", "/score", body_of(rows))
        while not _counts(running).get("score_rows_recorded_total"):
            running.ask("POST", "/score", b"{")
        (lines,) = (own_project / "kept").glob("*/*.jsonl")
        _kill_servers(running.process.pid)
        running.process.wait(60)
    assert answered(own_project / "kept") == expected(reply.body)
    with serve(own_project, "--model", str(model), "--plain"):
        pass
    assert not lines.exists()
    assert lines.with_suffix(".parquet").exists()
    assert answered(own_project / "kept") == expected(reply.body)


def _counts(running: LocalServer) -> dict[str, float]:
    lines = running.ask("GET", "/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _kill_servers(parent: int) -> None:
    """Kill the server that a command has started, and its workers."""
    started = psutil.Process(parent).children(recursive=True)
    for process in started:
        process.kill()
    psutil.wait_procs(started, timeout=60)


def test_invalid_settings_are_reported_before_a_server_starts(
    own_project: Path, model: Path, mlops: Command
) -> None:
    record(own_project, leave_out=["name"])
    result = mlops("serve", "--prepare", "--model", str(model))
    assert result.status == 2
    assert "recording in mlops.yml: leave_out names name, which is not a column" in result.err
    corrected = (own_project / "conf/base/mlops.yml").read_text("utf-8").replace("- name", "- unit")
    (own_project / "conf/base/mlops.yml").write_text(corrected, encoding="utf-8")
    assert mlops("serve", "--prepare", "--model", str(model)).status == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("share", 0), ("share", 2), ("max_megabytes", 0), ("keep_days", -1), ("leave_out", "unit")],
)
def test_wrong_values_are_refused(own_project: Path, model: Path, key: str, value: Any) -> None:
    record(own_project, **{key: value})
    with pytest.raises(OperationError, match=rf"base/mlops\.yml: recording\.{key}"):
        prepare("local", model, own_project)


@pytest.mark.parametrize("is_locked", [True, False])
def test_an_image_gets_pyarrow_if_it_records_and_the_lock_has_it(
    own_project: Path, model: Path, is_locked: bool
) -> None:
    pin = "pyarrow==25.0.1 \\\n    --hash=sha256:" + "0" * 64 + "\n"
    (own_project / "requirements/serve.txt").write_text(LOCK + pin * is_locked, encoding="utf-8")
    for records in (False, True):
        write_image_context(prepare("local", model, own_project, record=records), own_project)
        text = (own_project / "build/serve/requirements.txt").read_text("utf-8")
        assert ("pyarrow" in text) == (is_locked and records)


@pytest.fixture
def _recording(own_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the state after the start of a run in a project that records."""
    small_scorer()
    settings = Mlops(recording=Recording(enabled=True))
    monkeypatch.setattr(hooks.hooks, "configuration", settings)
    yield


PIECES = [measured(40).iloc[:50], measured(40).iloc[50:]]


@pytest.mark.usefixtures("_recording")
def test_a_batch_run_records_its_scores(own_project: Path) -> None:
    scored = pd.concat(score_pieces(PIECES, small_scorer(), "3", digest="d" * 64))
    recorded = read_served(own_project / "data/served", SCHEMA).rows
    scores = scored.sort_values(["time", "unit"])
    rows = recorded.sort_values(["time", "unit"])
    assert rows["deviation"].tolist() == scores["deviation"].tolist()
    assert rows["load"].tolist() == scores["load"].tolist()
    assert rows["is_far"].astype(int).tolist() == scores["is_far"].tolist()
    assert set(recorded["model_digest"]) == {"d" * 64}
    assert recorded["latency_ms"].isna().all()
    assert [file.suffix for file in (own_project / "data/served").glob("*/*")] == [".parquet"]


@pytest.mark.usefixtures("_recording")
@pytest.mark.parametrize("ends", ["refused", "abandoned"])
def test_a_failed_batch_run_leaves_no_records(own_project: Path, ends: str) -> None:
    pieces = score_pieces([PIECES[0], PIECES[1].assign(load="x")], small_scorer(), "3")
    next(pieces)
    if ends == "refused":
        with pytest.raises(RefusedError):
            next(pieces)
    else:
        assert isinstance(pieces, Generator)
        pieces.close()
    assert list((own_project / "data/served").glob("*/*")) == []


@pytest.mark.usefixtures("_recording")
def test_a_step_of_a_job_records_nothing(
    own_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIND__new_scores", "outputs/new_scores")
    assert len(pd.concat(score_pieces(PIECES, small_scorer(), "3"))) == 80
    assert not (own_project / "data/served").exists()


def test_a_batch_run_records_nothing_by_default(own_project: Path) -> None:
    small_scorer()
    assert len(pd.concat(score_pieces(PIECES, small_scorer(), "3"))) == 80
    assert not (own_project / "data/served").exists()


def test_answers_recorded_by_a_device_can_be_read(
    own_project: Path, model: Path, tmp_path: Path
) -> None:
    bundle = unpack(make_bundle(model, own_project), tmp_path / "device")
    table, rows = measured(40), tmp_path / "rows.csv"
    table.to_csv(rows, index=False)
    scores, folder = tmp_path / "scores.csv", tmp_path / "kept"

    assert run(bundle, "--record", str(folder), str(rows), str(scores)).status == 0
    written = pd.read_csv(scores).sort_values(["time", "unit"])
    recorded = read_served(folder, SCHEMA).rows
    ordered = recorded.sort_values(["time", "unit"])
    assert ordered["deviation"].tolist() == written["deviation"].tolist()
    assert ordered["is_far"].astype(int).tolist() == written["is_far"].tolist()
    assert set(recorded["model_digest"]) == {digest(model)}

    answer = run(bundle, "--record", str(tmp_path / "asked"), stdin=body_of(table.tail(2)))
    assert answer.status == 0
    assert answered(tmp_path / "asked") == expected(json.loads(answer.out))

    wrong = tmp_path / "wrong.csv"
    wrong.write_text("time,unit,load\n2024-01-01,north,x\n", encoding="utf-8")
    assert run(bundle, "--record", str(tmp_path / "no"), str(wrong), str(scores)).status == 1
    assert read_served(tmp_path / "no", SCHEMA).rows.empty
    nowhere = run(bundle, "--record", str(rows / "there"), str(rows), str(scores))
    assert (nowhere.status, "cannot be written" in nowhere.err) == (2, True)
