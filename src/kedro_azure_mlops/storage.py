"""Files in Azure storage as catalog entries: accessed by identity, with clear errors.

An address ``abfs://container@account.dfs.core.windows.net/...`` names its storage account, which
Kedro's own datasets would drop.
"""

import re
from pathlib import Path
from typing import Any

from kedro.io import DatasetError

from kedro_azure_mlops.errors import OperationError, first_line

_ACCOUNT_URL = re.compile(r"(abfss?)://([^/@]+)@([\w-]+)\.(?:dfs|blob)\.core\.windows\.net/(.+)")


class UnreadableAddressError(OperationError, DatasetError):
    """A store cannot be read (exit status 2)."""


class MissingFileError(OperationError, DatasetError):
    """A file named in the configuration does not exist (exit status 2)."""


def opened_by_identity(filepath: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return a dataset's options with the account of its address in ``fs_args``."""
    match = _ACCOUNT_URL.fullmatch(str(filepath))
    if match is None:
        return options | {"filepath": filepath}
    protocol, container, account, path = match.groups()
    fs_args = {"account_name": account, "anon": False} | (options.get("fs_args") or {})
    return options | {"filepath": f"{protocol}://{container}/{path}", "fs_args": fs_args}


def exists(dataset: Any, address: str) -> bool:
    """Return whether a dataset's file exists.

    Raises
    ------
    UnreadableAddressError
        If its store cannot be read.
    """
    try:
        return bool(dataset._exists())
    except Exception as error:
        # Each store raises its own errors, from packages that are only installed with it.
        if dataset._protocol == "file":
            raise
        raise UnreadableAddressError(
            f"{shown(address)} cannot be read: {first_line(error)} Sign in "
            "(az login); the account may need a role, such as Storage Blob Data Reader."
        ) from error


def source_of(dataset: Any, address: str, hint: str) -> str:
    """Return the name of a dataset's file for messages.

    Parameters
    ----------
    address
        The path or URL that the configuration names.
    hint
        A sentence about what to do if the file does not exist.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    UnreadableAddressError
        If its store cannot be read.
    """
    is_here = dataset._protocol == "file"
    source = shown(str(dataset._filepath) if is_here else address)
    if not exists(dataset, address):
        raise MissingFileError(f"There is no file {source}. {hint}")
    return source


def shown(address: str) -> str:
    """Return a file's name for messages: without the project folder or a URL's signature."""
    if "://" in address:
        return address.split("?", maxsplit=1)[0]
    path = Path(address)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else address
