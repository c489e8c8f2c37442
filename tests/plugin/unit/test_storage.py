from pathlib import Path
from typing import Any

import pytest
from kedro_datasets.pandas import CSVDataset

from kedro_azure_mlops.storage import (
    MissingFileError,
    UnreadableAddressError,
    exists,
    opened_by_identity,
    shown,
    source_of,
)

ADDRESS = "abfs://raw@stplant.dfs.core.windows.net/hours/2024.csv"


class Dataset:
    def __init__(self, protocol: str, answer: Any) -> None:
        self._protocol, self._answer = protocol, answer

    def _exists(self) -> bool:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_an_address_with_an_account_is_opened_by_identity() -> None:
    options = opened_by_identity(ADDRESS, {"load_args": {}, "fs_args": {"timeout": 5}})
    assert options["filepath"] == "abfs://raw/hours/2024.csv"
    assert options["fs_args"] == {"account_name": "stplant", "anon": False, "timeout": 5}


@pytest.mark.parametrize("path", ["data/raw/hours.csv", "abfs://raw/hours.csv", "s3://b/hours.csv"])
def test_other_paths_are_unchanged(path: str) -> None:
    assert opened_by_identity(path, {}) == {"filepath": path}


@pytest.mark.parametrize("answer", [True, False])
def test_the_answer_of_a_store_is_returned(answer: bool) -> None:
    assert exists(Dataset("abfs", answer), ADDRESS) is answer


def test_an_unreadable_store_is_reported_with_advice() -> None:
    with pytest.raises(UnreadableAddressError, match=r"2024\.csv cannot be read: no.*az login"):
        exists(Dataset("abfs", RuntimeError("no\nsecond line")), f"{ADDRESS}?sig=secret")
    with pytest.raises(PermissionError):
        exists(Dataset("file", PermissionError("no")), "data/raw/hours.csv")


def test_paths_are_shown_relative_and_addresses_without_query(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(str(tmp_path / "data" / "hours.csv")) == "data/hours.csv"
    assert shown("/elsewhere/hours.csv") == "/elsewhere/hours.csv"
    assert shown(f"{ADDRESS}?sig=secret") == ADDRESS


def test_a_missing_file_is_named_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = CSVDataset(filepath=str(tmp_path / "hours.csv"))
    with pytest.raises(MissingFileError, match=r"^There is no file hours\.csv\. Name one\.$"):
        source_of(dataset, str(tmp_path / "hours.csv"), "Name one.")
    (tmp_path / "hours.csv").write_text("a\n1\n", encoding="utf-8")
    assert source_of(dataset, str(tmp_path / "hours.csv"), "Name one.") == "hours.csv"
