"""The registry of Azure ML: models of a workspace, or of a registry that workspaces share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kedro_azure_mlops.azure.assets import refuse_incomplete_upload
from kedro_azure_mlops.azure.downloads import download_uri
from kedro_azure_mlops.azure.workspace import azure_errors, credential, workspace
from kedro_azure_mlops.config import Mlops
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.registry.facts import DIGEST
from kedro_azure_mlops.registry.interface import (
    LOCK,
    Holder,
    Lock,
    Registry,
    Version,
    locked_by,
    lost,
    taking_over,
)
from kedro_azure_mlops.registry.versions import CHAMPION, champion_event

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Data, Model

_TRUE = "true"
_STATE, _HELD, _FREE = "lock.state", "held", "free"
_UNUSED_PATH = "azureml://datastores/workspaceblobstore/paths/promotion/"  # nothing is stored there


class AzureRegistry(Registry):
    """The versions of a model asset; a tag marks the champion."""

    def __init__(self, env: str, config: Mlops, root: Path) -> None:
        super().__init__(env, config.model_name)
        self._shared = config.registry.shared_registry
        self._workspace = workspace(env, root)
        self._client = _shared(self._shared) if self._shared else self._workspace
        # A shared registry is locked in the workspace, since all promotions to it use that one.
        self._lock = AzureLock(self._workspace, self.name, self.env)

    @property
    def place(self) -> str:
        """The location of the models, for messages."""
        workspace_name = f"the workspace {self._workspace.workspace_name}"
        return f"the registry {self._shared}" if self._shared else workspace_name

    def versions(self) -> list[Version]:
        """List all versions that are not archived, the newest first."""
        from azure.core.exceptions import ResourceNotFoundError

        with azure_errors(f"listing the versions of {self.name}"):
            try:
                found = [_version(model) for model in self._client.models.list(name=self.name)]
            except ResourceNotFoundError:
                return []
        return sorted(found, key=lambda one: _as_number(one.number), reverse=True)

    def champion(self) -> Version | None:
        """Return the tagged version; the newer one if an interrupted change left two."""
        tagged = (one for one in self.versions() if one.tags.get(CHAMPION) == _TRUE)
        return next(tagged, None)

    def _store(self, folder: Path, tags: Mapping[str, str]) -> Version:
        """Upload a model folder as the next version."""
        from azure.ai.ml.entities import Model

        refuse_incomplete_upload(folder, "uri_folder")
        # Numbered here, so that the service refuses the second of two concurrent registrations.
        model = Model(
            name=self.name,
            version=self._free_number(),
            path=str(folder),
            type="mlflow_model",
            tags=dict(tags),
        )
        with azure_errors(f"registering {self.name}:{model.version} in {self.place}"):
            return _version(self._client.models.create_or_update(model))

    def _free_number(self) -> str:
        """Return the next number that no version has, not even an archived one."""
        from azure.core.exceptions import ResourceNotFoundError

        number = max((_as_number(one.number) for one in self.versions()), default=0) + 1
        with azure_errors(f"numbering a version of {self.name}"):
            try:
                while True:  # azure-ai-ml cannot list archived models of a shared registry
                    self._client.models.get(self.name, version=str(number))
                    number += 1
            except ResourceNotFoundError:
                return str(number)

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version, replacing those of the same name."""
        self._retag(version.number, set_=tags)

    def make_champion(self, version: Version, how: str) -> None:
        """Make a version the only champion, and record since when and how."""
        before = self.champion()
        key, text = champion_event(how, before.number if before else None)
        # tag the new one first: after an interruption both are tagged, and the newest counts
        self._retag(version.number, set_={CHAMPION: _TRUE, key: text})
        for other in self.versions():
            if other.number != version.number and other.tags.get(CHAMPION) == _TRUE:
                self._retag(other.number, drop=CHAMPION)

    @contextmanager
    def locked(self, doing: str) -> Iterator[Lock]:
        """Prevent other commands from changing this registry while the context is open."""
        with self._lock.held(doing) as held:
            yield held

    def clear_lock(self) -> str | None:
        """Remove a leftover lock; return its holder, None if there is no lock."""
        return self._lock.clear()

    def _retag(self, number: str, set_: Mapping[str, str] | None = None, drop: str = "") -> None:
        with azure_errors(f"tagging {self.name}:{number} in {self.place}"):
            model = self._client.models.get(self.name, version=number)
            tags = dict(model.tags or {}) | dict(set_ or {})
            tags.pop(drop, None)
            model.tags = tags
            self._client.models.create_or_update(model)

    def _download(self, version: Version, target: Path) -> None:
        with TemporaryDirectory(dir=target.parent, prefix="part-") as part:
            folder = Path(part) / "made"
            with azure_errors(f"fetching {version} from {self.place}"):
                model = self._client.models.get(self.name, version=version.number)
                if self._shared:
                    self._client.models.download(self.name, version.number, str(folder))
                else:
                    download_uri(self._workspace, str(model.path), folder)
            # a shared registry nests the model in extra folders
            found = next(iter(sorted(folder.rglob("MLmodel"))), None)
            if found is None:
                raise OperationError(f"{version} of {self.place} holds no MLflow model.")
            found.parent.rename(target)


