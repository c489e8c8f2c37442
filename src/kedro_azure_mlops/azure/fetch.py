"""``python -m kedro_azure_mlops.azure.fetch --env dev NAME:VERSION PATH`` downloads an asset.

A path in a datastore can be given instead of the asset. ``reproduce`` prints this as one of its
commands.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from kedro_azure_mlops.azure.downloads import DATASTORE, download_address, download_asset
from kedro_azure_mlops.errors import OperationError


def main(arguments: Sequence[str] | None = None) -> None:
    """Download a data asset and move it, or its file of that name, to a path."""
    parser = argparse.ArgumentParser(prog="python -m kedro_azure_mlops.azure.fetch")
    parser.add_argument("--env", required=True, help="environment of the workspace")
    parser.add_argument("asset", metavar="NAME:VERSION", help=f"or {DATASTORE}NAME/paths/PATH")
    parser.add_argument("path", type=Path, metavar="PATH")
    parsed = parser.parse_args(arguments)
    parsed.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(dir=parsed.path.parent) as folder:
            if parsed.asset.startswith(DATASTORE):
                downloaded = download_address(parsed.env, parsed.asset, Path(folder))
            else:
                name, _, version = parsed.asset.rpartition(":")
                downloaded = download_asset(parsed.env, name, version, Path(folder))
            inside = downloaded / parsed.path.name
            shutil.move(inside if inside.is_file() else downloaded, parsed.path)
    except OperationError as error:
        parser.exit(2, f"fetch: {error}\n")


if __name__ == "__main__":
    main()
