"""What the inputs of a cloud job are given: data assets, or addresses that it reads itself."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operation.azureml.cloud.assets import (
    DIGEST,
    asset_name,
    register_data,
    require_data,
    split_reference,
)
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_ASSET = re.compile(r"azureml:(?!/)")


@dataclass(frozen=True)
class JobData:
    """What an input is given, and the fingerprint of its content as far as it is known."""

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
    """Find or make a data asset for each input of a job that is data and no address.

    Parameters
    ----------
    job_file
        Where the job is written: local paths are relative to its folder.
    given
        Data assets instead of what the job says, by names of inputs.

    Raises
    ------
    OperationError
        If there is no such input, asset or file, or Azure refuses.
    """
    wanted = {name: entry for name, entry in inputs.items() if isinstance(entry, dict)}
    for name in given:
        if name not in wanted:
            raise OperationError(
                f"--input {name}: the job is given no such data; it is given: {', '.join(wanted)}."
            )
    return {
        name: _found(client, name, entry | {"path": given.get(name, entry["path"])}, job_file, say)
        for name, entry in wanted.items()
    }


def _found(
    client: "MLClient",
    name: str,
    entry: Mapping[str, str],
    job_file: Path,
    say: Callable[[str], None],
) -> JobData:
    path, type = entry["path"], entry["type"]
    if _ASSET.match(path):
        return _known(client, name, path, type)
    if ":" in path:
        return JobData(path)
    local = (job_file.parent / path).resolve()
    made = register_data(client, asset_name(name), local, type, say)
    return JobData(made.reference, made.digest, local)


def _known(client: "MLClient", name: str, reference: str, type: str) -> JobData:
    """Look an asset up, so that it is known which version the job was given."""
    asset = require_data(client, *split_reference(reference))
    if asset.type != type:
        raise OperationError(
            f"The input {name} is a {type}, but the data asset {asset.name}:{asset.version} is a "
            f"{asset.type}."
        )
    return JobData(f"azureml:{asset.name}:{asset.version}", (asset.tags or {}).get(DIGEST))
