"""The parts of a deployment: the registered model, the code that serves it, and the image."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.assets import DIGEST, version_of
from kedro_azure_mlops.azure.downloads import download_uri
from kedro_azure_mlops.azure.environment import WHEELS, local_wheels, refuse_changed_wheels
from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.azure.workspace import azure_errors
from kedro_azure_mlops.config import (
    Deployment,
    Recording,
    Resources,
    ServingEnvironment,
    read_mlops,
)
from kedro_azure_mlops.contract import CONTRACT, Contract, UnusableModelError, read_contract
from kedro_azure_mlops.deploy.endpoint import CREATED
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.registry import Version, open_registry
from kedro_azure_mlops.serve.code import ENTRY, copy_served_code, trusted_types
from kedro_azure_mlops.serve.collector import INPUTS, OUTPUTS

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import (
        DataCollector,
        Environment,
        OnlineDeployment,
        ResourceSettings,
    )

Say = Callable[[str], None]
BUILD = "build/deployment"
LOCK = "requirements/serve.txt"
_DOCKERFILE = Path(__file__).with_name("serve.Dockerfile")
# Distinguishes the asset from the registered model if the workspace is also the registry.
_SERVED = "-served"
_MILLISECONDS = 1000
# Otherwise Azure's server would send answers to Application Insights, if that is on.
_QUIET = {"APP_INSIGHTS_LOG_RESPONSE_ENABLED": "false"}
# Azure's data collector stores whole bodies, which it captures itself, or the columns that the
# entry script passes to it through this package.
_PAYLOADS, _COLUMNS = ("request", "response"), (INPUTS, OUTPUTS)
_COLLECTOR = "azureml-ai-monitoring"
_ROUTE = {"port": 5001, "path": "/"}
_ROUTES = {
    "liveness_route": _ROUTE,
    "readiness_route": _ROUTE,
    "scoring_route": {"port": 5001, "path": "/score"},
}


@dataclass(frozen=True)
class Artifact:
    """A fetched and checked model folder, and its version."""

    version: Version
    folder: Path

    @property
    def asset(self) -> tuple[str, str]:
        """Name and version of the workspace's model asset that endpoints use."""
        return f"{self.version.name}{_SERVED}", version_of(self.version.digest)

    @property
    def reference(self) -> str:
        """The reference to the model in deployments."""
        return "azureml:{}:{}".format(*self.asset)

    @property
    def variables(self) -> dict[str, str]:
        """The container's variables: the digest it requires and the version it reports."""
        return {"MODEL_DIGEST": self.version.digest, "MODEL_VERSION": self.version.number}

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of a deployment."""
        return {
            "model": self.version.name,
            "version": self.version.number,
            DIGEST: self.version.digest,
        }

    def deployment_name(self, settings: Mapping[str, Any], code: Path) -> str:
        """Return a deterministic name that is unique to this model, code and settings."""
        parts = [self.version.digest, self.version.number, content_digest(code)]
        parts += [f"{key}={settings[key]}" for key in sorted(settings)]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
        number = re.sub("[^0-9A-Za-z]", "", self.version.number)[:12]
        return f"v{number}-{digest}"


def fetch_artifact(env: str, root: Path, wanted: str | None) -> Artifact:
    """Fetch the champion of an environment, or the wanted version, and check its digest.

    Raises
    ------
    OperationError
        If there is none, or its files differ from those that were registered.
    """
    registry = open_registry(env, root)
    found = registry.version(wanted) if wanted else registry.champion()
    if found is None:
        raise OperationError(
            f"{env} has no champion to deploy: train and register one, or name a version with "
            f"--version N. To list the versions, run: kedro mlops champion --env {env} --history"
        )
    folder = root / BUILD / "model"
    shutil.rmtree(folder, ignore_errors=True)
    return Artifact(found, registry.fetch(found, folder))


def write_code(env: str, root: Path, artifact: Artifact, *, is_champion: bool = False) -> Path:
    """Write the code to upload: only the part that serves a model.

    The code is tested locally: it loads the model and answers the model's own example.

    Parameters
    ----------
    is_champion
        Whether the model is in service, so that a rollback can replace it.

    Raises
    ------
    OperationError
        If the project's scorer cannot be imported, or the model cannot be served.
    """
    mlops = read_mlops(root, env)
    trusted = trusted_types(root, env, mlops)
    return copy_served_code(
        root,
        mlops,
        root / BUILD / "code",
        model=artifact.folder,
        trusted=trusted,
        label=str(artifact.version),
        champion_of=env if is_champion else None,
    ).folder


def collections_of(root: Path, recording: Recording) -> tuple[str, ...]:
    """Return the collections that Azure's data collector stores for a deployment; () if none.

    They are columns, ``model_inputs`` and ``model_outputs``, if the serving lock has the package
    ``azureml-ai-monitoring``; otherwise whole bodies, ``request`` and ``response``, which need no
    package and no code.

    Raises
    ------
    OperationError
        If columns are to be left out, but the collector could store only whole bodies.

    References
    ----------
    https://learn.microsoft.com/azure/machine-learning/how-to-collect-production-data
    """
    if not recording.enabled:
        return ()
    if re.search(rf"^{_COLLECTOR}\b", _read_lock(root), re.MULTILINE):
        return _COLUMNS
    if recording.leave_out:
        raise OperationError(
            f"recording.leave_out in mlops.yml names {', '.join(recording.leave_out)}, but on "
            f"Azure ML whole requests would be stored, with these columns. Add {_COLLECTOR} to "
            f"requirements/serve.in and lock it ({LOCK}): with it columns are stored. Or empty "
            "leave_out, or set recording.enabled: false for this environment."
        )
    return _PAYLOADS


def deployment_settings(root: Path, config: Deployment, recording: Recording) -> dict[str, Any]:
    """Return the settings that distinguish deployments of the same model and code.

    Raises
    ------
    OperationError
        See ``collections_of`` and ``environment_reference``.
    """
    collections = collections_of(root, recording)
    optional: dict[str, Any] = {}
    if collections:
        left_out = ", ".join(recording.leave_out) or "nothing"
        optional["recording"] = f"{recording.share:g} of {' '.join(collections)} without {left_out}"
    if config.cluster:  # not for managed deployments, whose names must not change
        optional["resources"] = config.cluster.model_dump_json(include={"requests", "limits"})
    return optional | {
        "instance_type": (config.cluster or config).instance_type,
        "instance_count": config.instance_count,
        "request_timeout_seconds": config.request_timeout_seconds,
        "environment": environment_reference(root, serving_environment(config)),
    }


def describe_deployment(
    client: "MLClient",
    root: Path,
    config: Deployment,
    recording: Recording,
    artifact: Artifact,
    name: str,
    code: Path,
    say: Say,
) -> "OnlineDeployment":
    """Register model and environment, and return the deployment as an Azure ML entity.

    If answers are recorded, Azure's data collector stores them in the workspace's storage, and
    Application Insights gets each request's time and status, without its content.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    from azure.ai.ml.entities import (
        CodeConfiguration,
        KubernetesOnlineDeployment,
        ManagedOnlineDeployment,
        OnlineRequestSettings,
        ResourceRequirementsSettings,
    )

    timeout = config.request_timeout_seconds * _MILLISECONDS
    variables = artifact.variables | _QUIET | _recording_variables(root, recording)
    common: dict[str, Any] = {
        "name": name,
        "endpoint_name": config.endpoint,
        "model": ensure_model_asset(client, artifact, say),
        "environment": ensure_environment(client, root, serving_environment(config), say),
        "code_configuration": CodeConfiguration(code=str(code), scoring_script=ENTRY),
        "environment_variables": variables,
        "instance_count": config.instance_count,
        "request_settings": OnlineRequestSettings(request_timeout_ms=timeout),
        "app_insights_enabled": recording.enabled,
        "data_collector": _data_collector(root, recording),
        "tags": artifact.tags | {CREATED: datetime.now(UTC).isoformat(timespec="seconds")},
    }
    if (cluster := config.cluster) is None:
        return ManagedOnlineDeployment(instance_type=config.instance_type, **common)
    # always set requests: Azure's client cannot read a deployment without them
    resources = ResourceRequirementsSettings(
        _resource_settings(cluster.requests), _resource_settings(cluster.limits)
    )
    return KubernetesOnlineDeployment(
        instance_type=cluster.instance_type, resources=resources, **common
    )


