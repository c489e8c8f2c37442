"""Download from the workspace's storage: data assets, and outputs and logs of steps."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.assets import DIGEST, require_data
from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Data

# Names chosen by Azure's client.
_OUTPUTS, _LOGS = "named-outputs", "artifacts/user_logs/std_log*.txt"
DATASTORE = "azureml://datastores/"  # the beginning of an address in the workspace
_DEFAULT_OUTPUT_URI = "azureml://datastores/workspaceblobstore/paths/azureml/{run}/{port}/"


def download_asset(env: str, name: str, version: str, target: Path) -> Path:
    """Download a data asset, once, and return its file or folder.

    Parameters
    ----------
    version
        A version, or ``latest``.
    target
        The asset is stored below it, in a folder named after its version.

    Raises
    ------
    OperationError
        If there is no such asset, or its content differs from the registered content.
    """
    client = workspace(env)
    return download_found(client, require_data(client, name, version), target)


def download_found(client: "MLClient", asset: "Data", target: Path) -> Path:
    """Download an asset found in the workspace; see ``download_asset``."""
    folder = target / str(asset.version)
    download_once(
        client, str(asset.path), folder, lambda made: _refuse_changed_content(asset, made)
    )
    return _content_path(asset, folder)


def download_once(
    client: "MLClient", uri: str, folder: Path, check: Callable[[Path], None] = lambda _: None
) -> None:
    """Download a datastore path into a folder, unless the folder exists.

    Parameters
    ----------
    check
        Called with the folder before it is renamed; an exception discards it.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    # an interrupted download must not look complete
    with TemporaryDirectory(dir=folder.parent, prefix="part-") as partial:
        download_uri(client, uri, Path(partial) / "made")
        check(Path(partial) / "made")
        _rename_unless_exists(Path(partial) / "made", folder)


def download_uri(client: "MLClient", uri: str, target: Path) -> None:
    """Download a datastore path into a folder.

    Raises
    ------
    OperationError
        If the path is not in a datastore or is empty, or Azure refuses.
    """
    # Azure's own documentation uses this function; there is no public one.
    from azure.ai.ml._artifacts._artifact_utilities import download_artifact_from_aml_uri

    if not uri.startswith("azureml://"):
        raise OperationError(
            f"{uri.split('?', maxsplit=1)[0]} is not in a datastore of the workspace: read it "
            "through the catalog, as filepath: abfs://..."
        )
    with azure_errors(f"downloading {uri}"):
        download_artifact_from_aml_uri(uri, str(target), client.datastores)
    if not target.is_dir():
        raise OperationError(f"downloading {uri}: the path is empty.")


def download_address(env: str, uri: str, target: Path) -> Path:
    """Download a datastore path into a folder and return its file or folder.

    Raises
    ------
    OperationError
        As ``download_uri``.
    """
    folder = target / "made"
    download_uri(workspace(env), uri, folder)
    file = folder / PurePosixPath(uri).name
    return file if file.is_file() and not uri.endswith("/") else folder


def download_output(client: "MLClient", run: str, port: str, target: Path) -> bool:
    """Download an output of a step into ``<target>/<port>``; False if there is none.

    Parameters
    ----------
    run
        The name of the step's own job.

    Raises
    ------
    OperationError
        If Azure refuses.
    """
    target.mkdir(parents=True, exist_ok=True)
    with _downloaded(client, run, target, output_name=port) as folder:
        downloaded = folder / _OUTPUTS / port
        if not downloaded.is_dir():
            return False
        shutil.rmtree(target / port, ignore_errors=True)
        downloaded.rename(target / port)
    return True


def read_log(client: "MLClient", run: str) -> str:
    """Return the log of a step, empty if there is none.

    Raises
    ------
    OperationError
        If Azure refuses.
    """
    with _downloaded(client, run) as folder:
        logs = sorted(folder.glob(_LOGS))
        return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)


@contextmanager
def _downloaded(
    client: "MLClient", run: str, parent: Path | None = None, **options: Any
) -> Iterator[Path]:
    """Download to a temporary folder: an interrupted download is never mistaken for an output."""
    logger = logging.getLogger("azure.ai.ml.operations._job_operations")
    logger.setLevel(logging.WARNING)  # it would log the storage of each output
    with TemporaryDirectory(dir=parent, prefix="part-") as folder:
        with azure_errors(f"downloading the output of {run}"):
            try:
                client.jobs.download(run, download_path=folder, **options)
            except (AttributeError, TypeError):  # azure-ai-ml 1.35 cannot locate models
                if "output_name" not in options:
                    raise
                _download_model(client, run, options["output_name"], Path(folder))
        yield Path(folder)


def _download_model(client: "MLClient", run: str, port: str, folder: Path) -> None:
    run = client.jobs.get(run).properties.get("azureml.reusedrunid", run)
    uri = _DEFAULT_OUTPUT_URI.format(run=run, port=port)
    download_uri(client, uri, folder / _OUTPUTS / port)


def _rename_unless_exists(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:  # another process was faster
        if not folder.is_dir():
            raise


def _refuse_changed_content(asset: "Data", folder: Path) -> None:
    expected = (asset.tags or {}).get(DIGEST)
    if expected and content_digest(_content_path(asset, folder)) != expected:
        raise OperationError(
            f"The data asset {asset.name}:{asset.version} differs from the registered content: its "
            "storage was changed. Register the data again under another name."
        )


def _content_path(asset: "Data", folder: Path) -> Path:
    is_file = asset.type == "uri_file"
    return folder / PurePosixPath(str(asset.path)).name if is_file else folder
