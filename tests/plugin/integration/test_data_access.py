"""Data is read as an input of the job, through the workspace, or directly from Blob storage."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, DatasetError

from kedro_azure_mlops.azure import assets
from kedro_azure_mlops.azure.downloads import download_asset
from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.job.compilation import compile_job
from tests.plugin.helpers import ROOT
from tests.plugin.sender import Sender, sender_in, sha256

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

ACCOUNT = "plantstore"
RAW = ROOT / "data" / "raw" / "hours.csv"


@pytest.fixture
def cloud(tmp_path: Path, database: Path) -> Iterator[Sender]:
    with sender_in(tmp_path, database, identity=True) as cloud:
        yield cloud


@pytest.fixture
def client(cloud: Sender) -> "MLClient":
    from kedro_azure_mlops.azure.workspace import workspace

    return workspace("dev")


def register(client: "MLClient", name: str, path: str, text: str) -> str:
    """Write a file and register it; return its version."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return assets.register_data(client, name, Path(path), "uri_file").version


def read(asset: str, **dataset: Any) -> Any:
    """Load a catalog entry that is a data asset."""
    config = {
        "type": "kedro_azure_mlops.azure.datasets.DataAsset",
        "asset": asset,
        "env": "dev",
        "dataset": {"type": "text.TextDataset"} | dataset,
    }
    return DataCatalog.from_config({"entry": config})["entry"]


def test_the_same_content_is_uploaded_once(client: "MLClient", cloud: Sender) -> None:
    first = register(client, "hours", "a.csv", "1\n")
    assert len(cloud.azure.uploads) == 1
    assert register(client, "hours", "b.csv", "1\n") == first
    assert len(cloud.azure.uploads) == 1
    assert register(client, "hours", "a.csv", "2\n") != first
    assert len(cloud.azure.uploads) == 2
    tags = cloud.resources("data")[f"hours/versions/{first}"]["tags"]
    assert tags == {"digest": sha256(Path("b.csv"))}


def test_a_registered_folder_is_downloaded_completely(client: "MLClient") -> None:
    for name in ("2023/a.csv", "2024/a.csv", "2024/b.csv"):
        register(client, "parts", f"hours/{name}", name)
    version = assets.register_data(client, "all", Path("hours"), "uri_folder").version
    downloaded = download_asset("dev", "all", version, Path("here"))
    assert downloaded == Path("here") / version
    assert content_digest(downloaded) == content_digest(Path("hours"))


def test_an_asset_is_downloaded_once_and_checked(client: "MLClient", cloud: Sender) -> None:
    version = register(client, "hours", "a.csv", "1\n")
    first = download_asset("dev", "hours", version, Path("here"))
    assert first.read_text() == "1\n"
    cloud.azure.forget()
    assert download_asset("dev", "hours", version, Path("here")) == first
    assert not [request for request in cloud.azure.requests if ".blob." in request.host]
    (key,) = [key for key in cloud.azure.blobs if key.endswith("/a.csv")]
    cloud.azure.blobs[key] = b"3\n"
    with pytest.raises(OperationError, match="differs from the registered content"):
        download_asset("dev", "hours", version, Path("there"))
    assert list(Path("there").iterdir()) == []


def test_an_incomplete_download_is_not_reused(client: "MLClient", cloud: Sender) -> None:
    version = register(client, "hours", "a.csv", "1\n")
    cloud.azure.fail("GET", r"\.blob\..*/a\.csv$", 403)
    with pytest.raises(OperationError, match="You do not have permission"):
        download_asset("dev", "hours", version, Path("here"))
    assert download_asset("dev", "hours", version, Path("here")).read_text() == "1\n"


def test_a_version_with_other_content_is_refused(client: "MLClient") -> None:
    from azure.ai.ml.entities import Data

    Path("a.csv").write_text("1\n")
    version = assets.version_of(content_digest(Path("a.csv")))
    other = Data(name="hours", version=version, type="uri_file", path="a.csv")
    client.data.create_or_update(other)
    with pytest.raises(OperationError, match="was created from different content"):
        assets.register_data(client, "hours", Path("a.csv"), "uri_file")
    registered = assets.register_data(client, "others", Path("a.csv"), "uri_file")
    assert registered.reference == f"azureml:others:{version}"


