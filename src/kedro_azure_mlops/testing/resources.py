"""Azure Resource Manager: a workspace and its resources in one dictionary, by ARM id."""

import re
import uuid
from collections.abc import Callable
from typing import Any

from kedro_azure_mlops.testing import login
from kedro_azure_mlops.testing.messages import Answer, NotKnownError, Request, ServiceError

Body = dict[str, Any]

PLAIN = {"computes", "datastores", "jobs", "schedules"}
VERSIONED = {"codes", "components", "data", "environments", "models"}
NEVER_CHANGED = {"codes", "data", "models"}
STAMP = {
    "createdAt": "2026-11-21T00:00:00Z",
    "createdBy": "stand-in",
    "createdByType": "Application",
    "lastModifiedAt": "2026-11-21T00:00:00Z",
}


def place(body: Body) -> str | None:
    """Return the URI of an asset's content."""
    properties = body["properties"]
    uris = (properties.get(name) for name in ("codeUri", "dataUri", "modelUri"))
    return next((uri for uri in uris if uri), None)


def is_known(inside: str) -> bool:
    """Return whether a path inside a workspace names a resource or a collection."""
    parts = inside.strip("/").split("/")
    if parts[0] in VERSIONED:
        return len(parts) < 5 and parts[2:3] in ([], ["versions"])
    return parts == [""] or (parts[0] in PLAIN and len(parts) < 3)


def kind_of(id: str) -> str:
    """Return the collection that a resource belongs to."""
    parts = id.split("/")
    return parts[-4] if parts[-2] == "versions" else parts[-2]


def listed(versions: list[Body], query: dict[str, str]) -> list[Body]:
    """Return the versions that a request lists: archived ones only if it asks for them."""
    view = query.get("listViewType", "ActiveOnly")
    archived = {"ActiveOnly": (False,), "ArchivedOnly": (True,), "All": (False, True)}[view]
    return [body for body in versions if bool(body["properties"].get("isArchived")) in archived]


def content_hash(body: Body) -> str | None:
    """Return the hash of the files of a code asset; None for other assets."""
    inner = body["properties"].get("properties") if body["type"] == "codes" else None
    return (inner or {}).get("hash_sha256")


def filled(body: Body) -> Body:
    """Add the fields that the service adds and the client expects."""
    kind, properties = body["type"], body.setdefault("properties", {})
    if kind in {"computes", "schedules", "workspaces"}:
        properties["provisioningState"] = "Succeeded"
    if kind == "schedules" and properties.get("isEnabled") is None:
        properties["isEnabled"] = True
    if kind == "models":
        properties.setdefault("flavors", {})
    if kind == "environments" and properties.get("build"):
        properties["build"].setdefault("dockerfilePath", "Dockerfile")
    if kind == "jobs":
        url = f"https://ml.azure.com/runs/{body['name']}?wsid={body['id'].rpartition('/jobs/')[0]}"
        properties["services"] = {"Studio": {"endpoint": url, "jobServiceType": "Studio"}}
        properties["tags"] = properties.get("tags") or {}
        properties["properties"] = properties.get("properties") or {}
    return body


Handler = Callable[[Request], Answer]

ML = "/providers/Microsoft.MachineLearningServices"
_WORKSPACE = re.compile(rf"/subscriptions/[^/]+/resourceGroups/[^/]+{ML}/workspaces/[^/]+")


