"""A registry of Azure ML: the models of a workspace, or of a registry that workspaces share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from {{ cookiecutter.package_name }}.tracking.facts import DIGEST
from {{ cookiecutter.package_name }}.tracking.registry import CHAMPION, champion_event

from operation.azureml.cloud.assets import refuse_what_is_not_whole
from operation.azureml.cloud.downloads import download_uri
from operation.azureml.utils import azure_errors, credential, workspace
from operation.errors import OperationError
from operation.registry.azure_lock import AzureLock
from operation.registry.config import RegistrySettings
from operation.registry.interface import Lock, Registry, Version

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Model

_TRUE = "true"


class AzureRegistry(Registry):
    """The versions of a model asset; the champion is the one that has the tag."""

    def __init__(self, settings: RegistrySettings, root: Path) -> None:
        super().__init__(settings.env, settings.model)
        self._shared = settings.config.shared_registry
        self._workspace = workspace(settings.env, root)
        self._client = _shared(self._shared) if self._shared else self._workspace
        # A shared registry is locked where all who promote to this environment come by.
        self._lock = AzureLock(self._workspace, self.name, self.env)

    @property
    def place(self) -> str:
        """Say where the models are kept."""
        workspace_name = f"the workspace {self._workspace.workspace_name}"
        return f"the registry {self._shared}" if self._shared else workspace_name

    def versions(self) -> list[Version]:
        """List all versions, the newest first."""
        from azure.core.exceptions import ResourceNotFoundError

        with azure_errors(f"listing the versions of {self.name}"):
            try:
                found = [_version(model) for model in self._client.models.list(name=self.name)]
            except ResourceNotFoundError:
                return []
        return sorted(found, key=lambda one: _as_number(one.number), reverse=True)

    def champion(self) -> Version | None:
        """Return the version that has the tag; broken off in a change, the newest of two."""
        tagged = (one for one in self.versions() if one.tags.get(CHAMPION) == _TRUE)
        return next(tagged, None)

    def register(self, folder: Path, tags: Mapping[str, str]) -> Version:
        """Upload a model folder as the next version."""
        from azure.ai.ml.entities import Model

        refuse_what_is_not_whole(folder, "uri_folder")
        # Named here, not counted by the service: of two at once the second is refused.
        numbers = [_as_number(one.number) for one in self.versions()]
        model = Model(
            name=self.name,
            version=str(max(numbers, default=0) + 1),
            path=str(folder),
            type="mlflow_model",
            tags=dict(tags),
        )
        with azure_errors(f"registering {self.name}:{model.version} in {self.place}"):
            return _version(self._client.models.create_or_update(model))

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version, those of the same name anew."""
        self._retag(version.number, set_=tags)

    def make_champion(self, version: Version, how: str) -> None:
        """Let a version be the champion and no other, and record since when and how."""
        before = self.champion()
        key, text = champion_event(how, before.number if before else None)
        # the new one first: broken off in between there are two, and the newest counts
        self._retag(version.number, set_={CHAMPION: _TRUE, key: text})
        for other in self.versions():
            if other.number != version.number and other.tags.get(CHAMPION) == _TRUE:
                self._retag(other.number, drop=CHAMPION)

    @contextmanager
    def locked(self, doing: str) -> Iterator[Lock]:
        """Keep all other changes by verbs away while this one is made."""
        with self._lock.held(doing) as held:
            yield held

    def clear_lock(self) -> str | None:
        """Take away a lock that was left behind; say whose it was, None if there is none."""
        return self._lock.clear()

    def _retag(self, number: str, set_: Mapping[str, str] | None = None, drop: str = "") -> None:
        with azure_errors(f"marking {self.name}:{number} in {self.place}"):
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
            # a registry puts it into folders of its own
            found = next(iter(sorted(folder.rglob("MLmodel"))), None)
            if found is None:
                raise OperationError(f"{version} of {self.place} holds no MLflow model.")
            found.parent.rename(target)


def _shared(name: str) -> "MLClient":
    signed_in = credential()
    from azure.ai.ml import MLClient

    with azure_errors(f"looking for the registry {name}"):
        return MLClient(signed_in, registry_name=name, enable_telemetry=False)


def _version(model: "Model") -> Version:
    tags = {str(name): str(text) for name, text in (model.tags or {}).items()}
    return Version(str(model.name), str(model.version), tags.get(DIGEST, ""), tags)


def _as_number(version: str) -> int:
    """Order versions; one that somebody has given a name of letters comes first."""
    return int(version) if version.isdigit() else 0
