"""Requests to endpoints: the model's example, a file, the newest rows; and answers as tables."""

import json
import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.assets import register_data
from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.config import bootstrap, deployment_of, read_mlops
from kedro_azure_mlops.contract import Column, Contract, History, Schema, rows_of_columns
from kedro_azure_mlops.deploy.artifact import BUILD, Say, download_contract
from kedro_azure_mlops.deploy.batch import INPUT
from kedro_azure_mlops.deploy.endpoint import OnlineEndpoint
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.values import read_number, read_times

if TYPE_CHECKING:
    import pandas as pd
    from azure.ai.ml import MLClient

_MOST_ROWS = 20_000
_MAX_SHOWN = 5
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Answer:
    """An answer of an endpoint, and the deployment that gave it; ``status`` is the model's own.

    ``contract`` is the model's, if the request was built from it.
    """

    endpoint: str
    deployment: str
    status: int
    body: Any
    contract: Contract | None = None


def invoke(
    env: str,
    root: Path | None = None,
    *,
    request: Path | None = None,
    deployment: str | None = None,
    say: Say = print,
) -> Answer:
    """Send a request to the online endpoint of an environment and return its answer.

    Parameters
    ----------
    request
        A ``.csv`` file, read by the model's schema, or any other file, sent unchanged. By default
        the model's own example is sent.
    deployment
        Call this deployment regardless of its traffic; by default traffic decides.

    Raises
    ------
    OperationError
        If there is no such file, endpoint or deployment, or it cannot be reached.
    """
    root = root or Path.cwd()
    client = workspace(env, root)
    endpoint = OnlineEndpoint(client, deployment_of(root, env), env)
    if request is not None and not request.is_file():
        raise OperationError(f"There is no file {request} to send.")
    contract = None
    if request is not None and request.suffix != ".csv":
        body = request.read_bytes()
    else:
        contract = _contract_of(client, endpoint, deployment)
        rows = read_rows(request, contract.schema, say) if request else contract.example
        body = json.dumps({"data": rows}).encode()
    reply = endpoint.score(body, deployment)
    return Answer(endpoint.name, reply.deployment, reply.status, reply.body, contract)


def invoke_batch(env: str, given: str, root: Path | None = None, *, say: Say = print) -> str:
    """Send files to the batch endpoint of an environment; return the name of the job it starts.

    Parameters
    ----------
    given
        A local file or folder, a data asset ``azureml:name:version`` or another URI of a
        folder.

    Raises
    ------
    OperationError
        If there is nothing to send, or Azure refuses.
    """
    from azure.ai.ml import Input

    root = root or Path.cwd()
    endpoint, client = deployment_of(root, env).batch_endpoint, workspace(env, root)
    path = given if ":" in given else _upload(client, root, Path(given), say)
    with azure_errors(f"starting a job of {endpoint}"), _restored_headers():
        job = client.batch_endpoints.invoke(
            endpoint, inputs={INPUT: Input(type="uri_folder", path=path)}
        )
    say(f"{endpoint} has started the job {job.name}")
    return str(job.name)


def read_rows(file: Path, schema: Schema, say: Say) -> list[dict[str, Any]]:
    """Read a CSV file as the rows of a request, without columns that the model does not use.

    If it has more rows than a request may have, only the last ones are read, and
    this is reported. An empty cell is null. A cell that is not of its column's type stays text: the
    endpoint reports it.

    Raises
    ------
    OperationError
        If it is not a CSV file with the columns of the schema.
    """
    from kedro_azure_mlops.tables.delimited import read_text
    from kedro_azure_mlops.validation import BadDataError

    try:
        table = read_text(lambda: file.open("rb"), str(file))
    except BadDataError as error:
        raise OperationError(str(error)) from error
    _refuse_missing(str(file), list(table.columns), schema)
    cells = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    rows = [dict(zip(table.columns, row, strict=True)) for row in cells]
    if len(rows) > _MOST_ROWS:
        say(f"{file} holds {len(rows):,} rows: only the newest {_MOST_ROWS:,} are sent")
    return [
        {column.name: _value(row[column.name], column) for column in schema.inputs}
        for row in rows[-_MOST_ROWS:]
    ]


def newest_rows(root: Path, env: str, schema: Schema, say: Say) -> list[dict[str, Any]]:
    """Return the newest rows of the monitored data, with the history that they need.

    The data is the catalog entry ``monitoring.data``, else ``tracking.data``. If the schema
    declares a history, its days are returned, otherwise all rows; at most the last ones that a
    request may have. Rows that lack a required value are left out.

    Raises
    ------
    OperationError
        If there is no such entry, it is not a table, it lacks a column of the schema, or a value
        does not have the type of its column.
    """
    import pandas as pd

    from kedro_azure_mlops.serve.batches import columns_of_table

    mlops = read_mlops(root, env)
    entry = mlops.monitoring.data or mlops.tracking.data
    if entry is None:
        raise OperationError("mlops.yml names no data: set monitoring.data to a catalog entry.")
    table = _load(root, env, entry)
    if not isinstance(table, pd.DataFrame):
        raise OperationError(f"{entry} is a {type(table).__name__}, not a DataFrame.")
    _refuse_missing(entry, list(table.columns), schema)
    needed = [column.name for column in schema.inputs if not column.nullable]
    table = table[[column.name for column in schema.inputs]].dropna(subset=needed)
    subject = f"{entry} holds {len(table):,} rows"
    if schema.history:
        table = _newest_with_history(table, schema.history)
        days = f"the last {schema.history.days:g} days, which answers depend on,"
        subject = f"{days} hold {len(table):,} rows"
    if len(table) > _MOST_ROWS:
        say(f"{subject}: only the newest {_MOST_ROWS:,} are sent")
    try:
        newest = columns_of_table(table.tail(_MOST_ROWS), schema)
    except RefusedError as error:
        raise OperationError(f"{entry} cannot be sent to the model: {error}") from error
    return rows_of_columns(newest, schema.inputs)