def _resource_settings(resources: Resources | None) -> "ResourceSettings | None":
    from azure.ai.ml.entities import ResourceSettings

    return ResourceSettings(**resources.model_dump()) if resources else None


def _data_collector(root: Path, recording: Recording) -> "DataCollector | None":
    from azure.ai.ml.entities import DataCollector, DeploymentCollection

    names = collections_of(root, recording)
    if not names:
        return None
    collections = {name: DeploymentCollection(enabled="true") for name in names}
    # The entry script samples columns: Azure would sample inputs and outputs independently.
    share = 1.0 if names == _COLUMNS else recording.share
    return DataCollector(collections, rolling_rate="hour", sampling_rate=share)


def _recording_variables(root: Path, recording: Recording) -> dict[str, str]:
    if collections_of(root, recording) != _COLUMNS:
        return {}
    left_out = json.dumps(recording.leave_out)
    return {"RECORD_SHARE": str(recording.share), "RECORD_LEAVE_OUT": left_out}


def ensure_model_asset(client: "MLClient", artifact: Artifact, say: Say) -> str:
    """Register the model in the workspace unless it exists, and return its reference.

    Raises
    ------
    OperationError
        If this version is taken by another model, or Azure refuses it or cannot be reached.
    """
    from azure.ai.ml.entities import Model

    if _is_asset(client, artifact):
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