class Resources:
    """The resources of ``management.azure.com``; ``on_put`` may reject one before it is stored."""

    def __init__(self, on_put: Callable[[str, Body], None]) -> None:
        self.all: dict[str, Body] = {}
        self._on_put = on_put
        self.routes: list[tuple[str, str, Handler]] = [
            ("POST", r"/versions/[^/]+/startPendingUpload$", self._start_upload),
            ("POST", r"/datastores/[^/]+/listSecrets$", self._secrets),
        ]

    def answer(self, request: Request) -> Answer:
        """Answer one request.

        Raises
        ------
        NotKnownError
            For a route, method or kind of resource that is not supported yet.
        ServiceError
            If the service would reject the request.
        """
        login.check(request)
        workspace = _WORKSPACE.match(request.path)
        inside = request.path[workspace.end() :] if workspace else ""
        if workspace and inside and workspace[0] not in self.all:
            raise ServiceError(404, f"The workspace {workspace[0]} was not found.")
        for method, pattern, handler in self.routes:
            if request.method == method and re.search(pattern, request.path):
                return handler(request)
        if workspace is None or not is_known(inside):
            raise NotKnownError(request.url)
        return self._resource(request)

    def put(self, id: str, body: Body) -> Body:
        """Store a resource, with the fields that the service fills in."""
        name = id.rsplit("/", 1)[1]
        body = filled(body | {"id": id, "name": name, "type": kind_of(id), "systemData": STAMP})
        self._on_put(id, body)
        self.all[id] = body
        return body

    def get(self, id: str) -> Body:
        """Return a resource.

        Raises
        ------
        ServiceError
            404, if it does not exist.
        """
        if id not in self.all:
            raise ServiceError(404, f"The resource {id} was not found.")
        return self.all[id]

    def below(self, id: str) -> list[Body]:
        """List the direct children of an id, oldest first."""
        return [body for key, body in list(self.all.items()) if key.rsplit("/", 1)[0] == id]

    def next_version(self, id: str) -> str:
        """Return the number of the next version of an asset."""
        names = [body["name"] for body in self.below(f"{id}/versions")]
        return str(max((int(name) for name in names if name.isdigit()), default=0) + 1)

    def _resource(self, request: Request) -> Answer:
        handlers: dict[str, Handler] = {
            "GET": self._get,
            "PUT": self._put,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        if request.method not in handlers:
            raise NotKnownError(request.url)
        return handlers[request.method](request)

    def _get(self, request: Request) -> Answer:
        id, last = request.path, request.path.rsplit("/", 1)[1]
        if id in self.all:
            return Answer(body=self.all[id])
        if last == "versions":
            return Answer(body={"value": self._versions(id, request.query)})
        if last in PLAIN:
            return Answer(body={"value": self.below(id)})
        if last in VERSIONED:
            return Answer(body={"value": [self._container(name) for name in self._asset_ids(id)]})
        if self.below(f"{id}/versions"):
            return Answer(body=self._container(id))
        return Answer(body=self.get(id))

    def _put(self, request: Request) -> Answer:
        old, body = self.all.get(request.path), request.json()
        if old and old["type"] in NEVER_CHANGED and place(old) != place(body):
            raise ServiceError(409, f"{request.path} already exists: its content cannot change.")
        return Answer(200 if old else 201, self.put(request.path, body))

    def _patch(self, request: Request) -> Answer:
        old, change = self.get(request.path), request.json()
        properties = old["properties"] | change.get("properties", {})
        return Answer(body=self.put(request.path, old | change | {"properties": properties}))

    def _delete(self, request: Request) -> Answer:
        old = self.all.get(request.path)
        if old and old["type"] == "schedules" and old["properties"].get("isEnabled"):
            raise ServiceError(409, "Only disabled schedules can be deleted.")
        for key in [key for key in list(self.all) if f"{key}/".startswith(f"{request.path}/")]:
            del self.all[key]
        return Answer(200 if old else 204)

    def _versions(self, id: str, query: dict[str, str]) -> list[Body]:
        if "hash" in query:  # code: search all names in the workspace
            return [body for body in list(self.all.values()) if content_hash(body) == query["hash"]]
        versions = listed(self.below(id), query)
        if "desc" in query.get("$orderBy", ""):
            versions.reverse()
        return versions[: int(query.get("$top", len(versions)))]

    def _asset_ids(self, id: str) -> list[str]:
        """List the containers of versions in a collection, oldest first."""
        keys = [key.split("/versions/")[0] for key in list(self.all) if key.startswith(f"{id}/")]
        return list(dict.fromkeys(keys))

    def _container(self, id: str) -> Body:
        versions = self.below(f"{id}/versions")
        properties = {
            "latestVersion": versions[-1]["name"],
            "nextVersion": self.next_version(id),
            "dataType": versions[-1]["properties"].get("dataType"),
        }
        name = id.rsplit("/", 1)[1]
        return {"id": id, "name": name, "properties": properties, "systemData": STAMP}

    def _start_upload(self, request: Request) -> Answer:
        workspace = _WORKSPACE.match(request.path)
        store = self.get(f"{workspace and workspace[0]}/datastores/workspaceblobstore")
        account = store["properties"]["accountName"]
        uri = f"https://{account}.blob.core.windows.net/{uuid.uuid4()}"
        credential = {"credentialType": "SAS", "sasUri": f"{uri}?{login.SAS}"}
        body = {
            "blobReferenceForConsumption": {"blobUri": uri, "credential": credential},
            "pendingUploadId": str(uuid.uuid4()),
            "pendingUploadType": request.json().get("pendingUploadType"),
        }
        return Answer(body=body)

    def _secrets(self, request: Request) -> Answer:
        store = self.get(request.path.removesuffix("/listSecrets"))
        if store["properties"]["credentials"]["credentialsType"] == "None":
            raise ServiceError(400, "The datastore has no secrets: it is used with an identity.")
        kind = "Sas"
        return Answer(body={"secretsType": kind, "sasToken": login.SAS})
