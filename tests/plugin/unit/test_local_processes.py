"""Processes of steps: environment, ranks, logs, tracking and termination."""

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.local.job_file import Job
from kedro_azure_mlops.local.process import variables_of_ranks
from tests.plugin.tiny_job import FOLDER, TinyJob, two_step_job

LEAKS = {
    "PYTHONPATH": "leaks",
    "KEDRO_ENV": "leaks",
    "MLFLOW_RUN_ID": "leaks",
    "MLFLOW_EXPERIMENT_NAME": "leaks",
    "AZUREML_RUN_ID": "leaks",
    "BIND__x": "leaks",
    "RANK": "leaks",
    "MY_OWN": "leaks",
}
PASSES = {
    "HOME": "passes",
    "USER": "passes",
    "LANG": "C.UTF-8",
    "LC_NUMERIC": "C.UTF-8",
    "TMPDIR": "passes",
    "HTTPS_PROXY": "passes",
    "no_proxy": "passes",
    "SSL_CERT_FILE": "passes",
    "REQUESTS_CA_BUNDLE": "passes",
    "MLFLOW_TRACKING_URI": "passes",
    "MLFLOW_TRACKING_TOKEN": "passes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "AZURE_CLIENT_ID": "passes",
    "DATABRICKS_HOST": "passes",
}


@pytest.fixture
def job(tmp_path: Path) -> TinyJob:
    return TinyJob(tmp_path)


def variables(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in lines if equals}


