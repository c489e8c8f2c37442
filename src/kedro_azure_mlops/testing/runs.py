"""Run history in api.azureml.ms: the client's requests about running jobs."""

import re
import threading
from dataclasses import dataclass, field
from typing import Any

from kedro_azure_mlops.testing import login
from kedro_azure_mlops.testing.messages import Answer, NotKnownError, Request, ServiceError

TERMINAL = {"Completed", "Failed", "Canceled"}
_MODELS = {
    "mlflow_model": "MLFlowModel",
    "custom_model": "CustomModel",
    "triton_model": "TritonModel",
}


@dataclass
class Output:
    """A named output: its type and the URI of its files."""

    type: str
    uri: str


@dataclass
class Run:
    """A pipeline job or one of its steps."""

    id: str
    display_name: str
    experiment: str
    parent: "Run | None" = None
    status: str = "Queued"
    error: dict[str, Any] | None = None
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    compute: str | None = None
    finalized: bool = False

    def body(self) -> dict[str, Any]:
        """Return the run in the format of run history."""
        return {
            "runId": self.id,
            "displayName": self.display_name,
            "experimentId": self.experiment,
            "parentRunId": self.parent and self.parent.id,
            "rootRunId": self.parent.id if self.parent else self.id,
            "status": self.status,
            "tags": self.tags,
            "properties": self.properties,
            "compute": {"target": self.compute} if self.compute else None,
            "createdUtc": "2026-11-21T00:00:00Z",
        }

    def asset(self, name: str) -> str:
        """Return the asset id of an output."""
        return f"azureml://locations/westeurope/runs/{self.id}/outputs/{name}"


class Runs:
    """All runs by id; ``changed`` is notified of every status change."""

    # The client does not need this for models: it falls back to their default location, and 1.35.2
    # fails to parse the answer to its own request. The service's real behaviour is unknown.
    reports_models = False

    def __init__(self, changed: threading.Condition) -> None:
        self.all: dict[str, Run] = {}
        self._changed = changed

    def set_status(self, run: Run, status: str) -> None:
        """Set a status and notify the waiting threads."""
        with self._changed:
            run.status = status
            self._changed.notify_all()

    def answer(self, request: Request) -> Answer:
        """Answer one request.

        Raises
        ------
        NotKnownError
            For a route that is not supported yet.
        """
        if request.path == "/discovery":
            base = f"https://{request.host}"
            return Answer(body={"api": base, "history": base, "modelmanagement": base})
        login.check(request)
        if request.path.endswith("/batchGetResolvedUris"):
            return Answer(body={"values": self._resolved(request)})
        if request.path.endswith("/rundata"):
            return self._answer_about(request, request.json()["runId"], "rundata")
        match = re.search(r"/runs/([^/]+)(?:/(details|children))?$", request.path)
        if match and request.method in {"GET", "PATCH"}:
            return self._answer_about(request, match[1], match[2] or request.method)
        raise NotKnownError(request.url)

    def _answer_about(self, request: Request, id: str, part: str) -> Answer:
        run = self.all.get(id)
        if run is None:
            raise ServiceError(404, f"Run {id} was not found.")
        if part == "PATCH":
            change = request.json()
            run.tags |= change.get("tags") or {}
            run.properties |= change.get("properties") or {}
            run.display_name = change.get("displayName") or run.display_name
        if part == "children":
            children = [child.body() for child in list(self.all.values()) if child.parent is run]
            return Answer(body={"value": children})
        if part == "details":
            return Answer(body=self._details(run))
        body = run.body() | {"outputs": self._outputs(run)}
        return Answer(body={"runMetadata": body} if part == "rundata" else body)

    def _outputs(self, run: Run) -> dict[str, dict[str, str]]:
        return {
            name: {"assetId": run.asset(name), "type": _MODELS.get(output.type, output.type)}
            for name, output in run.outputs.items()
            if self.reports_models or output.type not in _MODELS
        }

    def _details(self, run: Run) -> dict[str, Any]:
        """Delay the answer while nothing changes, so that clients do not poll in a tight loop."""
        if run.status not in TERMINAL:
            self._changed.wait(timeout=0.2)
        body = {"runId": run.id, "status": run.status, "logFiles": run.logs, "tags": run.tags}
        # The service reports Finalizing before the end; without it the client cuts the logs short.
        if run.status in {"Completed", "Failed"} and not run.finalized:
            run.finalized = True
            return body | {"status": "Finalizing"}
        return body | ({"error": {"error": run.error}} if run.error else {})

    def _resolved(self, request: Request) -> dict[str, Any]:
        key = "path" if "/modelregistry/" in request.path else "uri"
        known = {
            run.asset(name): {key: output.uri, "type": output.type}
            for run in list(self.all.values())
            for name, output in run.outputs.items()
        }
        return {asset: known[asset] for asset in request.json()["values"] if asset in known}
