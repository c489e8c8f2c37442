"""Data is reached as an input of the job, through the workspace, and straight from Blob storage."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, DatasetError

from operation.azureml.cloud import assets
from operation.azureml.cloud.downloads import download_asset
from operation.azureml.compilation.job import compile_job
from operation.azureml.project import read_project
from operation.azureml.snapshot import content_digest
from operation.errors import OperationError
from operation.tests.helpers import ROOT
from operation.tests.sender import SMALL, Sender, sender_in, sha256

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

ACCOUNT = "coldstore"
RAW = ROOT / "data" / "raw"
ADDRESS = f"abfs://raw@{ACCOUNT}.dfs.core.windows.net"


@pytest.fixture
def cloud(tmp_path: Path, database: Path) -> Iterator[Sender]:
    with sender_in(tmp_path, database, identity=True) as cloud:
        yield cloud


@pytest.fixture
def client(cloud: Sender) -> "MLClient":
    from operation.azureml.utils import workspace

    return workspace("dev")


def register(client: "MLClient", name: str, path: str, text: str) -> str:
    """Write a file and register it; return its version."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return assets.register_data(client, name, Path(path), "uri_file").version


def read(asset: str, **dataset: Any) -> Any:
    """Load a catalog entry that is a data asset."""
    config = {
        "type": "operation.azureml.datasets.DataAsset",
        "asset": asset,
        "env": "dev",
        "dataset": {"type": "text.TextDataset"} | dataset,
    }
    return DataCatalog.from_config({"entry": config})["entry"]


def test_the_same_content_is_uploaded_once(client: "MLClient", cloud: Sender) -> None:
    first = register(client, "readings", "a.csv", "1\n")
    assert len(cloud.azure.uploads) == 1
    assert register(client, "readings", "b.csv", "1\n") == first
    assert len(cloud.azure.uploads) == 1
    assert register(client, "readings", "a.csv", "2\n") != first
    assert len(cloud.azure.uploads) == 2
    tags = cloud.found("data")[f"readings/versions/{first}"]["tags"]
    assert tags == {"digest": sha256(Path("b.csv"))}


def test_a_folder_is_registered_whole_and_comes_back_whole(client: "MLClient") -> None:
    for name in ("2023/a.csv", "2024/a.csv", "2024/b.csv"):
        register(client, "parts", f"readings/{name}", name)
    version = assets.register_data(client, "all", Path("readings"), "uri_folder").version
    found = download_asset("dev", "all", version, Path("here"))
    assert found == Path("here") / version
    assert content_digest(found) == content_digest(Path("readings"))


def test_an_asset_is_downloaded_once_and_checked(client: "MLClient", cloud: Sender) -> None:
    version = register(client, "readings", "a.csv", "1\n")
    first = download_asset("dev", "readings", version, Path("here"))
    assert first.read_text() == "1\n"
    cloud.azure.forget()
    assert download_asset("dev", "readings", version, Path("here")) == first
    assert not [request for request in cloud.azure.requests if ".blob." in request.host]
    (key,) = [key for key in cloud.azure.blobs if key.endswith("/a.csv")]
    cloud.azure.blobs[key] = b"3\n"
    with pytest.raises(OperationError, match="is not what was registered"):
        download_asset("dev", "readings", version, Path("there"))
    assert list(Path("there").iterdir()) == []


def test_an_asset_that_breaks_off_is_not_taken_for_whole(client: "MLClient", cloud: Sender) -> None:
    version = register(client, "readings", "a.csv", "1\n")
    cloud.azure.fail("GET", r"\.blob\..*/a\.csv$", 403)
    with pytest.raises(OperationError, match="You may not do that"):
        download_asset("dev", "readings", version, Path("here"))
    assert download_asset("dev", "readings", version, Path("here")).read_text() == "1\n"


def test_an_asset_of_other_content_is_refused(client: "MLClient") -> None:
    from azure.ai.ml.entities import Data

    Path("a.csv").write_text("1\n")
    version = assets.version_of(content_digest(Path("a.csv")))
    other = Data(name="readings", version=version, type="uri_file", path="a.csv")
    client.data.create_or_update(other)
    with pytest.raises(OperationError, match="was not made of this content"):
        assets.register_data(client, "readings", Path("a.csv"), "uri_file")
    made = assets.register_data(client, "others", Path("a.csv"), "uri_file")
    assert made.reference == f"azureml:others:{version}"


def test_the_latest_version_is_the_last_one_and_not_the_greatest(client: "MLClient") -> None:
    versions = {register(client, "readings", "a.csv", f"{n}\n"): f"{n}\n" for n in range(6)}
    assert list(versions) != sorted(versions)
    for n, (version, text) in enumerate(versions.items()):
        entry = read(f"readings:{version}")
        assert entry.load() == text
        assert f"'version': '{version}'" in str(entry._describe())
        assert n or entry.exists()
    latest = read("azureml:readings@latest")
    assert latest.load() == "5\n"
    assert latest.version == list(versions)[-1]