def test_a_step_gets_only_the_variables_that_it_would_get_in_the_cloud(
    job: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (LEAKS | PASSES).items():
        monkeypatch.setenv(name, value)
    job.step("a", "env", environment_variables={"OWN": 1, "HOME": "own"})
    job.run()
    seen = variables(job.log("a"))
    assert {name: seen.get(name) for name in PASSES} == PASSES | {"HOME": "own"}
    assert seen["OWN"] == "1"
    assert seen["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert not set(LEAKS) & set(seen)


def test_a_step_reads_nothing_from_the_terminal(job: TinyJob) -> None:
    job.step("a", "cat; echo end")
    assert job.run().succeeded
    assert job.log("a").splitlines()[1:] == ["end"]


def test_pytorch_gets_the_variables_of_torchrun() -> None:
    ranks = variables_of_ranks({"type": "pytorch", "process_count_per_instance": 2}, 2)
    assert [
        (rank["RANK"], rank["LOCAL_RANK"], rank["NODE_RANK"], rank["WORLD_SIZE"]) for rank in ranks
    ] == [("0", "0", "0", "4"), ("1", "1", "0", "4"), ("2", "0", "1", "4"), ("3", "1", "1", "4")]
    assert {rank["MASTER_ADDR"] for rank in ranks} == {"127.0.0.1"}
    assert len({rank["MASTER_PORT"] for rank in ranks}) == 1


def test_mpi_gets_the_variables_of_mpirun() -> None:
    ranks = variables_of_ranks({"type": "mpi", "process_count_per_instance": 2}, 2)
    prefix = "OMPI_COMM_WORLD_"
    assert [
        tuple(rank[prefix + name] for name in ("RANK", "LOCAL_RANK", "LOCAL_SIZE", "SIZE"))
        for rank in ranks
    ] == [("0", "0", "2", "4"), ("1", "1", "2", "4"), ("2", "0", "2", "4"), ("3", "1", "2", "4")]


def test_tensorflow_gets_its_cluster_and_task() -> None:
    ranks = variables_of_ranks(
        {"type": "tensorflow", "worker_count": 2, "parameter_server_count": 1}, 3
    )
    configs = [json.loads(rank["TF_CONFIG"]) for rank in ranks]
    assert [config["task"] for config in configs] == [
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
        {"type": "ps", "index": 0},
    ]
    (cluster,) = {json.dumps(config["cluster"], sort_keys=True) for config in configs}
    addresses = [address for members in json.loads(cluster).values() for address in members]
    assert len(set(addresses)) == 3


@pytest.mark.parametrize(
    ("distribution", "instances", "count"),
    [
        ({}, 1, 1),
        ({}, 2, 1),
        ({"type": "pytorch"}, 2, 2),
        ({"type": "mpi"}, 3, 3),
        ({"type": "tensorflow"}, 2, 2),
        ({"type": "TensorFlow", "worker_count": 2}, 1, 2),
    ],
)
def test_the_number_of_processes_is_that_of_azure(
    distribution: dict, instances: int, count: int
) -> None:
    assert len(variables_of_ranks(distribution, instances)) == count


def test_every_rank_runs_and_has_a_log(job: TinyJob) -> None:
    job.step(
        "a",
        "echo rank $RANK of $WORLD_SIZE",
        distribution={"type": "pytorch", "process_count_per_instance": 2},
        resources={"instance_count": 2},
    )
    assert job.run().succeeded
    names = ["log.txt", "log.rank1.txt", "log.rank2.txt", "log.rank3.txt"]
    assert [job.log("a", name).splitlines()[1] for name in names] == [
        f"rank {rank} of 4" for rank in range(4)
    ]
    assert "a | rank 0 of 4" in job.lines
    assert "rank 1 of 4" not in job.printed()


def test_a_failed_rank_stops_the_others_and_fails_the_step(job: TinyJob) -> None:
    job.step(
        "a",
        'if [ "$RANK" = 1 ]; then echo no luck; exit 4; fi; sleep 600',
        distribution={"type": "pytorch", "process_count_per_instance": 3},
    )
    assert not job.run().succeeded
    assert "its command of rank 1 ended with exit status 4" in job.printed()
    assert "a ! no luck" in job.lines
    assert "log.rank1.txt" in job.printed()


def test_background_processes_end_with_their_step(job: TinyJob) -> None:
    pipe, reader = _make_pipe(job.folder)
    job.step("a", f"sleep 600 > {pipe} & echo done")
    assert job.run().succeeded
    assert _has_no_writer(reader)


def test_background_processes_may_remove_files_of_the_step(job: TinyJob) -> None:
    """Spark's Java process does so after its driver has ended."""
    job.step(
        "a",
        "mkfifo is_there; touch file; "
        "(trap 'rm file; exit' TERM; echo > is_there; sleep 600 & wait) & read -r _ < is_there",
    )
    assert job.run().succeeded
    assert not (job.work / "a/code/file").exists()


def test_background_processes_that_ignore_sigterm_are_killed(
    job: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_azure_mlops.local.process._GRACE", 0.1)
    pipe, reader = _make_pipe(job.folder)
    job.step("a", f"(trap '' TERM; sleep 600 3> {pipe}) & true")
    assert job.run().succeeded
    assert _has_no_writer(reader)


def test_an_interrupted_job_stops_its_processes_and_discards_their_outputs(
    job: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    pipe, reader = _make_pipe(job.folder)
    half = "echo half > ${{outputs.x}}/x; (sleep 600 > {pipe}) & echo ready; wait"
    job.step("a", half.replace("{pipe}", str(pipe)), {"x": FOLDER})
    job.step("deaf", f"trap '' TERM; exec > {pipe}; sleep 600 & wait; sleep 600")
    job.step("b", "cat ${{inputs.x}}/x", inputs={"x": "${{parent.jobs.a.outputs.x}}"})
    monkeypatch.setattr("kedro_azure_mlops.local.process._GRACE", 0.2)
    # nohup, for example, ignores SIGINT
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)

    def say(line: str) -> None:
        job.lines.append(line)
        if line == "a | ready":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            job.run(say=say)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert _has_no_writer(reader)
    assert not any("failed" in line for line in job.lines)
    with pytest.raises(OperationError, match="a has not run here"):
        job.run(only="b")
    job.steps = {"a": job.steps["a"] | {"command": "ls -A ${{outputs.x}}"}, "b": job.steps["b"]}
    job.run()
    assert job.log("a").splitlines()[1:] == []


def _make_pipe(folder: Path) -> tuple[Path, int]:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    return pipe, os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)


def _has_no_writer(reader: int) -> bool:
    """Return whether no process has the pipe open for writing: it is then at its end."""
    try:
        return os.read(reader, 1) == b""
    except BlockingIOError:
        return False
    finally:
        os.close(reader)


class Spy:
    """A tracking store that records its calls and has a champion."""

    def __init__(self, champion: str | None = None) -> None:
        self.current = champion
        self.calls: list[tuple[str, ...]] = []
        self.tags: dict[str, str] = {}

    def begin(self, job: Job, tags: Mapping[str, str]) -> None:
        self.calls.append(("begin", job.name, job.experiment))
        self.tags = dict(tags)

    def start(self, step: str) -> dict[str, str]:
        self.calls.append(("start", step))
        return {"MLFLOW_RUN_ID": f"run of {step}"}

    def end(self, step: str, status: str) -> None:
        self.calls.append(("end", step, status))

    def close(self, status: str) -> None:
        self.calls.append(("close", status))

    def champion(self, model: str) -> str | None:
        assert model == "the model"
        return self.current


def test_each_step_has_its_own_run(tmp_path: Path) -> None:
    job, spy = two_step_job(tmp_path), Spy()
    job.steps["first"]["command"] += "; echo $MLFLOW_RUN_ID"
    job.run(tracking=spy, parameters={"letter": "y"})
    assert spy.calls == [
        ("begin", "tiny", "tiny-dev"),
        ("start", "first"),
        ("end", "first", "FINISHED"),
        ("start", "second"),
        ("end", "second", "FINISHED"),
        ("close", "FINISHED"),
    ]
    assert "first | run of first" in job.lines
    assert spy.tags["params"] == "letter=y"
    assert len(spy.tags["data.raw"]) == 64


def test_a_reused_step_gets_no_run(tmp_path: Path) -> None:
    job, spy = two_step_job(tmp_path), Spy()
    job.run()
    job.run(tracking=spy)
    assert spy.calls == [("begin", "tiny", "tiny-dev"), ("close", "FINISHED")]


def test_the_run_of_a_failed_step_is_marked_as_failed(tmp_path: Path) -> None:
    job, spy = two_step_job(tmp_path), Spy()
    job.steps["first"]["command"] = "exit 1"
    job.run(tracking=spy)
    assert spy.calls[2:] == [("end", "first", "FAILED"), ("close", "FAILED")]


def test_a_store_that_cannot_be_reached_stops_the_job(tmp_path: Path) -> None:
    class Unreachable(Spy):
        def start(self, step: str) -> dict[str, str]:
            raise OperationError("the store is unreachable")

    job = two_step_job(tmp_path)
    with pytest.raises(OperationError, match="the store is unreachable"):
        job.run(tracking=Unreachable())
    assert not (job.work / "first/log.txt").exists()
