"""What is deployed: a registered model and the code that serves it, under a name made from both."""

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operation.azureml.cloud.assets import DIGEST, version_of
from operation.azureml.faults import azure_errors
from operation.azureml.snapshot import content_digest
from operation.errors import OperationError
from operation.registry import Version, open_registry

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

BUILD = "build/deployment"
# Not the name of the registered model: where the registry is the workspace, that one is its own.
_SERVED = "-served"


@dataclass(frozen=True)
class Artifact:
    """A model folder that was fetched and checked, and the version that it is."""

    version: Version
    folder: Path

    @property
    def asset(self) -> tuple[str, str]:
        """Name and version of the model asset in the workspace that endpoints are given."""
        return f"{self.version.name}{_SERVED}", version_of(self.version.digest)

    @property
    def reference(self) -> str:
        """Return how deployments name the model."""
        return "azureml:{}:{}".format(*self.asset)

    @property
    def variables(self) -> dict[str, str]:
        """The variables by which a container refuses another model, and how it calls this one."""
        return {"MODEL_DIGEST": self.version.digest, "MODEL_VERSION": self.version.number}

    @property
    def tags(self) -> dict[str, str]:
        """What a deployment carries."""
        return {
            "model": self.version.name,
            "version": self.version.number,
            DIGEST: self.version.digest,
        }

    def deployment(self, settings: Mapping[str, Any], code: Path) -> str:
        """Name a deployment: the same model, settings and code always have the same name."""
        parts = [self.version.digest, self.version.number, content_digest(code)]
        parts += [f"{key}={settings[key]}" for key in sorted(settings)]
        made_of = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
        number = re.sub("[^0-9A-Za-z]", "", self.version.number)[:12]
        return f"v{number}-{made_of}"


def fetch(env: str, root: Path, wanted: str | None) -> Artifact:
    """Bring the champion of an environment, or the version that is wanted, and check its digest.

    Raises
    ------
    OperationError
        If there is none, or its files are not those that were registered.
    """
    registry = open_registry(env, root)
    found = registry.version(wanted) if wanted else registry.champion()
    if found is None:
        raise OperationError(
            f"{env} has no champion to deploy. See docs/model/registry.md, or name a version: "
            "--version N. To see which there are, type: "
            f"python -m operation.execution champion --env {env} --history"
        )
    folder = root / BUILD / "model"
    shutil.rmtree(folder, ignore_errors=True)
    return Artifact(found, registry.fetch(found, folder))


def is_asset(client: "MLClient", artifact: Artifact) -> bool:
    """Say whether the model is in the workspace.

    Raises
    ------
    OperationError
        If one with this version is another model, or Azure refuses to say.
    """
    from azure.core.exceptions import ResourceNotFoundError

    name, version = artifact.asset
    with azure_errors(f"looking for the model {name}:{version}"):
        try:
            found = client.models.get(name, version)
        except ResourceNotFoundError:
            return False
    if (found.tags or {}).get(DIGEST) != artifact.version.digest:
        raise OperationError(
            f"The workspace has a model {name}:{version} that was not made of this version: "
            "archive it in the Studio."
        )
    return True


def ensure_asset(client: "MLClient", artifact: Artifact, say: Callable[[str], None]) -> str:
    """Register the model in the workspace unless it is there, and return its reference.

    Raises
    ------
    OperationError
        If Azure refuses it or cannot be reached.
    """
    from azure.ai.ml.entities import Model

    if is_asset(client, artifact):
        return artifact.reference
    name, version = artifact.asset
    say(f"uploading the model as {name}:{version}")
    model = Model(
        name=name,
        version=version,
        path=str(artifact.folder),
        type="custom_model",
        tags=artifact.tags,
    )
    with azure_errors(f"registering the model {name}:{version}"):
        client.models.create_or_update(model)
    return artifact.reference
