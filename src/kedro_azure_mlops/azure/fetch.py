"""``python -m kedro_azure_mlops.azure.fetch --env dev NAME:VERSION PATH`` downloads an asset.

``reproduce`` prints this as one of its commands.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from kedro_azure_mlops.azure.downloads import download_asset
from kedro_azure_mlops.errors import OperationError


def main(arguments: Sequence[str] | None = None) -> None:
    """Download a data asset and move it to a path."""
    parser = argparse.ArgumentParser(prog="python -m kedro_azure_mlops.azure.fetch")
    parser.add_argument("--env", required=True, help="environment of the workspace")
    parser.add_argument("asset", metavar="NAME:VERSION")
    parser.add_argument("path", type=Path, metavar="PATH")
    parsed = parser.parse_args(arguments)
    name, _, version = parsed.asset.rpartition(":")
    parsed.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(dir=parsed.path.parent) as folder:
            downloaded = download_asset(parsed.env, name, version, Path(folder))
            shutil.move(downloaded, parsed.path)
    except OperationError as error:
        parser.exit(2, f"fetch: {error}\n")


if __name__ == "__main__":
    main()
