"""Names and versions of data assets."""

import hashlib
import re
from pathlib import Path

import pytest

from kedro_azure_mlops.azure.assets import (
    asset_name,
    refuse_incomplete_upload,
    split_reference,
    version_of,
)
from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.errors import OperationError

LEGAL = re.compile(r"[a-zA-Z0-9][\w.-]{0,254}", re.ASCII)


@pytest.mark.parametrize("content", [b"", b"1,2\n", b"x" * 3_000_000])
def test_the_digest_of_a_file_equals_its_sha256sum(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert content_digest(tmp_path / "a.csv") == hashlib.sha256(content).hexdigest()


def test_the_digest_of_a_folder_depends_on_names_and_content(tmp_path: Path) -> None:
    def digest(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in files.items():
            (folder / name).mkdir(parents=True)
            (folder / name / "x.csv").write_text(text)
        return content_digest(folder)

    digests = [digest(a="1", b="2"), digest(a="2", b="1"), digest(a="1", c="2"), digest(a="12")]
    assert len(set(digests)) == len(digests)
    assert digest(b="2", a="1") == digests[0]


def test_a_version_is_a_legal_prefix_of_the_digest() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    assert LEGAL.fullmatch(version_of(digest))
    assert digest.startswith(version_of(digest))


@pytest.mark.parametrize(
    ("port", "name"),
    [
        ("raw_hours", "raw_hours"),
        ("weather__history", "weather__history"),
        ("_private", "private"),
        ("Kühlhaus", "K_hlhaus"),
        ("__", "data"),
    ],
)
def test_an_input_name_becomes_a_legal_asset_name(port: str, name: str) -> None:
    assert asset_name(port) == name
    assert LEGAL.fullmatch(name)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("azureml:hours:1", ("hours", "1")),
        ("hours:0f3a", ("hours", "0f3a")),
        ("azureml:cold-store.v2@latest", ("cold-store.v2", "latest")),
    ],
)
def test_a_reference_is_split_into_asset_and_version(text: str, parts: tuple[str, str]) -> None:
    assert split_reference(text) == parts


@pytest.mark.parametrize(
    "text", ["hours", "azureml:hours", "a@newest", "azureml://datastores/x", "a:b:c", ""]
)
def test_malformed_references_are_rejected(text: str) -> None:
    with pytest.raises(OperationError, match="write NAME:VERSION of a data asset, or NAME@latest"):
        split_reference(text)


def test_empty_mistyped_and_incomplete_uploads_are_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "hours"
    with pytest.raises(OperationError, match=r"There is no .*hours to upload"):
        refuse_incomplete_upload(folder, "uri_folder")
    (folder / "2024").mkdir(parents=True)
    with pytest.raises(OperationError, match="hours holds no file to upload"):
        refuse_incomplete_upload(folder, "uri_folder")
    (folder / "2024" / "a.csv").touch()
    refuse_incomplete_upload(folder, "uri_folder")
    refuse_incomplete_upload(folder / "2024" / "a.csv", "uri_file")
    with pytest.raises(OperationError, match=r"hours is a folder and cannot be a uri_file"):
        refuse_incomplete_upload(folder, "uri_file")
    with pytest.raises(OperationError, match=r"a\.csv is a file and cannot be a mltable"):
        refuse_incomplete_upload(folder / "2024" / "a.csv", "mltable")
    (folder / ".gitignore").write_text("*.csv")
    left_out = r"hours/\.gitignore makes Azure skip files"
    with pytest.raises(OperationError, match=left_out):
        refuse_incomplete_upload(folder, "uri_folder")
