"""A job that ran on Azure ML is reproduced locally from its commit, data and parameters."""

import gzip
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.azure import fetch
from kedro_azure_mlops.azure.workspace import workspace
from kedro_azure_mlops.reproduce.plan import Command
from tests.plugin.history import IGNORED, git
from tests.plugin.sender import Sender, sender_in

PARAMETERS = "model.arguments.alpha=2.5,train_fraction=0.5"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, database: object) -> Iterator[Sender]:
    """A committed project whose job ran in the cloud, and which has changed since."""
    with sender_in(tmp_path_factory.mktemp("sent"), database) as cloud:
        root = cloud.project.path
        (root / ".gitignore").write_text(IGNORED, encoding="utf-8")
        git(root, "init", "-q")
        git(root, "add", ".")
        git(root, "commit", "-q", "-m", "first")
        status, _, err = cloud.mlops("submit", "--env", "dev", "--wait", "--params", PARAMETERS)
        assert status == 0, err
        for nodes in root.glob("src/*/nodes.py"):
            nodes.write_text('raise RuntimeError("not the code of that job")\n', encoding="utf-8")
        git(root, "commit", "-q", "-a", "-m", "second")
        yield cloud


def test_the_same_scores_are_made_and_the_checkout_is_unchanged(sent: Sender) -> None:
    state = git(sent.project.path, "status", "--porcelain")
    status, out, err = sent.mlops("reproduce", "--env", "dev", "--job", sent.job(), "--go")
    assert status == 0, out + err
    assert "reproduce: the same scores as run" in out
    assert git(sent.project.path, "status", "--porcelain") == state


