"""The stand-in's Blob storage, as adlfs reaches it: with an identity and without a key."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from kedro_azure_mlops.testing import StandIn


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    import fsspec

    fsspec.get_filesystem_class("abfs").clear_instance_cache()  # instances cache earlier answers
    with StandIn(tmp_path / "azure") as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        yield azure
    assert azure.refused == []


URLS = ["abfs://weather/new.csv", "abfs://weather@rawdata.dfs.core.windows.net/new.csv"]


@pytest.mark.parametrize("url", URLS)
def test_adlfs_reads_and_writes_with_the_identity(azure: StandIn, url: str) -> None:
    options = {"account_name": "rawdata", "anon": False}
    pd.DataFrame({"a": [1, 2]}).to_csv(url, index=False, storage_options=options)
    assert azure.blobs.pop("rawdata/weather/new.csv") == b"a\n1\n2\n"
    azure.blobs["rawdata/weather/new.csv"] = b"a\n3\n"
    assert list(pd.read_csv(url, storage_options=options)["a"]) == [3]


def test_adlfs_lists_folders(azure: StandIn) -> None:
    import fsspec

    azure.blobs["rawdata/parts/day/1.csv"] = azure.blobs["rawdata/parts/day/2.csv"] = b"a\n"
    files = fsspec.filesystem("abfs", account_name="rawdata", anon=False)
    assert files.ls("parts/day") == ["parts/day/1.csv", "parts/day/2.csv"]
    assert files.exists("parts/day/1.csv")
    assert not files.exists("parts/day/3.csv")
