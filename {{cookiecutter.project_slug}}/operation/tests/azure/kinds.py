"""The kinds of resources in a workspace, and what the service adds to each."""

from typing import Any

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
    """Say where the content of an asset lies."""
    properties = body["properties"]
    uris = (properties.get(name) for name in ("codeUri", "dataUri", "modelUri"))
    return next((uri for uri in uris if uri), None)


def is_known(inside: str) -> bool:
    """Say whether a path inside a workspace is one of a resource or a collection."""
    parts = inside.strip("/").split("/")
    if parts[0] in VERSIONED:
        return len(parts) < 5 and parts[2:3] in ([], ["versions"])
    return parts == [""] or (parts[0] in PLAIN and len(parts) < 3)


def kind_of(id: str) -> str:
    """Name the collection that a resource is in."""
    parts = id.split("/")
    return parts[-4] if parts[-2] == "versions" else parts[-2]


def content_hash(body: Body) -> str | None:
    """Give the hash of the files of a code asset."""
    inner = body["properties"].get("properties") if body["type"] == "codes" else None
    return (inner or {}).get("hash_sha256")


def filled(body: Body) -> Body:
    """Add what the service adds and the client reads without asking whether it is there."""
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
