"""A stand-in for Azure on loopback, for tests: the unchanged azure-ai-ml client talks to it.

It is a test double. It answers the requests this project's verbs make, keeps what it is sent in
dictionaries, runs submitted pipeline jobs on this machine, and refuses what it does not know: such
a request is answered with 501 and noted in ``refused``.

What it leaves out: roles (every token of the one service principal may do all), soft delete,
paging, retention, images and conda (a step runs in the environment of the tests), mounts (inputs
and outputs are folders, for Spark's mode ``direct`` too), several nodes (a distributed step runs
once, and what it asked for is in ``steps``), reuse of earlier steps, jobs that are no pipelines,
and the runs that a schedule would start.

What it does as the service does, and is easily overlooked: the log that ``jobs.stream`` prints of a
pipeline names the steps and their verdict, not what they printed; its error names the failed steps,
not why they failed. Both are found with the steps: ``jobs.list(parent_job_name=...)`` and
``jobs.download(step)``, which brings ``artifacts/user_logs/std_log.txt``.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from operation.tests.azure import login, variables
from operation.tests.azure.certificates import trust, write_certificates
from operation.tests.azure.endpoints import HOST, Endpoints
from operation.tests.azure.jobs import Jobs
from operation.tests.azure.kinds import Body
from operation.tests.azure.messages import Answer, Request
from operation.tests.azure.models import Registries
from operation.tests.azure.places import Places
from operation.tests.azure.proxy import Fault, Proxy
from operation.tests.azure.resources import Resources
from operation.tests.azure.runs import Runs
from operation.tests.azure.steps import Step
from operation.tests.azure.storage import Storage
from operation.tests.azure.subscription import Subscription

__all__ = ["StandIn", "Step"]

_HOSTS = [
    "management.azure.com",
    "login.microsoftonline.com",
    "*.blob.core.windows.net",
    "*.api.azureml.ms",
    f"*.{HOST}",
]


class StandIn:
    """Azure with one subscription, one resource group and, unless told otherwise, one workspace.

    Parameters
    ----------
    folder
        Where certificates and the folders of jobs are written: an empty, temporary one.
    tracking_uri
        MLflow's store. If given, each job gets a run there and each step a nested one.
    workspace
        Whether the workspace and its datastores exist from the start.
    identity
        Whether steps reach the stand-in too, as the managed identity of their cluster.

    Attributes
    ----------
    environment
        Variables that lead the Azure clients here. The polling interval among them is read once,
        when azure.ai.ml is imported.
    subscription, resource_group, workspace
        The ids of the one workspace.
    resources
        ARM id -> body.
    blobs
        "account/container/path/of/the/blob" -> content; put test data here.
    uploads
        Keys of the blobs that were put over the wire since the last ``forget``.
    requests
        All requests: ``method``, ``host``, ``path``, ``query``, ``headers``, ``body``, ``status``.
    refused
        What was asked for and is not known here.
    quota
        Name of a family of machines -> how many cores there may be.
    steps
        Name of a step -> what it asked for and how it went, in the latest job that has run it.
    endpoints
        What is deployed and runs, and how it is made to fail.
    """

    subscription = "33333333-3333-3333-3333-333333333333"
    resource_group = "stand-in"
    workspace = "stand-in"

    def __init__(
        self,
        folder: Path,
        tracking_uri: str | None = None,
        *,
        workspace: bool = True,
        identity: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority, certificate = write_certificates(folder, _HOSTS)
        self._changed = threading.Condition(threading.RLock())
        self._proxy = Proxy(certificate, _HOSTS, self._answer)
        way = variables.way(self._proxy.server_port, authority)
        self.environment = way | variables.principal() | variables.POLLING
        self._storage, self._runs = Storage(), Runs(self._changed)
        self._resources = Resources(self._on_put)
        self._registries = Registries(self._resources)
        around = Subscription(self._resources)
        places = Places(self._resources, self._storage)
        self.endpoints = Endpoints(self._resources, places, folder / "endpoints")
        self._jobs = Jobs(
            self._resources,
            places,
            self._runs,
            self._changed,
            folder / "jobs",
            tracking_uri,
            way | variables.managed_identity(self._proxy.server_port) if identity else {},
        )
        self.resources, self.steps, self.quota = self._resources.all, self._jobs.steps, around.quota
        self.blobs, self.uploads = self._storage.blobs, self._storage.uploads
        self.requests, self.refused = self._proxy.requests, self._proxy.refused
        group = f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
        around.create_group(group, "westeurope")
        if workspace:
            around.create_workspace(group, self.workspace, "westeurope")

    def __enter__(self) -> Self:
        self._proxy.start()
        trust(Path(self.environment["SSL_CERT_FILE"]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._jobs.stop()
        self._proxy.stop()
        self.endpoints.stop()

    def fail(self, method: str, pattern: str, status: int, times: int = 1) -> None:
        """Answer the next requests whose host and path match the expression with this status."""
        self._proxy.faults.append(Fault(method, pattern, status, times))

    def drop(self, method: str, pattern: str, times: int = 1) -> None:
        """Cut the line in the middle of the next requests whose host and path match."""
        self._proxy.faults.append(Fault(method, pattern, None, times))

    def forget(self) -> None:
        """Start ``uploads`` and ``requests`` anew."""
        self.uploads.clear()
        self.requests.clear()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep jobs running, without starting their next step, until released."""
        self._jobs.held = True
        try:
            yield
        finally:
            self._jobs.release()

    @property
    def reports_models(self) -> bool:
        """Whether run history tells of models among outputs, as it may do; see the tests."""
        return self._runs.reports_models

    @reports_models.setter
    def reports_models(self, does: bool) -> None:
        self._runs.reports_models = does

    def _answer(self, request: Request) -> Answer:
        with self._changed:
            if request.host == "management.azure.com":
                return self._resources.answer(request)
            if request.host.endswith(".blob.core.windows.net"):
                return self._storage.answer(request)
            if request.host.endswith(".api.azureml.ms") and Registries.knows(request):
                return self._registries.answer(request)
            if request.host.endswith(".api.azureml.ms"):
                return self._runs.answer(request)
            if request.host.endswith(HOST):
                return self.endpoints.answer(request)
            return login.answer(request)

    def _on_put(self, id: str, body: Body) -> None:
        if body["type"] == "jobs":
            self._jobs.submit(id, body["properties"])
