import json

import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.ranks import rank

WORKERS = {"worker": ["a:1", "b:1"], "ps": ["c:1"]}
WITH_CHIEF = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


def tf_config(cluster: dict[str, list[str]], kind: str, index: int) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


def test_a_single_process_has_rank_0() -> None:
    assert rank() == 0


@pytest.mark.parametrize("name", ["RANK", "OMPI_COMM_WORLD_RANK"])
@pytest.mark.parametrize(("text", "number"), [("0", 0), ("3", 3), ("", 0)])
def test_the_rank_is_read_from_the_launchers_variables(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, number: int
) -> None:
    monkeypatch.setenv(name, text)
    assert rank() == 0, "without the number of processes, the variable may have another meaning"
    monkeypatch.setenv(name.replace("RANK", "SIZE") if "OMPI" in name else "WORLD_SIZE", "4")
    assert rank() == number


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "number"),
    [
        (WORKERS, "worker", 0, 0),
        (WORKERS, "worker", 1, 1),
        (WORKERS, "ps", 0, 2),
        (WITH_CHIEF, "chief", 0, 0),
        (WITH_CHIEF, "worker", 0, 1),
        (WITH_CHIEF, "worker", 1, 2),
        (WITH_CHIEF, "evaluator", 0, 3),
    ],
)
def test_the_chief_or_worker_0_of_a_tensorflow_cluster_has_rank_0(
    monkeypatch: pytest.MonkeyPatch,
    cluster: dict[str, list[str]],
    kind: str,
    index: int,
    number: int,
) -> None:
    monkeypatch.setenv("TF_CONFIG", tf_config(cluster, kind, index))
    assert rank() == number


def test_a_tensorflow_process_without_a_task_has_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert rank() == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RANK", "first"),
        ("RANK", "-1"),
        ("TF_CONFIG", "{"),
        ("TF_CONFIG", "[]"),
        ("TF_CONFIG", '{"task": {"type": "worker"}}'),
    ],
)
def test_an_invalid_variable_is_rejected(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, text)
    with pytest.raises(OperationError, match=name):
        rank()