def test_an_asset_can_only_be_read(client: "MLClient") -> None:
    version = register(client, "readings", "a.csv", "1\n")
    with pytest.raises(DatasetError, match="The data asset readings can only be read"):
        read(f"readings:{version}").save("2\n")
    assert not read("readings:none").exists()
    with pytest.raises(DatasetError, match="has no data asset readings:none"):
        read("readings:none").load()
    with pytest.raises(DatasetError, match="write NAME:VERSION of a data asset, or NAME@latest"):
        read("readings")
    with pytest.raises(DatasetError, match="needs a type and has no filepath"):
        read("readings:none", filepath="a.csv")


def in_the_cloud(cloud: Sender, client: "MLClient") -> None:
    """Let dev read readings through the workspace and labels from Blob storage."""
    assets.register_data(client, "temperatures", RAW / "temperatures.csv", "uri_file")
    cloud.azure.blobs[f"{ACCOUNT}/raw/labels.csv"] = (RAW / "labels.csv").read_bytes()
    base = cloud.project.path / "operation/configuration/base/catalog.yml"
    entry = yaml.safe_load(base.read_text(encoding="utf-8"))["raw_temperatures"]
    entry |= {
        "type": "operation.azureml.datasets.DataAsset",
        "asset": "temperatures@latest",
        "env": "dev",
        "dataset": {"type": entry["type"]},
    }
    del entry["filepath"]
    cloud.project.configure("dev", "catalog.yml", yaml.safe_dump({"raw_temperatures": entry}))
    labels = f"labels_file: {ADDRESS}/labels.csv\n"
    cloud.project.configure("dev", "parameters.yml", labels + SMALL)


def test_a_run_here_reads_the_workspace_and_blob_storage(cloud: Sender, client: "MLClient") -> None:
    in_the_cloud(cloud, client)
    for file in (cloud.project.path / "data/raw").glob("*.csv"):
        file.unlink()
    ran = cloud.project.kedro("run", "--env", "dev")
    assert ran.returncode == 0, ran.stderr
    assert "Reading the data asset temperatures:" in ran.stderr
    assert "Unclosed" not in ran.stderr
    here = cloud.project.processed("scores.csv")
    found = pd.read_csv(here)
    assert len(found) == len(pd.read_csv(RAW / "temperatures.csv"))
    asked = [r for r in cloud.azure.requests if r.host.startswith(ACCOUNT)]
    assert asked
    assert all(request.headers["authorization"].startswith("Bearer ") for request in asked)


def test_a_job_reads_them_as_its_own_identity(cloud: Sender, client: "MLClient") -> None:
    in_the_cloud(cloud, client)
    cloud.configure()
    cloud.azure.forget()
    status, out, err = cloud.verb("submit", "--env", "dev", "--wait")
    assert status == 0, err
    assert "pipeline | " in out
    assert "Reading the data asset temperatures:" in out
    job = cloud.found("jobs")[cloud.job()]
    assert not [name for name, given in job["inputs"].items() if "uri" in given]
    assert not [key for key in cloud.azure.uploads if key.endswith(".csv")]
    assert not cloud.azure.steps["pipeline"].is_deterministic


def test_a_step_that_reads_an_asset_by_itself_is_not_reused(
    cloud: Sender, client: "MLClient"
) -> None:
    rest = ["data_engineering", "data_science", "metrics"]
    cloud.configure(steps={"clean": {"pipelines": ["pre_processing"]}, "rest": {"pipelines": rest}})

    def clean() -> dict[str, Any]:
        return compile_job(read_project("dev"))["jobs"]["clean"]["component"]

    assert clean()["is_deterministic"]
    in_the_cloud(cloud, client)
    assert not clean()["is_deterministic"]
    assert "inputs" not in clean()


def test_readings_come_from_blob_storage_too(cloud: Sender) -> None:
    cloud.azure.blobs[f"{ACCOUNT}/raw/t.csv"] = (RAW / "temperatures.csv").read_bytes()
    cloud.project.configure("dev", "parameters.yml", f"raw_file: {ADDRESS}/t.csv\n")
    ran = cloud.project.kedro("run", "--env", "dev", "--pipelines", "pre_processing")
    assert ran.returncode == 0, ran.stderr
    cloud.project.configure("dev", "parameters.yml", f"raw_file: {ADDRESS}/none.csv\n")
    ran = cloud.project.kedro("run", "--env", "dev", "--pipelines", "pre_processing")
    assert ran.returncode == 2
    assert f"There is no file {ADDRESS}/none.csv" in ran.stderr
    cloud.azure.fail("HEAD", r"/raw/t\.csv$", 403, times=100)
    cloud.project.configure("dev", "parameters.yml", f"raw_file: {ADDRESS}/t.csv\n")
    ran = cloud.project.kedro("run", "--env", "dev", "--pipelines", "pre_processing")
    assert ran.returncode == 2
    assert f"{ADDRESS}/t.csv cannot be read: " in ran.stderr
    assert "Storage Blob Data Reader" in ran.stderr
    assert "Traceback" not in ran.stderr
