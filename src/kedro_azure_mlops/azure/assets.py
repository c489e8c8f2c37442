"""Data assets whose version is the digest of their content, and the inputs of jobs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.azure.workspace import azure_errors
from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Data

DIGEST = "digest"  # the tag with the whole digest
LATEST = "latest"
_REFERENCE = re.compile(r"(?:azureml:)?(?!azureml:)([\w.-]+)([:@])([\w.-]+)")
_MEGABYTE = 1_000_000
# Azure's client silently skips files that match the patterns in these files.
_IGNORE_FILES = (".amlignore", ".gitignore")


@dataclass(frozen=True)
class Registered:
    """A data asset made from local data."""

    name: str
    version: str
    digest: str

    @property
    def reference(self) -> str:
        """The reference that jobs use."""
        return f"azureml:{self.name}:{self.version}"


def version_of(digest: str) -> str:
    """Shorten a digest to a version that Azure accepts and people can compare."""
    return digest[:20]


def asset_name(port: str) -> str:
    """Return a valid asset name for an input: a letter or digit, then also ``_``, ``-``, ``.``."""
    return re.sub(r"[^\w.-]", "_", port, flags=re.ASCII).lstrip("_.-") or "data"


def split_reference(text: str) -> tuple[str, str]:
    """Split ``azureml:name:version`` or ``name@latest``.

    Raises
    ------
    OperationError
        If the text has neither form.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or (match[2] == "@" and match[3] != LATEST):
        raise OperationError(f"{text}: write NAME:VERSION of a data asset, or NAME@{LATEST}.")
    return match[1], match[3]


def register_data(
    client: "MLClient",
    name: str,
    path: Path,
    type: str,
    say: Callable[[str], None] = lambda _: None,
) -> Registered:
    """Register a file or folder, unless an asset with this content already exists.

    Raises
    ------
    OperationError
        If there is nothing to upload, or Azure would skip some of the files or refuses.
    """
    refuse_incomplete_upload(path, type)
    digest = content_digest(path)
    version = version_of(digest)
    existing = find_data(client, name, version)
    if existing is None:
        say(f"uploading {_display_path(path)} ({_format_size(path)}) as {name}:{version}")
        _upload(client, name, path, type, digest)
    elif (existing.tags or {}).get(DIGEST) != digest:
        raise OperationError(
            f"The workspace has a data asset {name}:{version} that was created from different "
            "content, and Azure ML never replaces a version: give the dataset another name."
        )
    else:
        say(f"data {name}:{version} exists, nothing to upload")
    return Registered(name, version, digest)


def find_data(client: "MLClient", name: str, version: str) -> "Data | None":
    """Return a data asset; None if it does not exist. ``latest`` selects Azure's label.

    Raises
    ------
    OperationError
        If Azure refuses.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with azure_errors(f"looking for the data asset {name}:{version}"):
        try:
            if version == LATEST:
                return client.data.get(name, label=LATEST)
            return client.data.get(name, version=version)
        except ResourceNotFoundError:
            return None


def require_data(client: "MLClient", name: str, version: str) -> "Data":
    """Return a data asset; see ``find_data``.

    Raises
    ------
    OperationError
        If it does not exist.
    """
    asset = find_data(client, name, version)
    if asset is None:
        raise OperationError(
            f"The workspace {client.workspace_name} has no data asset {name}:{version}. To list "
            f"its versions, run: az ml data list --name {name}"
        )
    return asset


def refuse_incomplete_upload(path: Path, type: str) -> None:
    """Refuse a path that Azure's client would not upload completely.

    Raises
    ------
    OperationError
        If the path has no file or the wrong type, or is a folder with an ignore file.
    """
    if not path.exists():
        raise OperationError(f"There is no {_display_path(path)} to upload.")
    if path.is_file() != (type == "uri_file"):
        kind = "a file" if path.is_file() else "a folder"
        raise OperationError(
            f"{_display_path(path)} is {kind} and cannot be a {type}: change the type under "
            "inputs in azureml.yml, or name another path there."
        )
    if not path.is_dir():
        return
    if not any(file.is_file() for file in path.rglob("*")):
        raise OperationError(f"{_display_path(path)} holds no file to upload.")
    for name in _IGNORE_FILES:
        if (path / name).is_file():
            raise OperationError(f"{_display_path(path / name)} makes Azure skip files: remove it.")


def _upload(client: "MLClient", name: str, path: Path, type: str, digest: str) -> None:
    from azure.ai.ml.entities import Data

    data = Data(
        name=name, version=version_of(digest), path=str(path), type=type, tags={DIGEST: digest}
    )
    with azure_errors(f"uploading {_display_path(path)} as data asset {name}"):
        client.data.create_or_update(data)


def _format_size(path: Path) -> str:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return f"{size / _MEGABYTE:.1f} MB" if size >= _MEGABYTE else f"{size} bytes"


def _display_path(path: Path) -> str:
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


_ASSET = re.compile(r"azureml:(?!/)")


@dataclass(frozen=True)
class JobData:
    """The path of an input, and the digest of its content if known."""

    path: str
    digest: str | None = None
    local: Path | None = None


def find_or_register(
    client: "MLClient",
    job_file: Path,
    inputs: Mapping[str, Any],
    given: Mapping[str, str],
    say: Callable[[str], None],
) -> dict[str, JobData]:
    """Find or register a data asset for each data input of a job that is not a URI.

    Parameters
    ----------
    job_file
        The job's file; local paths are relative to its folder.
    given
        Data assets that replace those of the job, by input name.

    Raises
    ------
    OperationError
        If there is no such input, asset or file, or Azure refuses.
    """
    wanted = {name: entry for name, entry in inputs.items() if isinstance(entry, dict)}
    for name in given:
        if name not in wanted:
            raise OperationError(
                f"--input {name}: the job has no such input; it has: {', '.join(wanted)}."
            )
    return {
        name: _locate(client, name, entry | {"path": given.get(name, entry["path"])}, job_file, say)
        for name, entry in wanted.items()
    }


def _locate(
    client: "MLClient",
    name: str,
    entry: Mapping[str, str],
    job_file: Path,
    say: Callable[[str], None],
) -> JobData:
    path, type = entry["path"], entry["type"]
    if _ASSET.match(path):
        return _resolve_reference(client, name, path, type)
    if ":" in path:
        return JobData(path)
    local = (job_file.parent / path).resolve()
    registered = register_data(client, asset_name(name), local, type, say)
    return JobData(registered.reference, registered.digest, local)


def _resolve_reference(client: "MLClient", name: str, reference: str, type: str) -> JobData:
    """Resolve a reference to a version, so that the job records which one it reads."""
    asset = require_data(client, *split_reference(reference))
    if asset.type != type:
        raise OperationError(
            f"The input {name} is a {type}, but the data asset {asset.name}:{asset.version} is a "
            f"{asset.type}."
        )
    return JobData(f"azureml:{asset.name}:{asset.version}", (asset.tags or {}).get(DIGEST))
