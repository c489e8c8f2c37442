"""Azure Resource Manager, for what azure-ai-ml makes not at all, or under names of its own."""

from typing import TYPE_CHECKING, Any

from operation.azureml.identity import credential

if TYPE_CHECKING:
    from azure.core.rest import HttpResponse

_HOST = "https://management.azure.com"
# one version for each kind of resource, to read and to write it
_VERSIONS = {
    "Microsoft.Storage/storageAccounts": "2023-05-01",
    "Microsoft.KeyVault/vaults": "2023-07-01",
    "Microsoft.ContainerRegistry/registries": "2023-07-01",
    "Microsoft.OperationalInsights/workspaces": "2023-09-01",
    "Microsoft.Insights/components": "2020-02-02",
    "Microsoft.MachineLearningServices/workspaces": "2024-10-01",
}
_OF_GROUPS = "2022-09-01"
_POLLING_SECONDS = 5


class ResourceManager:
    """Reads and makes resources by their ARM id; raises what is in ``azure.core.exceptions``."""

    def __init__(self) -> None:
        from azure.core import PipelineClient
        from azure.core.pipeline import Pipeline
        from azure.core.pipeline.policies import (
            BearerTokenCredentialPolicy,
            RequestIdPolicy,
            RetryPolicy,
        )
        from azure.core.pipeline.transport import RequestsTransport

        signing = BearerTokenCredentialPolicy(credential(), f"{_HOST}/.default")
        policies = [RequestIdPolicy(), RetryPolicy(), signing]
        self._pipeline: Pipeline[Any, Any] = Pipeline(RequestsTransport(), policies)
        self._client: PipelineClient[Any, Any] = PipelineClient(_HOST, pipeline=self._pipeline)

    def get(self, id: str) -> dict[str, Any] | None:
        """Return a resource, or None if it is not there though its resource group is."""
        response = self.response(id)
        if response.status_code == 404 and "ResourceGroupNotFound" not in response.text():
            return None
        response.raise_for_status()
        return response.json()

    def require(self, id: str) -> dict[str, Any]:
        """Return a resource that must be there."""
        response = self.response(id)
        response.raise_for_status()
        return response.json()

    def response(self, id: str) -> "HttpResponse":
        """Ask for a resource and return the answer, whatever it is."""
        return self._client.send_request(_request("GET", id))

    def put(self, id: str, body: dict[str, Any]) -> None:
        """Make a resource, or change it, and wait until that is done."""
        from azure.core.polling import LROPoller
        from azure.mgmt.core.polling.arm_polling import ARMPolling

        answer = self._pipeline.run(_request("PUT", id, body), stream=False)
        answer.http_response.raise_for_status()
        polling = ARMPolling(timeout=_POLLING_SECONDS)
        LROPoller(self._client, answer, lambda done: done, polling).result()


def _request(method: str, id: str, body: dict[str, Any] | None = None) -> Any:
    from azure.core.rest import HttpRequest

    version = next((v for kind, v in _VERSIONS.items() if kind in id), _OF_GROUPS)
    return HttpRequest(method, f"{_HOST}{id}", params={"api-version": version}, json=body)
