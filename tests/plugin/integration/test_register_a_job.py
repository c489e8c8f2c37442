"""``register --job``: the model of a job on Azure ML, with what its gate has said, once."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.registry import Registry, open_registry
from tests.plugin.helpers import reported_by
from tests.plugin.registered import set_keys
from tests.plugin.sender import Sender, sender_in

REGISTER = ("register", "--env", "dev", "--job")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Sender]:
    """A job that was run and has registered nothing; nothing was run here."""
    with sender_in(tmp_path_factory.mktemp("done"), database) as cloud:
        # the job's own server, which vanishes with it: without one its gate passes nothing
        set_keys(cloud.project, "dev", tracking={"enabled": True})
        status, _, err = cloud.mlops("submit", "--env", "dev", "--wait")
        assert status == 0, err
        yield cloud


@pytest.fixture
def job(done: Sender) -> str:
    """The name of the job that was run."""
    return next(iter(done.found("jobs")))


@pytest.fixture
def registry(done: Sender, database: Path, tmp_path: Path) -> Registry:
    """An empty registry."""
    shutil.copy(database, tmp_path / "other.db")
    uri = f"sqlite:///{(tmp_path / 'other.db').as_posix()}"
    set_keys(done.project, "dev", registry={"uri": uri})
    return open_registry("dev", done.project.path)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], dict[str, str]]:
    """Return the values reported since the last look; of two the last one counts."""
    return reported_by(monkeypatch, tmp_path / "outputs")


@contextmanager
def changed(done: Sender, name: str, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """Change what the job has made, as long as this lasts."""
    before = {k: v for k, v in done.azure.blobs.items() if k.endswith(f"/{name}")}
    assert before
    done.azure.blobs.update({key: change(content) for key, content in before.items()})
    try:
        yield
    finally:
        done.azure.blobs.update(before)


def refused(content: bytes) -> bytes:
    gate = json.loads(content)
    rules = [{"rule": "x", "passed": False, "reason": "too odd"}, *gate["rules"][1:]]
    return json.dumps(gate | {"passed": False, "rules": rules}).encode()


def test_the_model_of_a_job_is_registered_once(
    done: Sender,
    job: str,
    registry: Registry,
    reported: Callable[[], dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    status, out, err = done.mlops(*REGISTER, job)
    assert status == 0, err
    assert "the gate of the job decided:\n  ok  " in out
    champion = registry.champion()
    assert champion
    assert champion.tags["gate"] == "passed"
    assert {"metrics.r2", "metrics.rmse", "parameters"} < set(champion.tags)
    made = next(v for k, v in done.azure.blobs.items() if k.endswith("/model.skops"))
    folder = registry.fetch(champion, tmp_path / "fetched")
    assert (folder / "model.skops").read_bytes() == made
    facts = {"version": "1", "digest": champion.digest, "is_champion": "true"}
    assert reported() == facts
    assert not done.project.processed("model").exists()
    assert list((tmp_path / "temporary").iterdir()) == []
    status, out, _ = done.mlops(*REGISTER, job)
    assert (status, reported()) == (0, facts)
    assert "is already registered" in out
    assert [version.number for version in registry.versions()] == ["1"]


def test_a_model_that_its_gate_refused_is_registered_and_no_champion(
    done: Sender, job: str, registry: Registry, reported: Callable[[], dict[str, str]]
) -> None:
    with changed(done, "gate.json", refused):
        status, out, err = done.mlops(*REGISTER, job)
    assert status == 1
    assert "\n  NO  too odd" in out
    assert "the gate has refused it: too odd" in err
    (version,) = registry.versions()
    assert version.tags["gate"] == "refused"
    assert registry.champion() is None
    assert reported() == {"version": "1", "digest": version.digest, "is_champion": "false"}


def test_another_model_than_the_judged_one_is_not_registered(
    done: Sender, job: str, registry: Registry, reported: Callable[[], dict[str, str]]
) -> None:
    with changed(done, "contract.json", lambda content: content + b" "):
        status, _, err = done.mlops(*REGISTER, job)
    assert status == 1
    assert "is not the one that the gate has judged" in err
    assert "contract.json was changed" in err
    assert registry.versions() == []
    assert reported() == {}


def test_a_job_without_a_node_that_decides_has_measured_the_model_that_it_made(
    done: Sender, job: str, registry: Registry
) -> None:
    set_keys(done.project, "dev", gate={"decision": None})
    try:
        with changed(done, "model.skops", lambda content: content[:-1] + b"x"):
            status, _, err = done.mlops(*REGISTER, job)
        assert status == 2
        assert "model.skops was changed" in err
        assert registry.versions() == []
        status, _, err = done.mlops(*REGISTER, job)
    finally:
        set_keys(done.project, "dev", gate={"decision": "gate"})
    assert status == 0, err
    champion = registry.champion()
    assert champion
    assert champion.tags["gate.digest"] == champion.digest


def test_where_no_metrics_are_named_the_outputs_that_may_hold_some_are_fetched(
    done: Sender, job: str, registry: Registry
) -> None:
    set_keys(done.project, "dev", tracking={"metrics": None})
    try:
        status, out, err = done.mlops(*REGISTER, job)
    finally:
        set_keys(done.project, "dev", tracking={"metrics": ["metrics"]})
    assert status == 0, err
    assert f"fetching gate, metrics, model of job {job}" in out
    champion = registry.champion()
    assert champion
    assert "metrics.r2" in champion.tags


def test_a_job_without_such_an_output_says_where_to_list_it(
    done: Sender, job: str, registry: Registry
) -> None:
    outputs: dict[str, Any] = done.found("jobs")[job]["jobs"]["pipeline"]["outputs"]
    taken = outputs.pop("gate")
    try:
        status, _, err = done.mlops(*REGISTER, job)
    finally:
        outputs["gate"] = taken
    assert status == 2
    assert f"The job {job} has no output gate: list it under outputs in azureml.yml" in err
    assert registry.versions() == []


def test_a_job_that_has_not_ended_well_has_no_model(done: Sender, registry: Registry) -> None:
    with done.azure.hold():
        done.mlops("submit", "--env", "dev")
        job = done.job()
        status, _, err = done.mlops(*REGISTER, job)
        assert status == 2
        assert f"The job {job} is Running.\n  next: Wait for it: " in err
        assert done.mlops("cancel", "--env", "dev", "--job", job)[0] == 0
    status, _, err = done.mlops(*REGISTER, job)
    assert status == 2
    assert f"The job {job} is Canceled: there is no model to register" in err
    assert registry.versions() == []


def test_a_job_of_another_environment_or_of_none_is_refused(
    done: Sender, job: str, registry: Registry
) -> None:
    tags = done.found("jobs")[job]["tags"]
    tags["env"] = "stage"
    try:
        status, _, err = done.mlops(*REGISTER, job)
    finally:
        tags["env"] = "dev"
    assert status == 2
    assert f"The job {job} was sent with --env stage: use that" in err
    status, _, err = done.mlops(*REGISTER, "gone")
    assert status == 2
    assert "looking for the job gone" in err
    status, _, err = done.mlops("register", "--job", job)
    assert status == 2
    assert "needs the environment of its workspace: --env dev" in err
    assert registry.versions() == []
