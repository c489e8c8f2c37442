"""The environment of online deployments: requirements/serve.txt on an image; versioned by both."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from operation.azureml.faults import azure_errors
from operation.deployment.config import ServingEnvironment

if TYPE_CHECKING:
    from azure.ai.ml import MLClient, entities

LOCK = "requirements/serve.txt"
CONTEXT = "build/deployment/environment"
_DOCKERFILE = "operation/deployment/serve.Dockerfile"
_ROUTE = {"port": 5001, "path": "/"}
_ROUTES = {
    "liveness_route": _ROUTE,
    "readiness_route": _ROUTE,
    "scoring_route": {"port": 5001, "path": "/score"},
}


def reference(root: Path, environment: ServingEnvironment) -> str:
    """Name the registered environment, ``azureml:name:version``."""
    return f"azureml:{environment.name}:{version(root, environment)}"


def version(root: Path, environment: ServingEnvironment) -> str:
    """Return the version: a digest of the lock and of what it is installed upon."""
    total = hashlib.sha256(environment.model_dump_json().encode())
    for file in (LOCK, _DOCKERFILE):
        total.update((root / file).read_bytes())
    return total.hexdigest()[:12]


def is_registered(client: "MLClient", root: Path, environment: ServingEnvironment) -> bool:
    """Say whether this version is in the workspace.

    Raises
    ------
    OperationError
        If Azure refuses to say or cannot be reached.
    """
    from azure.core.exceptions import ResourceNotFoundError

    name = reference(root, environment)
    with azure_errors(f"looking for the environment {name}"):
        try:
            client.environments.get(environment.name, version(root, environment))
        except ResourceNotFoundError:
            return False
    return True


def ensure_environment(
    client: "MLClient", root: Path, environment: ServingEnvironment, say: Callable[[str], None]
) -> str:
    """Register the environment unless that version is there, and return its reference.

    Raises
    ------
    OperationError
        If Azure refuses it or cannot be reached.
    """
    name = reference(root, environment)
    if not is_registered(client, root, environment):
        say(f"registering the environment {name}; Azure ML builds its image, that takes minutes")
        with azure_errors(f"registering the environment {name}"):
            client.environments.create_or_update(_entity(root, environment))
    return name


def write_context(root: Path, environment: ServingEnvironment) -> Path:
    """Write Dockerfile and lock: ``docker build build/deployment/environment`` makes the image."""
    folder = root / CONTEXT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(root / LOCK, folder / Path(LOCK).name)
    text = (root / _DOCKERFILE).read_text(encoding="utf-8")
    # Azure ML passes no arguments to the build.
    text = re.sub(r"^ARG IMAGE$", f"ARG IMAGE={environment.image}", text, flags=re.MULTILINE)
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    return folder


def _entity(root: Path, environment: ServingEnvironment) -> "entities.Environment":
    from azure.ai.ml import entities

    return entities.Environment(
        name=environment.name,
        version=version(root, environment),
        description="Made from requirements/serve.txt.",
        build=entities.BuildContext(
            path=str(write_context(root, environment)), dockerfile_path="Dockerfile"
        ),
        inference_config=_ROUTES,
    )