def test_the_latest_version_is_the_newest_and_not_the_greatest(client: "MLClient") -> None:
    versions = {register(client, "hours", "a.csv", f"{n}\n"): f"{n}\n" for n in range(6)}
    assert list(versions) != sorted(versions)
    for n, (version, text) in enumerate(versions.items()):
        entry = read(f"hours:{version}")
        assert entry.load() == text
        assert f"'version': '{version}'" in str(entry._describe())
        assert n or entry.exists()
    latest = read("azureml:hours@latest")
    assert latest.load() == "5\n"
    assert latest.version == list(versions)[-1]


def test_an_asset_can_only_be_read(client: "MLClient") -> None:
    version = register(client, "hours", "a.csv", "1\n")
    with pytest.raises(DatasetError, match="The data asset hours can only be read"):
        read(f"hours:{version}").save("2\n")
    assert not read("hours:none").exists()
    with pytest.raises(DatasetError, match="has no data asset hours:none"):
        read("hours:none").load()
    with pytest.raises(DatasetError, match="write NAME:VERSION of a data asset, or NAME@latest"):
        read("hours")
    with pytest.raises(DatasetError, match="needs a type and no filepath"):
        read("hours:none", filepath="a.csv")


def read_through_the_workspace(cloud: Sender, client: "MLClient") -> None:
    """Make dev read its raw data through the workspace."""
    assets.register_data(client, "hours", RAW, "uri_file")
    entry = {
        "type": "kedro_azure_mlops.azure.datasets.DataAsset",
        "asset": "hours@latest",
        "env": "dev",
        "dataset": {"type": "pandas.CSVDataset"},
    }
    cloud.project.configure("dev", "catalog.yml", yaml.safe_dump({"raw_hours": entry}))


def read_from_blob_storage(cloud: Sender) -> None:
    """Make dev read its raw data directly from Blob storage, with an identity."""
    cloud.azure.blobs[f"{ACCOUNT}/raw/hours.csv"] = RAW.read_bytes()
    entry = {
        "type": "pandas.CSVDataset",
        "filepath": "abfs://raw/hours.csv",
        "credentials": {"account_name": ACCOUNT, "anon": False},
    }
    cloud.project.configure("dev", "catalog.yml", yaml.safe_dump({"raw_hours": entry}))


def test_a_local_run_reads_through_the_workspace(cloud: Sender, client: "MLClient") -> None:
    read_through_the_workspace(cloud, client)
    (cloud.project.path / "data/raw/hours.csv").unlink()
    run = ("run", "--env", "dev", "--pipelines", "prepare")
    ran = cloud.project.kedro(*run, COLUMNS="200")
    assert ran.returncode == 0, ran.stderr
    assert "Loading the data asset hours:" in ran.stdout + ran.stderr
    clean = pd.read_parquet(cloud.project.processed("clean_hours.parquet"))
    assert len(clean) == len(pd.read_csv(RAW).dropna())


def test_a_job_reads_through_the_workspace_with_its_identity(
    cloud: Sender, client: "MLClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # width of log lines
    read_through_the_workspace(cloud, client)
    cloud.configure()
    cloud.azure.forget()
    status, out, err = cloud.mlops("submit", "--env", "dev", "--wait")
    assert status == 0, out + err
    assert "Loading the data asset hours:" in out
    job = cloud.resources("jobs")[cloud.job()]
    assert not [name for name, body in job["inputs"].items() if "uri" in body]
    assert not [key for key in cloud.azure.uploads if key.endswith(".csv")]
    (step,) = [step for step in cloud.azure.steps.values() if step.status == "Completed"]
    assert not step.is_deterministic


def test_a_step_that_opens_a_data_asset_is_not_reused(cloud: Sender, client: "MLClient") -> None:
    cloud.configure(
        steps={"clean": {"pipelines": ["prepare"]}, "rest": {"pipelines": ["train", "evaluate"]}}
    )

    def clean() -> dict[str, Any]:
        return compile_job("dev", write=False).job["jobs"]["clean"]["component"]

    assert clean()["is_deterministic"]
    read_through_the_workspace(cloud, client)
    assert not clean()["is_deterministic"]
    assert "raw_hours" not in clean()["inputs"]


def test_blob_storage_is_read_with_an_identity(cloud: Sender) -> None:
    read_from_blob_storage(cloud)
    ran = cloud.project.kedro("run", "--env", "dev", "--pipelines", "prepare")
    assert ran.returncode == 0, ran.stderr
    assert "Unclosed" not in ran.stderr
    requests = [r for r in cloud.azure.requests if r.host.startswith(ACCOUNT)]
    assert requests
    assert all(request.headers["authorization"].startswith("Bearer ") for request in requests)
