"""Download the answers of an endpoint that Azure's data collector has stored.

The collector writes lines of JSON into the workspace's blob container, a folder for each endpoint,
deployment, collection and hour. They are converted to the files of a project's own servers (see
``serve.parts``), so that ``monitor.served`` reads both.
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.config import deployment_of
from kedro_azure_mlops.contract import Schema, columns_of_rows
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve.collector import INPUTS, OUTPUTS
from kedro_azure_mlops.serve.parts import LINES, Answered, Form
from kedro_azure_mlops.serve.request import BadRequestError, Reader

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

FOLDER = "build/collected"
STORE, PLACE = "workspaceblobstore", "modelDataCollector"
_REQUEST_COLLECTIONS, _ANSWER_COLLECTIONS = ("request", INPUTS), ("response", OUTPUTS)
_NAME = re.compile(r"/([^/]+)/([^/]+)/(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+\.jsonl$")
_HOUR = pd.Timedelta("1h")


@dataclass
class _Collected:
    """The answers read so far, by hour and model, and the counts of those left out."""

    schema: Schema
    answers: dict[tuple[str, str, tuple[str, ...]], list[Answered]] = field(default_factory=dict)
    too_large: int = 0
    unreadable: int = 0
    files: int = 0
    rows: int = 0

    def add(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Add a request and its answer, unless the answer is an error."""
        try:
            parsed = self._read(request, answer)
        except (BadRequestError, KeyError, TypeError, ValueError):
            self.unreadable += 1
            return
        if parsed is not None:
            digest, left_out, answered = parsed
            hour = pd.Timestamp(answered.at).strftime("%Y-%m-%d/%H")
            self.answers.setdefault((hour, digest, left_out), []).append(answered)
            self.rows += answered.rows

    def _read(
        self, request: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> tuple[str, tuple[str, ...], Answered] | None:
        sent, returned = _data(request), _data(answer)
        left_out: tuple[str, ...] = ()
        if isinstance(returned, dict):  # whole bodies
            if "error" in returned:
                return None
            digest, answers, seconds = returned["model"]["digest"], returned["data"], math.nan
            columns = Reader(self.schema).check(sent["data"]).columns
        else:
            digest, answers = returned[0]["model_digest"], returned
            seconds = returned[0].get("latency_ms", math.nan) / 1e3
            declared = (*self.schema.inputs, *self.schema.outputs)
            present = {*sent[0], *returned[0]}
            left_out = tuple(one.name for one in declared if one.name not in present)
            inputs = [one for one in self.schema.inputs if one.name not in left_out]
            columns = columns_of_rows(sent, inputs)
        outputs = [[row.get(one.name) for row in answers] for one in self.schema.outputs]
        if len(answers) != len(next(iter(columns.values()))):
            raise ValueError
        at = pd.Timestamp(str(request["time"])).tz_convert("UTC").value
        answered = Answered(at, _id_of(request), seconds, len(answers), columns, outputs)
        return digest, left_out, answered

    def write(self, folder: Path) -> None:
        """Write a file for each hour, model and set of columns."""
        for number, ((hour, digest, left_out), answers) in enumerate(sorted(self.answers.items())):
            file = folder / f"{hour}-azure-{number}{LINES}"
            file.parent.mkdir(parents=True, exist_ok=True)
            form = Form(self.schema, digest, left_out)
            file.write_bytes(b"".join(form.line([one]) for one in answers))


def _id_of(event: Mapping[str, Any]) -> str:
    """Return the id that a request shares with its answer, if the event has one."""
    return str(event.get("correlationid") or event.get("xrequestid") or event.get("id"))


def collect_answers(
    env: str,
    schema: Schema,
    *,
    since: pd.Timestamp,
    root: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Download the answers that the endpoint of an environment gave, and return their folder.

    Parameters
    ----------
    schema
        The model's schema; rows with different columns are left out and counted.
    since
        The time of the oldest answers, in UTC unless it has a zone; whole hours are downloaded.
    say
        Called with a sentence about the downloaded rows, and about those left out.

    Returns
    -------
    The folder, ``build/collected/ENV``, for ``monitor.served.read_served``; empty without answers.

    Raises
    ------
    OperationError
        If the environment names no endpoint, no answers were ever collected, or Azure refuses.

    References
    ----------
    https://learn.microsoft.com/azure/machine-learning/how-to-collect-production-data
    """
    root = root or Path.cwd()
    endpoint = deployment_of(root, env).endpoint
    since = since.tz_localize("UTC") if since.tzinfo is None else since.tz_convert("UTC")
    oldest, collected = f"{since:%Y-%m-%d %H:%M} UTC", _Collected(schema)
    unpaired: dict[tuple[str, str], dict[bool, Any]] = {}
    prefix = f"{PLACE}/{endpoint}/"
    with azure_errors(f"downloading the answers of {endpoint}"):
        for deployment, collection, event in _events(
            workspace(env, root), prefix, since, collected
        ):
            if collection not in (*_REQUEST_COLLECTIONS, *_ANSWER_COLLECTIONS):
                continue
            if str(event.get("datainblob", "")).lower() == "true":
                collected.too_large += 1
                continue
            # a request and its answer may be in the files of different hours
            key = deployment, _id_of(event)
            pair = unpaired.setdefault(key, {})
            pair[collection in _ANSWER_COLLECTIONS] = event
            if len(pair) == 2:
                collected.add(pair[False], pair[True])
                del unpaired[key]
    if not collected.files:
        raise OperationError(
            f"Azure's data collector has stored no answers of {endpoint}. To have it store them, "
            f"set recording.enabled in mlops.yml of {env} and deploy again."
        )
    folder = root / FOLDER / env
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    collected.write(folder)
    say(f"{collected.rows:,} rows that {endpoint} answered since {oldest}")
    for count, why in (
        (len(unpaired), "requests or answers have no counterpart"),
        (collected.too_large, "are too large for a line of the collector"),
        (collected.unreadable, "belong to a model with different columns, or cannot be read"),
    ):
        if count:
            say(f"left out: {count:,} {why}")
    return folder


def _events(
    client: "MLClient", prefix: str, since: pd.Timestamp, collected: _Collected
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the deployment, collection and event of each line of an endpoint since an hour."""
    # `az ml` downloads this way; the client has no public method to list a datastore
    from azure.ai.ml._artifacts._artifact_utilities import get_datastore_info
    from azure.ai.ml._utils._storage_utils import get_storage_client

    store = get_storage_client(**get_datastore_info(client.datastores, STORE)).container_client
    for name in sorted(blob.name for blob in store.list_blobs(name_starts_with=prefix)):
        match = _NAME.search(f"/{name.removeprefix(prefix)}")
        if match is None:
            continue
        collected.files += 1
        deployment, collection, *day, hour = match.groups()
        if pd.Timestamp(f"{'-'.join(day)}T{hour}:00", tz="UTC") + _HOUR <= since:
            continue
        for line in store.download_blob(name).readall().splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # still being written
                continue
            if isinstance(event, dict):
                yield deployment, collection, event


def _data(event: Mapping[str, Any]) -> Any:
    """Return the data of an event, which Azure stores as text if its type is unknown."""
    data = event["data"]
    return json.loads(data) if isinstance(data, str) else data
