"""Blob storage, with all blobs in one dictionary, and the URIs and assets that point to it."""

import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from kedro_azure_mlops.testing import login
from kedro_azure_mlops.testing.messages import Answer, NotKnownError, Request, ServiceError
from kedro_azure_mlops.testing.resources import Body, Resources, place

_DATE = "Sat, 21 Nov 2026 00:00:00 GMT"
_COMMON = {"Last-Modified": _DATE, "x-ms-version": "2026-02-06", "x-ms-request-id": "stand-in"}


class Storage:
    """All storage accounts together: a blob's key is ``account/container/name``."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self._metadata: dict[str, dict[str, str]] = {}
        self._blocks: dict[tuple[str, str], bytes] = {}

    def answer(self, request: Request) -> Answer:
        """Answer one request to ``account.blob.core.windows.net``.

        Raises
        ------
        NotKnownError
            For an operation that is not supported yet.
        """
        login.check(request)
        key = request.host.split(".")[0] + request.path.rstrip("/")
        operation = request.query.get("comp") or request.query.get("restype") or "blob"
        known = {
            ("PUT", "blob"): self._put,
            ("PUT", "block"): self._put_block,
            ("PUT", "blocklist"): self._put_block_list,
            ("PUT", "metadata"): self._put_metadata,
            ("GET", "list"): self._list,
            ("GET", "container"): lambda request, key: Answer(headers=dict(_COMMON)),
            ("HEAD", "blob"): self._head,
            ("GET", "blob"): self._get,
            ("DELETE", "blob"): self._delete,
        }
        if (request.method, operation) not in known or "/" not in key:
            raise NotKnownError(f"{request.url} ({operation})")
        return known[request.method, operation](request, key)

    def fetch(self, key: str, folder: Path) -> Path:
        """Write the blob, or all blobs below the key, into the folder and return their path."""
        key = key.rstrip("/")
        if key in self.blobs:
            return _written(folder / key.rsplit("/", 1)[1], self.blobs[key])
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in list(self.blobs.items()):
            if name.startswith(f"{key}/"):
                _written(folder / name.removeprefix(f"{key}/"), content)
        return folder

    def store(self, source: Path, key: str) -> None:
        """Store a file as this blob, or the files of a folder below this key."""
        if source.is_file():
            self.blobs[key] = source.read_bytes()
        for file in source.rglob("*"):
            if file.is_file():
                self.blobs[f"{key}/{file.relative_to(source).as_posix()}"] = file.read_bytes()

    def holds(self, key: str) -> bool:
        """Return whether there is a blob at or below the key."""
        key = key.rstrip("/")
        return key in self.blobs or any(name.startswith(f"{key}/") for name in list(self.blobs))

    def _put(self, request: Request, key: str) -> Answer:
        if request.headers.get("if-none-match") == "*" and key in self.blobs:
            raise ServiceError(409, "The specified blob already exists.")
        if request.headers.get("x-ms-blob-type") != "BlockBlob":
            raise NotKnownError(f"{request.url} of type {request.headers.get('x-ms-blob-type')}")
        return self._keep(request, key, request.body)

    def _put_block(self, request: Request, key: str) -> Answer:
        self._blocks[key, request.query["blockid"]] = request.body
        return Answer(201, headers=dict(_COMMON))

    def _put_block_list(self, request: Request, key: str) -> Answer:
        listed = [block.text or "" for block in ElementTree.fromstring(request.body)]  # noqa: S314
        return self._keep(request, key, b"".join(self._blocks.pop((key, id)) for id in listed))

    def _keep(self, request: Request, key: str, content: bytes) -> Answer:
        self.blobs[key] = content
        self.uploads.append(key)
        self._metadata[key] = _metadata_of(request)
        return Answer(201, headers=_COMMON | {"ETag": _etag(content)})

    def _put_metadata(self, request: Request, key: str) -> Answer:
        if key not in self.blobs:
            raise ServiceError(404, "The specified blob does not exist.")
        self._metadata[key] = _metadata_of(request)
        return Answer(headers=_COMMON | {"ETag": _etag(self.blobs[key])})

    def _head(self, request: Request, key: str) -> Answer:
        if key not in self.blobs:
            raise ServiceError(404, "The specified blob does not exist.")
        size = {"Content-Length": str(len(self.blobs[key]))}
        return Answer(headers=self._headers(key) | size)

    def _get(self, request: Request, key: str) -> Answer:
        if key not in self.blobs:
            raise ServiceError(404, "The specified blob does not exist.")
        content, size = self.blobs[key], len(self.blobs[key])
        byte_range = request.headers.get("x-ms-range") or request.headers.get("range")
        if byte_range is None:
            return Answer(200, content, self._headers(key))
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", byte_range)
        if match is None:
            raise NotKnownError(f"{request.url} with range {byte_range}")
        first, last = int(match[1]), min(int(match[2] or size), size - 1)
        if first > last:
            raise ServiceError(416, "The range specified is invalid for the blob's size.")
        part = {"Content-Range": f"bytes {first}-{last}/{size}"}
        return Answer(206, content[first : last + 1], self._headers(key) | part)

    def _delete(self, request: Request, key: str) -> Answer:
        if self.blobs.pop(key, None) is None:
            raise ServiceError(404, "The specified blob does not exist.")
        return Answer(202, headers=dict(_COMMON))

    def _headers(self, key: str) -> dict[str, str]:
        metadata = {f"x-ms-meta-{k}": v for k, v in self._metadata.get(key, {}).items()}
        kind = {"x-ms-blob-type": "BlockBlob", "Accept-Ranges": "bytes"}
        return _COMMON | metadata | kind | {"ETag": _etag(self.blobs[key])}

    def _list(self, request: Request, container: str) -> Answer:
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        start = f"{container}/{prefix}"
        rest = [key.removeprefix(start) for key in sorted(self.blobs) if key.startswith(start)]
        files = [name for name in rest if not delimiter or delimiter not in name]
        folders = {name.split(delimiter)[0] + delimiter for name in rest if name not in files}
        entries = [self._entry(container, prefix + name) for name in files]
        entries += [
            f"<BlobPrefix><Name>{escape(prefix + name)}</Name></BlobPrefix>"
            for name in sorted(folders)
        ]
        account, name = container.split("/")
        names = f'ServiceEndpoint="https://{account}.blob.core.windows.net/" ContainerName="{name}"'
        echo = f"<Prefix>{escape(prefix)}</Prefix><Delimiter>{delimiter}</Delimiter>"
        body = f"{echo}<Blobs>{''.join(entries)}</Blobs><NextMarker/>"
        xml = f"<?xml version='1.0'?><EnumerationResults {names}>{body}</EnumerationResults>"
        return Answer(200, xml.encode(), _COMMON | {"Content-Type": "application/xml"})

    def _entry(self, container: str, name: str) -> str:
        key = f"{container}/{name}"
        metadata = self._metadata.get(key, {})
        tags = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in metadata.items())
        content = self.blobs[key]
        return (
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{_DATE}</Last-Modified>"
            f"<Etag>{escape(_etag(content))}</Etag><Content-Length>{len(content)}</Content-Length>"
            f"<BlobType>BlockBlob</BlobType></Properties><Metadata>{tags}</Metadata></Blob>"
        )


def _metadata_of(request: Request) -> dict[str, str]:
    prefix = "x-ms-meta-"
    return {
        name.removeprefix(prefix): value
        for name, value in request.headers.items()
        if name.startswith(prefix)
    }


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def _written(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/([^/]+)/paths/(.*)")
_HTTPS = re.compile(r"https://([^.]+)\.blob\.core\.windows\.net/([^?]+)")
_ABFS = re.compile(r"(?:abfss?|wasbs?)://([^@]+)@([^.]+)\.[^/]+/(.*)")


class Places:
    """Resolves a workspace's URIs to blobs."""

    def __init__(self, resources: Resources, storage: Storage) -> None:
        self._resources, self._storage = resources, storage

    def fetch(self, workspace: str, uri: str, folder: Path) -> Path:
        """Copy the content of a URI into the folder and return the path of the copy.

        Raises
        ------
        FileNotFoundError
            If the URI has no content.
        """
        key = self._key(workspace, uri)
        if not self._storage.holds(key):
            raise FileNotFoundError(uri)
        return self._storage.fetch(key, folder)

    def store(self, workspace: str, source: Path, uri: str) -> None:
        """Copy a file or folder to a URI.

        Raises
        ------
        FileNotFoundError
            If the datastore does not exist.
        """
        self._storage.store(source, self._key(workspace, uri).rstrip("/"))

    def append(self, workspace: str, uri: str, text: str) -> None:
        """Append text to a blob, as for logs."""
        key = self._key(workspace, uri)
        self._storage.blobs[key] = self._storage.blobs.get(key, b"") + text.encode()

    def url(self, workspace: str, uri: str) -> str:
        """Return the address from which the client reads a blob."""
        account, _, path = self._key(workspace, uri).partition("/")
        return f"https://{account}.blob.core.windows.net/{path}?{login.SAS}"

    def _key(self, workspace: str, uri: str) -> str:
        """Return the blob, or the prefix of the blobs, of a URI or an asset."""
        if match := _DATASTORE.match(uri):
            store = self._existing(f"{workspace}/datastores/{match[1]}")["properties"]
            return f"{store['accountName']}/{store['containerName']}/{match[2]}"
        if match := _HTTPS.match(uri):
            return f"{match[1]}/{match[2]}"
        if match := _ABFS.match(uri):
            return f"{match[2]}/{match[1]}/{match[3]}"
        asset = self._existing(uri.removeprefix("azureml:"))
        return self._key(workspace, str(place(asset)))

    def _existing(self, id: str) -> Body:
        if id not in self._resources.all:
            raise FileNotFoundError(id)
        return self._resources.all[id]
