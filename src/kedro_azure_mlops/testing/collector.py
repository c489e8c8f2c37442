"""The data collector of an online deployment: its settings and the events it stores.

As in the service, the collections ``request`` and ``response`` receive whole bodies; others are
filled by the entry script, which this test double does not run. Events are stored in the
workspace's blob container as JSON lines, in one folder per hour.
"""

import json
import uuid
from datetime import UTC, datetime

from kedro_azure_mlops.testing.messages import NotKnownError, ServiceError
from kedro_azure_mlops.testing.resources import Body
from kedro_azure_mlops.testing.storage import Places

MOST_COLLECTIONS = 5  # in addition to those for whole bodies
PAYLOADS = ("request", "response")
_COLLECTOR_KEYS = {"collections", "rollingRate", "requestLogging"}
_COLLECTION_KEYS = {"dataCollectionMode", "samplingRate", "dataId", "clientId"}
_FORMATS = {"minute": "%Y/%m/%d/%H/%M", "hour": "%Y/%m/%d/%H", "day": "%Y/%m/%d"}
_PLACE = "azureml://datastores/workspaceblobstore/paths/modelDataCollector"


def check(collector: Body) -> None:
    """Check a deployment's ``dataCollector`` as the service does.

    Raises
    ------
    ServiceError
        400, for an invalid value.
    NotKnownError
        For a key that is not supported yet.
    """
    collections: dict[str, Body] = collector.get("collections") or {}
    unknown = {key for one in collections.values() for key in one} - _COLLECTION_KEYS
    unknown |= set(collector) - _COLLECTOR_KEYS
    if unknown:
        raise NotKnownError(f"dataCollector with {', '.join(sorted(unknown))}")
    if not collections:
        raise ServiceError(400, "The data collector has no collections.")
    if len(set(collections) - set(PAYLOADS)) > MOST_COLLECTIONS:
        raise ServiceError(400, f"At most {MOST_COLLECTIONS} collections are for custom logging.")
    for name, one in collections.items():
        if str(one.get("dataCollectionMode")).lower() not in {"enabled", "disabled"}:
            raise ServiceError(400, f"The collection {name} is neither enabled nor disabled.")
        if not 0 <= one.get("samplingRate", 1.0) <= 1:
            raise ServiceError(400, f"The sampling rate of {name} is not between 0 and 1.")
    if str(collector.get("rollingRate", "hour")).lower() not in _FORMATS:
        raise ServiceError(400, f"There is no rolling rate {collector['rollingRate']}.")


class Collected:
    """Stores the bodies of one deployment's requests and answers.

    Sampling is deterministic: the same requests in the same order give the same sample.
    """

    def __init__(self, places: Places, deployment: str, collector: Body) -> None:
        self._places = places
        self._workspace, _, inside = deployment.partition("/onlineEndpoints/")
        self._source, self._names = deployment, inside.replace("/deployments/", "/")
        self._collections: dict[str, Body] = collector["collections"]
        self._format = _FORMATS[str(collector.get("rollingRate", "hour")).lower()]
        self._instance, self._seen = uuid.uuid4(), 0

    def keep(self, bodies: dict[str, bytes], request_id: str) -> None:
        """Store the bodies of a request and its answer, by the names of their collections."""
        self._seen += 1
        for name, body in bodies.items():
            one = self._collections.get(name, {"dataCollectionMode": "disabled"})
            rate = one.get("samplingRate", 1.0)
            is_sampled = int(self._seen * rate) > int((self._seen - 1) * rate)
            if str(one["dataCollectionMode"]).lower() == "enabled" and is_sampled:
                self._append(name, body, request_id)

    def _append(self, collection: str, body: bytes, request_id: str) -> None:
        now = datetime.now(UTC)
        event = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": self._source,
            "type": f"azureml.inference.{collection}",
            "datacontenttype": "application/json",
            "time": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "data": _json(body),
            "path": "/score",
            "method": "POST",
            "contentrange": f"bytes 0-{max(len(body) - 1, 0)}/{len(body)}",
            "correlationid": request_id,
            "xrequestid": request_id,
        }
        folder = f"{_PLACE}/{self._names}/{collection}/{now.strftime(self._format)}"
        place = f"{folder}/{self._instance}.jsonl"
        self._places.append(self._workspace, place, json.dumps(event) + "\n")


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
