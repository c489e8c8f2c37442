"""``register --job`` registers the model of an Azure ML job once, with its gate's verdict."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.registry import Registry, open_registry
from tests.plugin.helpers import outputs_reader
from tests.plugin.registered import set_keys
from tests.plugin.sender import Sender, sender_in

REGISTER = ("register", "--env", "dev", "--job")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Sender]:
    """A sender whose job has run without registering its model; nothing was run locally."""
    with sender_in(tmp_path_factory.mktemp("done"), database) as cloud:
        # the job's own server, which vanishes with it; without one its gate refuses every model
        set_keys(cloud.project, "dev", tracking={"enabled": True})
        status, _, err = cloud.mlops("submit", "--env", "dev", "--wait")
        assert status == 0, err
        yield cloud


@pytest.fixture
def job(cloud: Sender) -> str:
    """The name of the job that was run."""
    return next(iter(cloud.resources("jobs")))


@pytest.fixture
def registry(cloud: Sender, database: Path, tmp_path: Path) -> Registry:
    """An empty registry."""
    shutil.copy(database, tmp_path / "other.db")
    uri = f"sqlite:///{(tmp_path / 'other.db').as_posix()}"
    set_keys(cloud.project, "dev", registry={"uri": uri})
    return open_registry("dev", cloud.project.path)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], dict[str, str]]:
    """Return the values reported since the last call; the last value of a name counts."""
    return outputs_reader(monkeypatch, tmp_path / "outputs")


@contextmanager
def changed(cloud: Sender, name: str, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """Change an output of the job within the context."""
    before = {k: v for k, v in cloud.azure.blobs.items() if k.endswith(f"/{name}")}
    assert before
    cloud.azure.blobs.update({key: change(content) for key, content in before.items()})
    try:
        yield
    finally:
        cloud.azure.blobs.update(before)


def with_refusal(content: bytes) -> bytes:
    gate = json.loads(content)
    rules = [{"rule": "x", "passed": False, "reason": "too odd"}, *gate["rules"][1:]]
    return json.dumps(gate | {"passed": False, "rules": rules}).encode()


def test_the_model_of_a_job_is_registered_once(
    cloud: Sender,
    job: str,
    registry: Registry,
    reported: Callable[[], dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    status, out, err = cloud.mlops(*REGISTER, job)
    assert status == 0, err
    assert "the gate of the job decided:\n  ok  " in out
    champion = registry.champion()
    assert champion
    assert champion.tags["gate"] == "passed"
    assert {"metrics.r2", "metrics.rmse", "parameters"} < set(champion.tags)
    weights = next(v for k, v in cloud.azure.blobs.items() if k.endswith("/model.skops"))
    folder = registry.fetch(champion, tmp_path / "fetched")
    assert (folder / "model.skops").read_bytes() == weights
    facts = {"version": "1", "digest": champion.digest, "is_champion": "true"}
    assert reported() == facts
    assert not cloud.project.processed("model").exists()
    assert list((tmp_path / "temporary").iterdir()) == []
    status, out, _ = cloud.mlops(*REGISTER, job)
    assert (status, reported()) == (0, facts)
    assert "is already registered" in out
    assert [version.number for version in registry.versions()] == ["1"]


def test_a_refused_model_is_registered_but_does_not_become_champion(
    cloud: Sender, job: str, registry: Registry, reported: Callable[[], dict[str, str]]
) -> None:
    with changed(cloud, "gate.json", with_refusal):
        status, out, err = cloud.mlops(*REGISTER, job)
    assert status == 1
    assert "\n  NO  too odd" in out
    assert "the gate has refused it: too odd" in err
    (version,) = registry.versions()
    assert version.tags["gate"] == "refused"
    assert registry.champion() is None
    assert reported() == {"version": "1", "digest": version.digest, "is_champion": "false"}


def test_a_model_other_than_the_judged_one_is_not_registered(
    cloud: Sender, job: str, registry: Registry, reported: Callable[[], dict[str, str]]
) -> None:
    with changed(cloud, "contract.json", lambda content: content + b" "):
        status, _, err = cloud.mlops(*REGISTER, job)
    assert status == 1
    assert "is not the one that the gate has judged" in err
    assert "contract.json was changed" in err
    assert registry.versions() == []
    assert reported() == {}


def test_a_job_without_a_deciding_node_only_registers_its_measured_model(
    cloud: Sender, job: str, registry: Registry
) -> None:
    set_keys(cloud.project, "dev", gate={"decision": None})
    try:
        with changed(cloud, "model.skops", lambda content: content[:-1] + b"x"):
            status, _, err = cloud.mlops(*REGISTER, job)
        assert status == 2
        assert "model.skops was changed" in err
        assert registry.versions() == []
        status, _, err = cloud.mlops(*REGISTER, job)
    finally:
        set_keys(cloud.project, "dev", gate={"decision": "gate"})
    assert status == 0, err
    champion = registry.champion()
    assert champion
    assert champion.tags["gate.digest"] == champion.digest


def test_without_configured_metrics_outputs_that_may_hold_some_are_fetched(
    cloud: Sender, job: str, registry: Registry
) -> None:
    set_keys(cloud.project, "dev", tracking={"metrics": None})
    try:
        status, out, err = cloud.mlops(*REGISTER, job)
    finally:
        set_keys(cloud.project, "dev", tracking={"metrics": ["metrics"]})
    assert status == 0, err
    assert f"fetching gate, metrics, model of job {job}" in out
    champion = registry.champion()
    assert champion
    assert "metrics.r2" in champion.tags


def test_a_missing_output_is_reported_with_where_to_list_it(
    cloud: Sender, job: str, registry: Registry
) -> None:
    outputs: dict[str, Any] = cloud.resources("jobs")[job]["jobs"]["pipeline"]["outputs"]
    removed = outputs.pop("gate")
    try:
        status, _, err = cloud.mlops(*REGISTER, job)
    finally:
        outputs["gate"] = removed
    assert status == 2
    assert f"The job {job} has no output gate: list it under outputs in azureml.yml" in err
    assert registry.versions() == []


def test_a_running_or_cancelled_job_has_no_model(cloud: Sender, registry: Registry) -> None:
    with cloud.azure.hold():
        cloud.mlops("submit", "--env", "dev")
        job = cloud.job()
        status, _, err = cloud.mlops(*REGISTER, job)
        assert status == 2
        assert f"The job {job} is Running.\n  next: Wait for it: " in err
        assert cloud.mlops("cancel", "--env", "dev", "--job", job)[0] == 0
    status, _, err = cloud.mlops(*REGISTER, job)
    assert status == 2
    assert f"The job {job} is Canceled: there is no model to register" in err
    assert registry.versions() == []


def test_a_job_of_another_environment_or_of_none_is_refused(
    cloud: Sender, job: str, registry: Registry
) -> None:
    tags = cloud.resources("jobs")[job]["tags"]
    tags["env"] = "stage"
    try:
        status, _, err = cloud.mlops(*REGISTER, job)
    finally:
        tags["env"] = "dev"
    assert status == 2
    assert f"The job {job} was submitted with --env stage: use that environment" in err
    status, _, err = cloud.mlops(*REGISTER, "gone")
    assert status == 2
    assert "looking for the job gone" in err
    status, _, err = cloud.mlops("register", "--job", job)
    assert status == 2
    assert "needs the environment of its workspace: --env dev" in err
    assert registry.versions() == []
