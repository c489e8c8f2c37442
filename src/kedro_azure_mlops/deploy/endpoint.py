"""An online endpoint: its state, the changes made to it, and its answers."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from kedro_azure_mlops.azure.workspace import azure_errors
from kedro_azure_mlops.config import Deployment
from kedro_azure_mlops.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient, entities

SUCCEEDED = "Succeeded"
CREATED = "created"  # tag of a deployment: its creation time
_DEPLOYMENT = "azureml-model-deployment"
# For any model status other than 200, Azure returns 424 and puts the model's into a header.
_MODEL_STATUS = "ms-azureml-model-error-statuscode"
_CHATTY = "azure.ai.ml.operations._online_deployment_operations"  # logs its checks
_CONNECT_SECONDS = 10
_TRIES = 3


@dataclass(frozen=True)
class Found:
    """A deployment as Azure reports it."""

    name: str
    state: str
    tags: Mapping[str, str]
    created: str


@dataclass(frozen=True)
class State:
    """The state of an endpoint of ``env``; ``traffic`` names only deployments that have some.

    ``compute`` is the attached Kubernetes cluster that serves it; empty for a managed endpoint.
    """

    exists: bool = False
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    deployments: Mapping[str, Found] = field(default_factory=dict)
    env: str = "ENV"
    compute: str = ""


@dataclass(frozen=True)
class Reply:
    """An endpoint's response; ``status`` is the model's own."""

    status: int
    body: Any
    deployment: str


class OnlineEndpoint:
    """The endpoint of one environment.

    All methods raise OperationError if Azure refuses or cannot be reached.
    """

    def __init__(self, client: "MLClient", config: Deployment, env: str) -> None:
        self._client, self.config, self.env = client, config, env
        self.name = str(config.endpoint)
        self._address = ""

    def read(self) -> State:
        """Return the endpoint's state."""
        from azure.core.exceptions import ResourceNotFoundError

        with azure_errors(f"looking up the endpoint {self.name}"):
            try:
                found = self._client.online_endpoints.get(self.name)
            except ResourceNotFoundError:
                # a missing workspace raises the same error, but then this call fails
                self._client.workspaces.get(self._client.workspace_name)
                return State(env=self.env)
            deployments = list(self._client.online_deployments.list(self.name))
        return State(
            exists=True,
            traffic={name: share for name, share in found.traffic.items() if share},
            mirror={name: share for name, share in found.mirror_traffic.items() if share},
            tags=dict(found.tags or {}),
            deployments={each.name: _deployment_of(each) for each in deployments},
            env=self.env,
            compute=str(getattr(found, "compute", None) or "").rsplit("/", 1)[-1],
        )

    def create(self) -> None:
        """Create the endpoint, without a deployment."""
        from azure.ai.ml.entities import KubernetesOnlineEndpoint, ManagedOnlineEndpoint

        endpoint: ManagedOnlineEndpoint | KubernetesOnlineEndpoint
        if cluster := self.config.cluster:
            endpoint = KubernetesOnlineEndpoint(
                name=self.name, compute=cluster.compute, auth_mode=cluster.auth_mode
            )
        else:
            endpoint = ManagedOnlineEndpoint(name=self.name, auth_mode=self.config.auth_mode)
        advice = {
            409: "Another endpoint in the region has this name: change deployment.endpoint in "
            "mlops.yml"
        }
        with azure_errors(f"creating the endpoint {self.name}", advice):
            self._client.online_endpoints.begin_create_or_update(endpoint).result()

    def route(
        self,
        traffic: Mapping[str, int],
        tags: Mapping[str, str],
        mirror: Mapping[str, int] | None = None,
    ) -> None:
        """Set traffic, mirror and tags, in one request."""
        with azure_errors(f"changing the traffic of {self.name} to {format_shares(traffic)}"):
            endpoint = self._client.online_endpoints.get(self.name)
            endpoint.traffic, endpoint.mirror_traffic = dict(traffic), dict(mirror or {})
            endpoint.tags = dict(tags)
            self._client.online_endpoints.begin_create_or_update(endpoint).result()

    def deploy(self, deployment: "entities.OnlineDeployment") -> None:
        """Create a deployment and wait until it is ready."""
        doing = f"creating the deployment {deployment.name}"
        logging.getLogger(_CHATTY).setLevel(logging.WARNING)
        with azure_errors(doing):
            created = self._client.online_deployments.begin_create_or_update(deployment).result()
        if (state := _text_of(created.provisioning_state)) != SUCCEEDED:
            raise OperationError(f"{doing}: Azure reports {state}.")

    def delete(self, name: str) -> None:
        """Delete a deployment."""
        with azure_errors(f"deleting the deployment {name} of {self.name}"):
            self._client.online_deployments.begin_delete(name, self.name).result()

    def logs(self, name: str, lines: int) -> str:
        """Return the end of a deployment's log; empty if there is none."""
        try:
            with azure_errors(f"fetching the log of {name}"):
                return str(self._client.online_deployments.get_logs(name, self.name, lines))
        except OperationError:
            return ""

    def score(self, body: bytes, deployment: str | None = None) -> Reply:
        """Send a body to the endpoint, or to one of its deployments regardless of its traffic.

        Raises
        ------
        RefusedError
            If the status in the answer is not a number.
        OperationError
            If the endpoint cannot be reached.
        """
        # Not `invoke` of Azure's client: it hides the status and keeps a header for later calls.
        uri, headers = self.address(), self._headers()
        headers |= {_DEPLOYMENT: deployment} if deployment else {}
        timeout = (_CONNECT_SECONDS, self.config.request_timeout_seconds + _CONNECT_SECONDS)
        for attempt in range(1, _TRIES + 1):
            try:
                response = requests.post(uri, data=body, headers=headers, timeout=timeout)
                break
            except requests.RequestException as error:
                if attempt == _TRIES:
                    raise OperationError(
                        f"{self.name} could not be reached: {type(error).__name__}. Check the "
                        "network, and HTTPS_PROXY if there is a proxy."
                    ) from error
        return Reply(
            status=_status(response),
            body=_json(response),
            deployment=response.headers.get(_DEPLOYMENT, deployment or ""),
        )

    def address(self) -> str:
        """Return the URI for requests: ``https``, or the scheme that a cluster uses."""
        if not self._address:
            with azure_errors(f"looking up the address of {self.name}"):
                self._address = str(self._client.online_endpoints.get(self.name).scoring_uri)
        return self._address

    def _headers(self) -> dict[str, str]:
        with azure_errors(f"requesting a token for {self.name}"):
            # fetched each time: a token may expire between two steps
            keys: Any = self._client.online_endpoints.get_keys(self.name)
        token = getattr(keys, "primary_key", None) or keys.access_token
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def format_shares(traffic: Mapping[str, int]) -> str:
    """Return ``a 90 %, b 10 %``, or ``none``."""
    return ", ".join(f"{name} {share} %" for name, share in traffic.items()) or "none"


def wait(seconds: float, why: str, say: Callable[[str], None]) -> None:
    """Wait, and report the time left every half minute."""
    left = seconds
    while left > 0:
        say(f"{why}, {left:g} s to go")
        time.sleep(min(left, 30))
        left -= 30


def _deployment_of(entity: Any) -> Found:
    # Azure's client drops the creation time of deployments on Kubernetes
    made, tags = getattr(entity.creation_context, "created_at", None), dict(entity.tags or {})
    return Found(
        name=str(entity.name),
        state=_text_of(entity.provisioning_state),
        tags=tags,
        created=str(made or tags.get(CREATED, "")),
    )


def _text_of(state: Any) -> str:
    """Return the text of a state, which Azure's client returns as a string or an enum."""
    return str(getattr(state, "value", state))


def _status(response: requests.Response) -> int:
    text = response.headers.get(_MODEL_STATUS, str(response.status_code))
    try:
        return int(text)
    except ValueError:
        message = f"The header {_MODEL_STATUS} of the answer is not a status: {text}"
        raise RefusedError(message) from None


def _json(response: requests.Response) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return response.text