def download_contract(client: "MLClient", tags: Mapping[str, str]) -> Contract:
    """Download the contract of a deployment's model: its schema and its example.

    It comes from the workspace, so that calling a deployment needs no registry.

    Parameters
    ----------
    tags
        The tags of the deployment.

    Raises
    ------
    OperationError
        If the model is missing or has no contract, or Azure refuses.
    """
    name, version = f"{tags.get('model')}{_SERVED}", version_of(tags.get(DIGEST, ""))
    doing = f"fetching the example request of the model {name}:{version}"
    with azure_errors(doing), TemporaryDirectory() as folder:
        model = client.models.get(name, version)
        download_uri(client, f"{str(model.path).rstrip('/')}/{CONTRACT}", Path(folder))
        found = next(Path(folder).rglob(CONTRACT), Path(folder, CONTRACT))
        try:
            return read_contract(found.parent)
        except UnusableModelError as error:
            raise OperationError(f"{doing}: {error}") from error


def serving_environment(config: Deployment) -> ServingEnvironment:
    """Return the environment that online deployments run in.

    Raises
    ------
    OperationError
        If ``mlops.yml`` names none.
    """
    if config.environment is None:
        raise OperationError(
            "mlops.yml names no deployment.environment: give it a name, and the image that "
            f"{LOCK} is installed on, as in {{name: serving, image: python:3.12-slim}}."
        )
    return config.environment


def environment_reference(root: Path, environment: ServingEnvironment) -> str:
    """Return the registered environment's name, ``azureml:name:version``.

    The version is a digest of the lock and of the image it is installed on.

    Raises
    ------
    OperationError
        If the project has no serving lock.
    """
    return f"azureml:{environment.name}:{_environment_version(root, environment)}"


def ensure_environment(
    client: "MLClient", root: Path, environment: ServingEnvironment, say: Say
) -> str:
    """Register the environment unless that version exists, and return its reference.

    Raises
    ------
    OperationError
        If Azure refuses it or cannot be reached.
    """
    from azure.core.exceptions import ResourceNotFoundError

    name = environment_reference(root, environment)
    with azure_errors(f"looking for the environment {name}"):
        try:
            client.environments.get(environment.name, _environment_version(root, environment))
        except ResourceNotFoundError:
            pass
        else:
            return name
    say(f"registering the environment {name}; Azure ML builds its image, which takes minutes")
    with azure_errors(f"registering the environment {name}"):
        client.environments.create_or_update(_environment(root, environment))
    return name


def write_build_context(root: Path, environment: ServingEnvironment) -> Path:
    """Write Dockerfile, lock and wheels: ``docker build`` of the folder builds the same image.

    Raises
    ------
    OperationError
        If there is no lock, or a wheel differs from the one that it names.
    """
    lock = _read_lock(root)
    refuse_changed_wheels(root, [LOCK])
    folder = root / BUILD / "environment"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / Path(LOCK).name).write_text(lock, encoding="utf-8", newline="\n")
    for wheel in local_wheels(root, [LOCK]).values():
        (folder / WHEELS).mkdir(exist_ok=True)
        shutil.copyfile(wheel, folder / WHEELS / wheel.name)
    text = _DOCKERFILE.read_text(encoding="utf-8")
    # Azure ML passes no arguments to the build.
    text = re.sub(r"^ARG IMAGE$", f"ARG IMAGE={environment.image}", text, flags=re.MULTILINE)
    (folder / "Dockerfile").write_text(text, encoding="utf-8", newline="\n")
    return folder


def _is_asset(client: "MLClient", artifact: Artifact) -> bool:
    from azure.core.exceptions import ResourceNotFoundError

    name, version = artifact.asset
    with azure_errors(f"looking for the model {name}:{version}"):
        try:
            found = client.models.get(name, version)
        except ResourceNotFoundError:
            return False
    if (found.tags or {}).get(DIGEST) != artifact.version.digest:
        raise OperationError(
            f"The workspace has a model {name}:{version} of different content, and "
            "Azure ML never replaces one: set another registry.name in mlops.yml."
        )
    return True


def _environment_version(root: Path, environment: ServingEnvironment) -> str:
    hasher = hashlib.sha256(environment.model_dump_json().encode())
    hasher.update(_read_lock(root).encode() + _DOCKERFILE.read_bytes())
    return hasher.hexdigest()[:12]


def _read_lock(root: Path) -> str:
    try:
        return (root / LOCK).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise OperationError(
            f"There is no {LOCK} with the packages that an endpoint installs: lock them into this "
            "file, with hashes."
        ) from error


def _environment(root: Path, environment: ServingEnvironment) -> "Environment":
    from azure.ai.ml.entities import BuildContext, Environment

    return Environment(
        name=environment.name,
        version=_environment_version(root, environment),
        description=f"Made from {LOCK}.",
        build=BuildContext(
            path=str(write_build_context(root, environment)), dockerfile_path="Dockerfile"
        ),
        inference_config=_ROUTES,
    )