def format_answer(body: Any, contract: Contract | None = None) -> list[str]:
    """Format the last rows of an answer as a table, with the model that returned them.

    Parameters
    ----------
    contract
        If it declares series, the last rows of each are shown.
    """
    if not isinstance(body, dict) or not isinstance(body.get("data"), list) or not body["data"]:
        return [json.dumps(body)]
    rows, schema = body["data"], contract.schema if contract else None
    by = schema.history.by if schema and schema.history else None
    series: dict[Any, list[Any]] = {}
    for row in rows:
        series.setdefault(row.get(by) if by else None, []).append(row)
    shown = [row for part in series.values() for row in part[-_MAX_SHOWN:]]
    header = list(rows[0])
    cells = [[str(row.get(column)) for column in header] for row in shown]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *cells]
    ]
    total = f"{len(rows):,} rows"
    if schema and schema.flag:
        total += f", {schema.flag} in {sum(row.get(schema.flag) is True for row in rows):,}"
    if len(shown) < len(rows):
        total += f", the last {_MAX_SHOWN} {f'of each {by} ' if by else ''}are shown"
    model = body.get("model") or {}
    return [
        *lines,
        f"{total}; model {model.get('version')}, {str(model.get('digest'))[:12]}",
    ]


def _contract_of(client: "MLClient", endpoint: OnlineEndpoint, name: str | None) -> Contract:
    """Download the contract of a deployment; without a name, of the one with most traffic."""
    state = endpoint.read()
    if not state.traffic and not name:
        raise OperationError(
            f"{endpoint.name} has no deployment with traffic. Run: kedro mlops deploy online "
            f"--env {endpoint.env}"
        )
    name = name or max(state.traffic, key=lambda each: state.traffic[each])
    if name not in state.deployments:
        known = ", ".join(state.deployments) or "none"
        raise OperationError(
            f"{endpoint.name} has no deployment {name}; existing deployments: {known}."
        )
    return download_contract(client, state.deployments[name].tags)


def _value(text: str | None, column: Column) -> Any:
    if text is None or not text.strip():
        return None
    try:
        if column.type == "double":
            number = read_number(text)
            return number if math.isfinite(number) else text
        if column.type == "long":
            read_number(text)  # rejects 1_000 and digits of other scripts
            return int(text)
    except ValueError:
        return text
    return _BOOLEANS.get(text.strip().lower(), text) if column.type == "boolean" else text


def _newest_with_history(table: "pd.DataFrame", history: History) -> "pd.DataFrame":
    """Return the days that the newest rows depend on, in time order.

    Each series keeps at least its newest row and the minimum number of rows before it.
    """
    import pandas as pd

    table = table.reset_index(drop=True)
    times = pd.Series(read_times(table[history.order]).values, table.index)
    times = times.dropna().sort_values(kind="stable")
    table = table.loc[times.index]
    series = table[history.by] if history.by else pd.Series(0, table.index)
    from_the_end = table.groupby(series).cumcount(ascending=False)
    is_recent = times > times.max() - pd.Timedelta(days=history.days)
    return table[is_recent | (from_the_end <= history.rows)]


def _refuse_missing(source: str, header: Sequence[str], schema: Schema) -> None:
    needed = [column.name for column in schema.inputs]
    if missing := [name for name in needed if name not in header]:
        raise OperationError(
            f"{source} has no column {', '.join(missing)}: the model needs {', '.join(needed)}."
        )


def _load(root: Path, env: str, entry: str) -> Any:
    from kedro.framework.session import KedroSession
    from kedro.io import DatasetError

    bootstrap(root)
    logging.getLogger("kedro").setLevel(logging.WARNING)
    try:
        return KedroSession.create(project_path=root, env=env).load_context().catalog.load(entry)
    except DatasetError as error:
        raise OperationError(f"{entry} cannot be loaded: {error}") from error


def _upload(client: "MLClient", root: Path, local: Path, say: Say) -> str:
    if local.is_file():  # the endpoint accepts only folders
        folder = root / BUILD / "batch_input"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        local = Path(shutil.copy(local, folder)).parent
    return register_data(client, "batch_input", local.resolve(), "uri_folder", say).reference


@contextmanager
def _restored_headers() -> Iterator[None]:
    """Restore the shared headers that azure-ai-ml 1.35 changes, before its next request."""
    from azure.ai.ml.constants._endpoint import EndpointInvokeFields

    kept = dict(EndpointInvokeFields.DEFAULT_HEADER)
    try:
        yield
    finally:
        EndpointInvokeFields.DEFAULT_HEADER.clear()
        EndpointInvokeFields.DEFAULT_HEADER.update(kept)
