"""The environment of cloud jobs, made from the project's locks; its version is their digest."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from operation.azureml.config import AzureML, Environment
from operation.azureml.faults import azure_errors
from operation.azureml.locks import requirements

if TYPE_CHECKING:
    from azure.ai.ml import MLClient, entities

LOCKS = ("requirements/run.txt", "requirements/job.txt")
CONTEXT = "build/environment"
CONDA_FILE = "build/environment.yml"
_DOCKERFILE = "operation/azureml/job.Dockerfile"


def reference(root: Path, config: AzureML) -> str:
    """Name the registered environment of a job, ``azureml:name:version``."""
    if isinstance(config.environment, Environment):
        return f"azureml:{config.environment.name}:{version(root, config.environment)}"
    return str(config.environment)


def version(root: Path, environment: Environment) -> str:
    """Return the version: a digest of the locks and of what they are installed upon."""
    total = hashlib.sha256(environment.model_dump_json().encode())
    for file in (*LOCKS, _DOCKERFILE):
        total.update((root / file).read_bytes())
    return total.hexdigest()[:12]


def ensure_environment(
    client: "MLClient", root: Path, config: AzureML, say: Callable[[str], None] = print
) -> str:
    """Register the environment of the jobs unless that version is there, and return its reference.

    Raises
    ------
    OperationError
        If Azure refuses it or cannot be reached.
    """
    name = reference(root, config)
    if not isinstance(config.environment, Environment) or config.image:
        return name
    if is_registered(client, root, config.environment):
        say(f"environment {name} is there")
        return name
    say(f"registering the environment {name}; Azure ML builds its image with the first job")
    with azure_errors(f"registering the environment {name}"):
        client.environments.create_or_update(entity(root, config.environment))
    return name


def is_registered(client: "MLClient", root: Path, environment: Environment) -> bool:
    """Say whether this version of the environment is in the workspace.

    Raises
    ------
    OperationError
        If Azure refuses to say or cannot be reached.
    """
    from azure.core.exceptions import ResourceNotFoundError

    wanted = version(root, environment)
    with azure_errors(f"looking for the environment {environment.name}:{wanted}"):
        try:
            client.environments.get(environment.name, wanted)
        except ResourceNotFoundError:
            return False
    return True


def entity(root: Path, environment: Environment) -> "entities.Environment":
    """Write what the environment is made of into ``build/`` and return it as Azure ML takes it."""
    from azure.ai.ml import entities

    common = {
        "name": environment.name,
        "version": version(root, environment),
        "description": "Made from requirements/run.txt and job.txt.",
    }
    if environment.kind == "conda":
        file = write_conda_file(root, environment)
        return entities.Environment(**common, image=environment.image, conda_file=file)
    folder = write_docker_context(root, environment)
    context = entities.BuildContext(path=folder, dockerfile_path="Dockerfile")
    return entities.Environment(**common, build=context)


def write_docker_context(root: Path, environment: Environment) -> Path:
    """Write Dockerfile and locks: ``docker build build/environment`` makes the same image."""
    folder = root / CONTEXT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for lock in LOCKS:
        shutil.copyfile(root / lock, folder / Path(lock).name)
    text = (root / _DOCKERFILE).read_text(encoding="utf-8")
    # Azure ML passes no arguments to the build.
    for name, value in (("IMAGE", environment.image), ("PYTHON", environment.python)):
        text = re.sub(rf"^ARG {name}$", f"ARG {name}={value}", text, flags=re.MULTILINE)
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    return folder


def write_conda_file(root: Path, environment: Environment) -> Path:
    """Write the same as a conda environment: all pins and their hashes, one requirement a line."""
    file = root / CONDA_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(_conda(root, environment), sort_keys=False, width=100_000)
    file.write_text(text, encoding="utf-8")
    return file


def _conda(root: Path, environment: Environment) -> dict[str, Any]:
    pins = requirements(*(root / lock for lock in LOCKS))
    return {
        "name": environment.name,
        # the default channel is not free for all companies
        "channels": ["conda-forge", "nodefaults"],
        # an older pip stumbles over extras of locked packages
        "dependencies": [f"python={environment.python}", "pip>=24", {"pip": pins}],
    }
