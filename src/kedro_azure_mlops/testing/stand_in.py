"""A stand-in for Azure on loopback, for tests: the unchanged azure-ai-ml client connects to it.

It is a test double. It answers the requests of the plugin's commands, keeps all data in
dictionaries, and runs submitted pipeline jobs on this machine. It answers unsupported requests with
501 and lists them in ``refused``.

Not covered: roles (every token of the one service principal has all permissions), soft delete,
paging, retention, images and conda (a step runs in the environment of the tests), mounts (inputs
and outputs are folders, even in Spark's mode ``direct``), multiple nodes (a distributed step runs
once; ``steps`` has the resources it requested), reuse of earlier steps, jobs that are not
pipelines, and the runs that a schedule would start.

As in the service, and easily overlooked: for a pipeline, ``jobs.stream`` prints the steps and their
results, not their output, and its error names the failed steps, not why they failed. Find both in
the steps: ``jobs.list(parent_job_name=...)`` and ``jobs.download(step)``, which writes
``artifacts/user_logs/std_log.txt``.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kedro_azure_mlops.testing import kubernetes, login
from kedro_azure_mlops.testing.endpoints import HOST, Endpoints
from kedro_azure_mlops.testing.jobs import Jobs
from kedro_azure_mlops.testing.messages import Answer, Request
from kedro_azure_mlops.testing.proxy import Fault, Proxy, trust, write_certificates
from kedro_azure_mlops.testing.registries import Registries
from kedro_azure_mlops.testing.resources import ML, Body, Resources
from kedro_azure_mlops.testing.runs import Runs
from kedro_azure_mlops.testing.storage import Places, Storage
from kedro_azure_mlops.testing.subscription import Subscription

if TYPE_CHECKING:
    import pytest
    from azure.ai.ml import MLClient

# created by `make_compute`
ENVIRONMENT = "azureml:small:1"
CLUSTER = "azureml:cpu-cluster"
_HOSTS = [
    "management.azure.com",
    "login.microsoftonline.com",
    "*.blob.core.windows.net",
    "*.api.azureml.ms",
    f"*.{HOST}",
    f"*.{kubernetes.HOST}",
]


class StandIn:
    """Azure with one subscription, one resource group and, by default, one workspace.

    Parameters
    ----------
    folder
        An empty temporary folder for certificates and the folders of jobs.
    tracking_uri
        MLflow's store. If given, each job gets a run there and each step a nested one.
    workspace
        Whether the workspace and its datastores exist from the start.
    identity
        Whether steps can reach the stand-in too, as the managed identity of their cluster.

    Attributes
    ----------
    environment
        Variables that direct the Azure clients to the stand-in. They include the polling interval,
        which is read only when azure.ai.ml is imported.
    subscription, resource_group, workspace
        The ids of the one workspace.
    resources
        ARM id -> body.
    blobs
        "account/container/path/of/the/blob" -> content; put test data here.
    uploads
        Keys of the blobs uploaded over the wire since the last ``forget``.
    requests
        All requests: ``method``, ``host``, ``path``, ``query``, ``headers``, ``body``, ``status``.
    refused
        The unsupported requests.
    quota
        Name of a family of machines -> its core limit.
    steps
        Name of a step -> its definition and result in the latest job that ran it.
    endpoints
        The running deployments, with switches to make them fail.
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
        proxy_variables = login.way(self._proxy.server_port, authority)
        self.environment = proxy_variables | login.principal() | login.POLLING
        self._storage, self._runs = Storage(), Runs(self._changed)
        self._resources = Resources(self._on_put)
        self._registries = Registries(self._resources)
        self._subscription = Subscription(self._resources)
        places = Places(self._resources, self._storage)
        self.endpoints = Endpoints(self._resources, places, folder / "endpoints")
        self._jobs = Jobs(
            self._resources,
            places,
            self._runs,
            self._changed,
            folder / "jobs",
            tracking_uri,
            proxy_variables | login.managed_identity(self._proxy.server_port) if identity else {},
        )
        self.resources, self.steps, self.quota = (
            self._resources.all,
            self._jobs.steps,
            self._subscription.quota,
        )
        self.blobs, self.uploads = self._storage.blobs, self._storage.uploads
        self.requests, self.refused = self._proxy.requests, self._proxy.refused
        self._subscription.create_group(self.group, "westeurope")
        if workspace:
            self.add_workspace(self.resource_group, self.workspace)

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

    @property
    def group(self) -> str:
        """The ARM id of the resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"

    def add_workspace(self, resource_group: str, name: str, location: str = "westeurope") -> None:
        """Create another workspace, such as the one that a project's ``azureml.yml`` names."""
        group = f"/subscriptions/{self.subscription}/resourceGroups/{resource_group}"
        self._subscription.create_group(group, location)
        self._subscription.create_workspace(group, name, location)

    def attach_kubernetes(self, name: str, types: dict[str, tuple[str, str]] | None = None) -> None:
        """Attach a Kubernetes cluster; ``types`` maps extra instance types to CPU and memory."""
        cluster = f"{self.group}/providers/Microsoft.ContainerService/managedClusters/{name}"
        id = f"{self.group}{ML}/workspaces/{self.workspace}/computes/{name}"
        self._resources.put(id, kubernetes.attached(cluster, types=types))

    def lead(self, patch: "pytest.MonkeyPatch") -> None:
        """Direct the Azure clients of this process to the stand-in until the patch is undone.

        Removes the variables of the developer's own sign-in, and the pauses between retries.
        """
        for name in [name for name in os.environ if name.startswith("AZURE")]:
            patch.delenv(name)
        for name, value in self.environment.items():
            patch.setenv(name, value)
        patch.setenv("AZURE_SUBSCRIPTION_ID", self.subscription)
        with warnings.catch_warnings():  # azure-ai-ml warns about its own dependencies
            warnings.simplefilter("ignore")
            import azure.ai.ml  # noqa: F401, reads one of these variables
        without_pauses(patch)

    def fail(self, method: str, pattern: str, status: int, times: int = 1) -> None:
        """Answer the next requests whose host and path match the expression with this status."""
        self._proxy.faults.append(Fault(method, pattern, status, times))

    def drop(self, method: str, pattern: str, times: int = 1) -> None:
        """Cut the connection during the next requests whose host and path match the expression."""
        self._proxy.faults.append(Fault(method, pattern, None, times))

    def forget(self) -> None:
        """Empty ``uploads`` and ``requests``."""
        self.uploads.clear()
        self.requests.clear()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep jobs from starting their next step until the context ends."""
        self._jobs.held = True
        try:
            yield
        finally:
            self._jobs.release()

    @property
    def reports_models(self) -> bool:
        """Return whether run history lists models among outputs, as the service may."""
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
            if request.host.endswith((HOST, kubernetes.HOST)):
                return self.endpoints.answer(request)
            return login.answer(request)

    def _on_put(self, id: str, body: Body) -> None:
        if body["type"] == "jobs":
            self._jobs.submit(id, body["properties"])


def without_pauses(patch: "pytest.MonkeyPatch") -> list[float]:
    """Make the clients retry immediately; return a list of the pauses that are skipped."""
    from azure.core.pipeline.transport import HttpTransport

    pauses: list[float] = []
    patch.setattr(HttpTransport, "sleep", lambda _, duration: pauses.append(duration))
    return pauses


@contextmanager
def connected(azure: StandIn) -> "Iterator[MLClient]":
    """Direct this process to the stand-in and yield a client of its workspace."""
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        azure.lead(patch)
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential

        with DefaultAzureCredential() as credential:
            yield MLClient(credential, azure.subscription, azure.resource_group, azure.workspace)


def make_compute(ml: "MLClient") -> None:
    """Create the cluster and the environment that ``CLUSTER`` and ``ENVIRONMENT`` name."""
    from azure.ai.ml.entities import AmlCompute, Environment

    size: Any = "STANDARD_DS3_V2"
    ml.compute.begin_create_or_update(AmlCompute(name="cpu-cluster", size=size)).result()
    ml.environments.create_or_update(Environment(name="small", version="1", image="debian:12"))
