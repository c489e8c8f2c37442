"""Registries shared by workspaces, in api.azureml.ms: models with their files.

Every name is a valid registry; none has to be created.
"""

import re
import uuid

from kedro_azure_mlops.testing import login
from kedro_azure_mlops.testing.messages import Answer, NotKnownError, Request, ServiceError
from kedro_azure_mlops.testing.resources import ML, Body, Resources, listed, place

_DISCOVERY = re.compile(r"^/registrymanagement/v1.0/registries/([^/]+)/discovery$")
_INSIDE = re.compile(rf"^/mferp/managementfrontend(/.*{ML}/registries/[^/]+)/(.*)$")
_SUBSCRIPTION = "44444444-4444-4444-4444-444444444444"
_ACCOUNT = "standinregistry"


class Registries:
    """Stores the models of registries among the other resources, under registry ids."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    @staticmethod
    def knows(request: Request) -> bool:
        """Return whether a request to api.azureml.ms is about a registry."""
        return "/registries/" in request.path

    def answer(self, request: Request) -> Answer:
        """Answer a request about a registry or a model in it.

        Raises
        ------
        NotKnownError
            For an operation that is not supported yet.
        ServiceError
            If the service would reject the request.
        """
        login.check(request)
        if match := _DISCOVERY.match(request.path):
            return Answer(body=_discovered(match[1], request.host))
        match = _INSIDE.match(request.path)
        if match is None:
            raise NotKnownError(request.url)
        registry, inside = match[1], match[2]
        kind, name, *rest = inside.split("/")
        if (request.method, kind, len(rest)) == ("PUT", "tempdatarefs", 2):
            return self._reserve(f"{registry}/models/{name}/versions/{rest[1]}")
        if (request.method, kind, len(rest)) == ("POST", "datarefs", 2):
            return Answer(body=_reference(str(request.json()["blobUri"]), whole=False))
        if kind == "models":
            return self._model(request, f"{registry}/{inside}")
        raise NotKnownError(request.url)

    def _reserve(self, id: str) -> Answer:
        if id in self._resources.all:
            raise ServiceError(409, f"{id} already exists.")
        return Answer(body=_reference(f"https://{_ACCOUNT}.blob.core.windows.net/{uuid.uuid4()}"))

    def _model(self, request: Request, id: str) -> Answer:
        if request.method == "GET" and id.endswith("/versions"):
            found = listed(self._resources.below(id), request.query)
            return Answer(body={"value": [_shown(one) for one in found]})
        if request.method == "GET" and "/versions/" not in id:
            return Answer(body=self._container(id))
        if request.method == "GET":
            return Answer(body=_shown(self._resources.get(id)))
        if request.method == "PUT" and "/versions/" in id:
            return self._put(id, request.json())
        raise NotKnownError(request.url)

    def _container(self, id: str) -> Body:
        versions = self._resources.below(f"{id}/versions")
        if not versions:
            raise ServiceError(404, f"{id} was not found.")
        latest = {"latestVersion": versions[-1]["name"]}
        return {"id": id, "name": id.rsplit("/", 1)[1], "properties": latest}

    def _put(self, id: str, body: Body) -> Answer:
        old = self._resources.all.get(id)
        if old and place(old) != place(body):
            raise ServiceError(409, f"{id} already exists: its content cannot change.")
        return Answer(200 if old else 201, _shown(self._resources.put(id, body)))


def _discovered(name: str, host: str) -> Body:
    return {
        "registryName": name,
        "tenantId": login.TENANT,
        "primaryRegion": "westeurope",
        "regions": ["westeurope"],
        "subscriptionId": _SUBSCRIPTION,
        "resourceGroup": f"registry-{name}",
        "primaryRegionResourceProviderUri": f"https://{host}/",
    }


def _shown(body: Body) -> Body:
    """Return a model with its id in the format of registries."""
    registry, _, name = body["id"].partition("/registries/")[2].partition("/")
    return body | {"id": f"azureml://registries/{registry}/{name}"}


def _reference(uri: str, *, whole: bool = True) -> Body:
    """Return a signed URL of the blobs or, to read them, of their container."""
    address = uri if whole else "/".join(uri.split("/")[:4])
    credential = {"credentialType": "SAS", "sasUri": f"{address}?{login.SAS}"}
    return {"blobReferenceForConsumption": {"blobUri": uri, "credential": credential}}
