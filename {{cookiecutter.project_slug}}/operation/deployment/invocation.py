"""What is sent to an endpoint when people try it, and the answer as a table."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operation.azureml.cloud.assets import register_data
from operation.azureml.utils import azure_errors
from operation.deployment.artifact import BUILD
from operation.deployment.batch import READINGS
from operation.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.ai.ml import MLClient

_MOST_ROWS = 20_000
_SHOWN = 5
_COLUMNS = ("timestamp", "sensor_id", "score", "is_anomaly")


def newest_readings(root: Path, env: str, say: "Callable[[str], None]") -> bytes:
    """Make a request of the newest readings of the environment's raw file, with their history.

    If there are too many for a request the newest are sent, and that is said.

    Raises
    ------
    ProjectError
        If there is no such file.
    """
    import pandas as pd
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from {{ cookiecutter.package_name }}.schemas import parse_times
    from {{ cookiecutter.package_name }}.scoring.features import look_back_days

    bootstrap_project(root)
    logging.getLogger("kedro").setLevel(logging.WARNING)
    with KedroSession.create(project_path=root, env=env) as session:
        context = session.load_context()
        raw = context.catalog.load("raw_temperatures")
        days = look_back_days(context.params["features"].seasonal_halflife_days)
    times = parse_times(raw["timestamp"])
    rows = raw[times > times.max() - pd.Timedelta(days=days)]
    if len(rows) > _MOST_ROWS:
        say(
            f"the last {days} days, which scores depend on, hold {len(rows):,} readings: only the "
            f"newest {_MOST_ROWS:,} are sent"
        )
    rows = rows.assign(time=times).sort_values("time", kind="stable").tail(_MOST_ROWS)
    data = rows[["timestamp", "sensor_id", "temperature"]].to_dict("records")
    return json.dumps({"data": data}).encode()


def read_body(file: Path) -> bytes:
    """Read a file that is to be sent as it is.

    Raises
    ------
    OperationError
        If there is no such file.
    """
    if not file.is_file():
        raise OperationError(f"There is no file {file} to send.")
    return file.read_bytes()


def table(body: Any) -> list[str]:
    """Write the newest scores of each sensor of an answer, and which model gave them."""
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        return [json.dumps(body)]
    by_sensor: dict[str, list[Any]] = {}
    for row in body["data"]:
        by_sensor.setdefault(row["sensor_id"], []).append(row)
    shown = [row for rows in by_sensor.values() for row in rows[-_SHOWN:]]
    cells = [[str(row[column]) for column in _COLUMNS] for row in shown]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *cells, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(_COLUMNS), *cells]
    ]
    flagged = sum(bool(row["is_anomaly"]) for row in body["data"])
    model = body["model"]
    return [
        *lines,
        f"{len(body['data'])} readings, {flagged} flagged, the last {_SHOWN} of each sensor are "
        f"shown; model {model['version']}, {model['digest'][:12]}",
    ]


def start_batch(
    client: "MLClient", endpoint: str, root: Path, given: str, say: "Callable[[str], None]"
) -> str:
    """Send files to the batch endpoint and return the name of the job that scores them.

    Parameters
    ----------
    given
        A local file or folder, a data asset ``azureml:name:version`` or another address of a
        folder.

    Raises
    ------
    OperationError
        If there is nothing to send, or Azure refuses.
    """
    from azure.ai.ml import Input

    path = given if ":" in given else _uploaded(client, root, Path(given), say)
    with azure_errors(f"starting a job of {endpoint}"), _headers_of_its_own():
        job = client.batch_endpoints.invoke(
            endpoint, inputs={READINGS: Input(type="uri_folder", path=path)}
        )
    return str(job.name)


def _uploaded(client: "MLClient", root: Path, local: Path, say: "Callable[[str], None]") -> str:
    if local.is_file():  # the endpoint takes folders
        folder = root / BUILD / "readings"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        local = Path(shutil.copy(local, folder)).parent
    made = register_data(client, "new_readings", local.resolve(), "uri_folder", say)
    return made.reference


@contextmanager
def _headers_of_its_own() -> Iterator[None]:
    """Keep what azure-ai-ml 1.35 puts into its headers out of its next request."""
    from azure.ai.ml.constants._endpoint import EndpointInvokeFields

    kept = dict(EndpointInvokeFields.DEFAULT_HEADER)
    try:
        yield
    finally:
        EndpointInvokeFields.DEFAULT_HEADER.clear()
        EndpointInvokeFields.DEFAULT_HEADER.update(kept)