class AzureLock(Lock):
    """The lock of one model: a version of a data asset, whose path can be set only once.

    Versions cannot be deleted, so each holder creates the next version, with a unique path. The
    service refuses to change the path of an existing version, and so refuses the second of two
    concurrent holders.
    """

    def __init__(self, client: "MLClient", model: str, env: str) -> None:
        self._client, self._model, self._env = client, model, env
        self._name = f"{model}{LOCK}"
        self._mine: Holder | None = None

    @contextmanager
    def held(self, doing: str) -> Iterator["AzureLock"]:
        """Hold the lock while the context is open.

        Raises
        ------
        LockedError
            If another process holds the lock.
        """
        me = Holder.me(doing)
        self._take(me)
        self._mine = me
        try:
            yield self
        finally:
            self._mine = None
            if self._holder() == me:
                self._free()

    def check(self) -> None:
        """Refuse to continue if the lock was cleared."""
        if self._mine is None or self._holder() != self._mine:
            raise lost(self._model)

    def clear(self) -> str | None:
        """Remove a leftover lock; return its holder, None if there is no lock."""
        holder = self._holder()
        if holder:
            self._free()
        return str(holder) if holder else None

    def _take(self, me: Holder) -> None:
        from azure.ai.ml.entities import Data
        from azure.core.exceptions import AzureError

        if holder := self._holder():
            if not holder.process.is_gone():
                raise locked_by(holder, self._model, self._env)
            with taking_over(holder, self._name):
                if self._holder() == holder:
                    self._free()
        latest = self._latest()
        version = str(int(latest.version) + 1 if latest else 1)
        tags = me.tags() | {_STATE: _HELD}
        path = f"{_UNUSED_PATH}{me.token}"
        data = Data(name=self._name, version=version, path=path, type="uri_folder", tags=tags)
        with azure_errors(f"locking {self._model}"):
            try:
                self._client.data.create_or_update(data)
            except AzureError as error:
                if holder := self._holder():  # another process was faster
                    raise locked_by(holder, self._model, self._env) from error
                raise
        if (holder := self._holder()) != me:
            raise locked_by(holder or Holder.read({}), self._model, self._env)

    def _holder(self) -> Holder | None:
        latest = self._latest()
        tags = (latest.tags or {}) if latest else {}
        return Holder.read(tags) if tags.get(_STATE) == _HELD else None

    def _latest(self) -> "Data | None":
        from azure.ai.ml.constants import ListViewType
        from azure.core.exceptions import ResourceNotFoundError

        with azure_errors(f"looking for the lock of {self._model}"):
            try:
                found = self._client.data.list(name=self._name, list_view_type=ListViewType.ALL)
                versions = list(found)
            except ResourceNotFoundError:
                return None
        return max(versions, key=lambda one: int(one.version), default=None)

    def _free(self) -> None:
        latest = self._latest()
        if latest is None:
            return
        latest.tags = dict(latest.tags or {}) | {_STATE: _FREE}
        with azure_errors(f"unlocking {self._model}"):
            self._client.data.create_or_update(latest)


def _shared(name: str) -> "MLClient":
    signed_in = credential()
    from azure.ai.ml import MLClient

    with azure_errors(f"looking for the registry {name}"):
        return MLClient(signed_in, registry_name=name, enable_telemetry=False)


def _version(model: "Model") -> Version:
    tags = {str(name): str(text) for name, text in (model.tags or {}).items()}
    return Version(str(model.name), str(model.version), tags.get(DIGEST, ""), tags)


def _as_number(version: str) -> int:
    """Return a version as a number to sort by; 0 for one that is not a number."""
    return int(version) if version.isdigit() else 0