def test_data_that_changed_locally_comes_from_the_workspace(sent: Sender) -> None:
    raw = sent.project.path / "data/raw/hours.csv"
    original = raw.read_bytes()
    raw.write_bytes(original[: len(original) // 2])
    try:
        status, out, _ = sent.mlops("reproduce", "--env", "dev", "--job", sent.job())
    finally:
        raw.write_bytes(original)
    assert status == 0
    assert "-m kedro_azure_mlops.azure.fetch --env dev" in out
    assert "hours.csv" in out


@pytest.fixture
def submitted(sent: Sender) -> Iterator[dict[str, Any]]:
    """The properties of that job, as if it had been submitted with another input."""
    job = sent.resources("jobs")[sent.job()]
    before = {key: deepcopy(job[key]) for key in ("tags", "inputs")}
    kept = {k: v for k, v in before["tags"].items() if not k.startswith("data.")}
    job["tags"] = kept
    yield job
    job |= before


def _plan(sent: Sender, *arguments: str) -> tuple[int, str, str]:
    status, out, err = sent.mlops("reproduce", "--env", "dev", "--job", sent.job(), *arguments)
    return status, out, " ".join(err.split())


def _target(sent: Sender, name: str) -> str:
    return f"build/reproduce/{sent.job()}.data/raw_hours/{name}"


@pytest.mark.parametrize(
    "address", ["https://host/c/may.csv", "abfs://c@host/may.csv", "wasbs://c@host/may.csv"]
)
def test_the_address_that_the_job_has_read_is_read_and_not_the_catalog(
    sent: Sender, submitted: dict[str, Any], address: str, tmp_path: Path
) -> None:
    submitted["tags"]["data.raw_hours"] = address
    status, out, warning = _plan(sent)
    assert status == 0
    assert f"BIND__raw_hours={address} " in out
    assert f"raw_hours is read again from {address}, without checking" in warning
    copy = tmp_path / "may.csv"
    copy.write_bytes((sent.project.path / "data/raw/hours.csv").read_bytes())
    status, out, warning = _plan(sent, "--data", str(copy))
    assert status == 0
    assert f"BIND__raw_hours={copy} " in out
    assert f"raw_hours is {copy}, without checking it" in warning
    status, _, error = _plan(sent, "--data", str(sent.project.path / "data/raw/hours.csv"))
    assert status == 2
    assert f"is not among the data of the run: raw_hours was {address}" in error


@pytest.mark.parametrize("scheme", ["azureml:", ""], ids=["now", "earlier versions"])
@pytest.mark.parametrize(("path", "name"), [("in/may.csv", "may.csv"), ("in/", "in"), ("in", "in")])
def test_a_datastore_path_is_fetched(
    sent: Sender, submitted: dict[str, Any], path: str, name: str, scheme: str, tmp_path: Path
) -> None:
    place = f"//datastores/workspaceblobstore/paths/{path}"
    address = f"azureml:{place}"
    submitted["tags"]["data.raw_hours"] = f"{scheme}{place}"
    status, out, warning = _plan(sent)
    assert status == 0
    command = f"-m kedro_azure_mlops.azure.fetch --env dev {address} {_target(sent, name)}\n"
    assert command in out
    assert f"read again from {address}" in warning
    account, container = next(iter(sent.azure.blobs)).split("/")[:2]
    sent.azure.blobs[f"{account}/{container}/in/may.csv"] = b"load\n1\n"
    fetch.main(["--env", "dev", address, str(tmp_path / name)])
    found = tmp_path / name
    assert (found if found.is_file() else found / "may.csv").read_bytes() == b"load\n1\n"


def test_in_an_input_that_was_a_folder_the_file_of_the_catalog_is_read(
    sent: Sender, submitted: dict[str, Any], tmp_path: Path
) -> None:
    from kedro_azure_mlops.azure.assets import register_data

    folder = sent.project.path / "data/raw"
    registered = register_data(workspace("dev"), "folder", folder, "uri_folder")
    submitted["inputs"]["raw_hours"] |= {"jobInputType": "uri_folder"}
    submitted["tags"] |= {
        "data.raw_hours": registered.reference.removeprefix("azureml:"),
        "data.path.raw_hours": "data/raw",
        "data.digest.raw_hours": registered.digest,
    }
    status, out, _ = _plan(sent)
    assert status == 0
    assert f"BIND__raw_hours={folder / 'hours.csv'} " in out
    submitted["tags"]["data.path.raw_hours"] = "moved/raw"
    status, out, _ = _plan(sent)
    assert status == 0
    assert f"BIND__raw_hours={sent.project.path / _target(sent, 'hours.csv')} " in out
    reference = f"folder:{registered.version}"
    assert f"fetch --env dev {reference} {_target(sent, 'hours.csv')}\n" in out
    fetch.main(["--env", "dev", reference, str(tmp_path / "hours.csv")])
    assert (tmp_path / "hours.csv").read_bytes() == (folder / "hours.csv").read_bytes()


def test_a_data_asset_keeps_the_name_of_its_file(
    sent: Sender, submitted: dict[str, Any], tmp_path: Path
) -> None:
    from azure.ai.ml.entities import Data

    file = tmp_path / "may.csv.gz"
    file.write_bytes(gzip.compress(b"load\n1\n"))
    data = Data(name="may", version="1", path=str(file), type="uri_file")
    workspace("dev").data.create_or_update(data)
    submitted["tags"]["data.raw_hours"] = "may:1"
    status, out, _ = _plan(sent)
    assert status == 0
    assert f"fetch --env dev may:1 {_target(sent, 'may.csv.gz')}\n" in out
    assert f"BIND__raw_hours={sent.project.path / _target(sent, 'may.csv.gz')} " in out


def test_different_scores_are_a_failure(sent: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    # The commands have just been run, so only the changed file makes the scores differ.
    monkeypatch.setattr(Command, "run", lambda *_: None)
    path = f"{sent.job()}_pipeline/predictions/predictions.csv"
    (key,) = [k for k in sent.azure.blobs if k.endswith(path)]
    original = sent.azure.blobs[key]
    sent.azure.blobs[key] = original + b"\n"
    try:
        status, out, _ = sent.mlops("reproduce", "--env", "dev", "--job", sent.job(), "--go")
    finally:
        sent.azure.blobs[key] = original
    assert status == 1
    assert "reproduce: different scores from run" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--env", "dev", "--job", "gone"), "gone"),
        (("--job", "any"), "--job NAME needs the environment of its workspace"),
    ],
    ids=["unknown", "local"],
)
def test_a_job_that_cannot_be_found_is_refused(
    sent: Sender, arguments: tuple[str, ...], message: str
) -> None:
    status, _, err = sent.mlops("reproduce", *arguments)
    assert status == 2
    assert message in err
