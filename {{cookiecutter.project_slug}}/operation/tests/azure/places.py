"""Where data lie: from the URIs and asset ids of jobs to blobs and folders."""

import re
from pathlib import Path

from operation.tests.azure import login
from operation.tests.azure.kinds import Body, place
from operation.tests.azure.resources import Resources
from operation.tests.azure.storage import Storage

_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/([^/]+)/paths/(.*)")
_HTTPS = re.compile(r"https://([^.]+)\.blob\.core\.windows\.net/([^?]+)")
_ABFS = re.compile(r"(?:abfss?|wasbs?)://([^@]+)@([^.]+)\.[^/]+/(.*)")


class Places:
    """Finds the blobs of a workspace's URIs."""

    def __init__(self, resources: Resources, storage: Storage) -> None:
        self._resources, self._storage = resources, storage

    def fetch(self, workspace: str, uri: str, folder: Path) -> Path:
        """Copy what lies there into the folder and say where the file or folder is now.

        Raises
        ------
        FileNotFoundError
            If nothing lies there.
        """
        key = self._key(workspace, uri)
        if not self._storage.holds(key):
            raise FileNotFoundError(uri)
        return self._storage.fetch(key, folder)

    def store(self, workspace: str, source: Path, uri: str) -> None:
        """Copy a file or folder to where the URI says.

        Raises
        ------
        FileNotFoundError
            If there is no such datastore.
        """
        self._storage.store(source, self._key(workspace, uri).rstrip("/"))

    def append(self, workspace: str, uri: str, text: str) -> None:
        """Make a blob longer, as logs become."""
        key = self._key(workspace, uri)
        self._storage.blobs[key] = self._storage.blobs.get(key, b"") + text.encode()

    def url(self, workspace: str, uri: str) -> str:
        """Give the address with which the client reads a blob."""
        account, _, path = self._key(workspace, uri).partition("/")
        return f"https://{account}.blob.core.windows.net/{path}?{login.SAS}"

    def _key(self, workspace: str, uri: str) -> str:
        """Name the blob or the prefix of blobs of a URI or an asset."""
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
