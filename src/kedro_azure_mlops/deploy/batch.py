"""The batch endpoint: a pipeline of the project that scores files, in the environment of the jobs.

A pipeline is deployed, not a model with a scoring script: such a script needs azureml-core, which
cannot be installed together with azure-ai-ml. A step also reads all files at once, so that a series
continues from one file to the next, as in ``kedro run --pipelines score``.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from kedro_azure_mlops.azure.environment import ensure_environment, reference
from kedro_azure_mlops.azure.snapshot import copy_snapshot
from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.config import (
    AzureML,
    Batch,
    Deployment,
    bootstrap,
    deployment_of,
    read_azureml,
)
from kedro_azure_mlops.contract import UnusableModelError, read_contract
from kedro_azure_mlops.deploy.artifact import BUILD, Artifact, Say, fetch_artifact
from kedro_azure_mlops.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Component

INPUT, OUTPUT = "data", "scores"  # input and output of the endpoint's jobs
_ENTRY = "kedro_azure_mlops.deploy.batch_entry"
_MODEL = "model"  # the model's folder, next to the code
_MAX_SHOWN = 1000


def deploy_batch(
    env: str,
    root: Path | None = None,
    *,
    version: str | None = None,
    dry_run: bool = False,
    say: Say = print,
) -> str:
    """Deploy the champion of an environment for batches, and return the deployment's name.

    The pipeline ``deployment.batch.pipeline`` is deployed with this model in place of each model
    that it reads. A new deployment becomes the default as soon as it exists, then the others are
    deleted. Deploying the same model, code and settings again changes nothing.

    Parameters
    ----------
    version
        A number or the beginning of a digest, instead of the champion.
    dry_run
        Report the plan and change nothing.
    say
        Called with each line of progress; lines of the plan are indented.

    Raises
    ------
    RefusedError
        If scoring with the files to upload fails locally.
    OperationError
        If it cannot be deployed; the previous default deployment still answers.
    """
    root = root or Path.cwd()
    client = workspace(env, root)
    wanted = _prepare_deployment(env, root, version)
    endpoint = wanted.endpoint
    say(f"{env}: {wanted.artifact.version}")
    default, names = _read_endpoint(client, endpoint)
    if default == wanted.name:
        say(f"{wanted.name} is deployed at {endpoint}, nothing to change")
        return wanted.name
    for line in _plan_lines(wanted, default, names):
        say(f"  {line}")
    if dry_run:
        say("nothing was changed")
        return wanted.name
    _carry_out(client, root, wanted, default, names, say)
    say(f"{wanted.name} is deployed at {endpoint}; to score a folder of files, run:")
    say(f"  kedro mlops invoke --env {env} --batch --input FOLDER")
    return wanted.name


@dataclass(frozen=True)
class _BatchDeployment:
    """The deployment to create; ``name`` is derived from its other parts."""

    env: str
    name: str
    artifact: Artifact
    code: Path
    environment: str
    endpoint: str
    batch: Batch
    ports: tuple[str, str]  # the catalog entries that the pipeline reads and writes
    job_config: AzureML

    @cached_property
    def command(self) -> list[str]:
        version, (read, made) = self.artifact.version, self.ports
        return [
            *("-m", _ENTRY, "--env", self.env, "--pipeline", self.batch.pipeline),
            *("--reads", read, "--makes", made),
            *("--model", _MODEL, "--digest", version.digest, "--version", version.number),
        ]


def _prepare_deployment(env: str, root: Path, version: str | None) -> _BatchDeployment:
    config, job_config = deployment_of(root, env), read_azureml(root, env)
    batch = _batch_of(config)
    if job_config.environment is None:
        raise OperationError(
            "azureml.yml names no environment, but the steps of a batch endpoint run in one: name "
            "one in addition to the image."
        )
    ports = _ports(env, root, batch)
    artifact = fetch_artifact(env, root, version)
    code = root / BUILD / "batch"
    shutil.rmtree(code, ignore_errors=True)
    copy_snapshot(root, code)
    shutil.copytree(artifact.folder, code / _MODEL)
    environment = reference(root, job_config)
    settings = {"batch": batch.model_dump(), "environment": environment}
    name = artifact.deployment_name(settings, code)
    endpoint = config.batch_endpoint
    return _BatchDeployment(
        env, name, artifact, code, environment, endpoint, batch, ports, job_config
    )


def _batch_of(config: Deployment) -> Batch:
    if config.batch is None:
        raise OperationError(
            "mlops.yml has no deployment.batch: name the cluster and the pipeline there, as in "
            "{compute: cpu-cluster, pipeline: score}."
        )
    return config.batch


def _ports(env: str, root: Path, batch: Batch) -> tuple[str, str]:
    """Return the catalog entries that a job of the endpoint binds: its input and its output."""
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    bootstrap(root)
    if batch.pipeline not in pipelines:
        raise OperationError(
            f"deployment.batch.pipeline in mlops.yml: there is no pipeline {batch.pipeline}; "
            f"existing pipelines: {', '.join(sorted(pipelines))}."
        )
    pipeline = pipelines[batch.pipeline]
    catalog = KedroSession.create(project_path=root, env=env).load_context().catalog
    models = set(model_entries(catalog, pipeline))
    inputs = {n for n in pipeline.inputs() if not n.startswith("params:")} - {"parameters"} - models
    return (
        _choose_entry("input", batch.input, inputs, batch.pipeline),
        _choose_entry("output", batch.output, pipeline.outputs(), batch.pipeline),
    )


def model_entries(catalog: Any, pipeline: Any) -> list[str]:
    """Return the model entries that a pipeline reads: a deployment replaces them with its own."""
    from kedro_azure_mlops.models import ModelDataset, RegisteredChampion

    kinds = (ModelDataset, RegisteredChampion)
    names = (name for name in pipeline.inputs() if not name.startswith("params:"))
    return sorted(name for name in names if isinstance(catalog.get(name), kinds))


def _choose_entry(key: str, configured: str | None, known: set[str], pipeline: str) -> str:
    if configured in known or (configured is None and len(known) == 1):
        return configured or next(iter(known))
    raise OperationError(
        f"deployment.batch.{key} in mlops.yml: name one of the {key}s of the pipeline {pipeline}: "
        f"{', '.join(sorted(known)) or 'it has none'}."
    )


def _read_endpoint(client: "MLClient", endpoint: str) -> tuple[str | None, list[str]]:
    """Return the default deployment and all names; None and no names without an endpoint."""
    from azure.core.exceptions import ResourceNotFoundError

    with azure_errors(f"looking up the batch endpoint {endpoint}"):
        try:
            found = client.batch_endpoints.get(endpoint)
        except ResourceNotFoundError:
            client.workspaces.get(client.workspace_name)  # fails if the workspace is missing
            return None, []
        names = [str(each.name) for each in client.batch_deployments.list(endpoint)]
    defaults: Any = found.defaults
    return (defaults.get("deploymentName") if defaults else None) or "", names


def _plan_lines(wanted: _BatchDeployment, default: str | None, names: Sequence[str]) -> list[str]:
    lines = [f"create the batch endpoint {wanted.endpoint}"] if default is None else []
    if wanted.name not in names:
        lines.append(
            f"create the deployment {wanted.name} of the pipeline {wanted.batch.pipeline} on "
            f"{wanted.batch.compute}"
        )
    lines.append(f"make {wanted.name} the default deployment")
    return lines + [f"delete the deployment {name}" for name in names if name != wanted.name]


def _carry_out(
    client: "MLClient",
    root: Path,
    wanted: _BatchDeployment,
    default: str | None,
    names: Sequence[str],
    say: Say,
) -> None:
    from azure.ai.ml.entities import BatchEndpoint

    endpoint = wanted.endpoint
    if wanted.name not in names:
        say(f"trying {wanted.name} locally, on a few rows")
        _try_locally(root, wanted)
    if default is None:
        say(f"creating the batch endpoint {endpoint}")
        with azure_errors(f"creating the batch endpoint {endpoint}"):
            client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=endpoint)).result()
    if wanted.name not in names:
        _create(client, root, wanted, say)
    # last, because only the default deployment receives requests
    say(f"making {wanted.name} the default deployment")
    with azure_errors(f"changing the default deployment of {endpoint}"):
        found = client.batch_endpoints.get(endpoint)
        found.defaults = {"deployment_name": wanted.name}
        client.batch_endpoints.begin_create_or_update(found).result()
    for name in names:
        if name != wanted.name:
            say(f"deleting the deployment {name}; jobs it has started keep running")
            with azure_errors(f"deleting the deployment {name} of {endpoint}"):
                client.batch_deployments.begin_delete(name, endpoint).result()


def _create(client: "MLClient", root: Path, wanted: _BatchDeployment, say: Say) -> None:
    from azure.ai.ml.entities import PipelineComponentBatchDeployment

    ensure_environment(client, root, wanted.job_config, say)
    say(f"uploading code and model of {wanted.name}")
    with azure_errors(f"registering the pipeline of {wanted.name}"):
        component = client.components.create_or_update(_component(wanted))
    settings: Any = {
        "default_compute": wanted.batch.compute,
        "continue_on_step_failure": False,
    }
    deployment = PipelineComponentBatchDeployment(
        name=wanted.name,
        endpoint_name=wanted.endpoint,
        component=component.id,
        settings=settings,
        tags=wanted.artifact.tags,
    )
    say(f"creating the deployment {wanted.name}")
    try:
        with azure_errors(f"creating the deployment {wanted.name}"):
            client.batch_deployments.begin_create_or_update(deployment).result()
    except BaseException:
        _remove(client, wanted, say)
        raise


def _remove(client: "MLClient", wanted: _BatchDeployment, say: Say) -> None:
    """Delete an incomplete deployment; a failure here must not hide the original error."""
    name, endpoint = wanted.name, wanted.endpoint
    try:
        with azure_errors(f"deleting the deployment {name}"):
            client.batch_deployments.begin_delete(name, endpoint).result()
    except BaseException as error:  # noqa: BLE001
        say(f"{name} could not be deleted either, see {endpoint} in the Studio: {error}")


def _component(wanted: _BatchDeployment) -> "Component":
    """Write the pipeline into ``build/`` as a file for ``az ml component create``, and load it."""
    from azure.ai.ml import load_component

    arguments = [
        *("python", *wanted.command),
        *(f"--{INPUT}", _reference(f"inputs.{INPUT}")),
        *(f"--{OUTPUT}", _reference(f"outputs.{OUTPUT}")),
    ]
    folder = {"type": "uri_folder"}
    step = {
        "type": "command",
        "command": " ".join(arguments),
        "code": wanted.code.name,
        "environment": wanted.environment,
        "inputs": {INPUT: {**folder, "path": _reference(f"parent.inputs.{INPUT}")}},
        "outputs": {OUTPUT: _reference(f"parent.outputs.{OUTPUT}")},
    }
    pipeline = {
        "type": "pipeline",
        "name": re.sub("[^a-z0-9]", "_", f"{wanted.artifact.version.name}_batch".lower()),
        "version": wanted.name,
        "description": f"Scores files with the pipeline {wanted.batch.pipeline}.",
        "inputs": {INPUT: folder},
        # uploaded at the end: scores are written and then renamed, which a mount may not support
        "outputs": {OUTPUT: {**folder, "mode": "upload"}},
        "jobs": {"score": step},
    }
    file = wanted.code.parent / "batch.yml"
    file.write_text(yaml.safe_dump(pipeline, sort_keys=False, width=1000), encoding="utf-8")
    return load_component(file)


def _try_locally(root: Path, wanted: _BatchDeployment) -> None:
    """Score an example with the files to upload."""
    with TemporaryDirectory() as folder:
        data, scores = Path(folder, INPUT), Path(folder, OUTPUT)
        data.mkdir()
        _write_example(root, wanted, data)
        variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.run(
            [sys.executable, *wanted.command, f"--{INPUT}", data, f"--{OUTPUT}", scores],
            cwd=wanted.code,
            env=variables | {"PYTHONDONTWRITEBYTECODE": "1"},  # keep bytecode out of the upload
            capture_output=True,
            text=True,
            check=False,
        )
        written = [file for file in scores.rglob("*") if file.is_file() and file.stat().st_size]
    if process.returncode or not written:
        raise RefusedError(
            f"{wanted.name} cannot score locally, in a copy of the files to upload: "
            f"{process.stderr[-_MAX_SHOWN:].strip() or 'it wrote no file'}"
        )


def _write_example(root: Path, wanted: _BatchDeployment, folder: Path) -> None:
    if example := wanted.batch.example:
        if not (root / example).is_file():
            raise OperationError(f"deployment.batch.example in mlops.yml: no file {example}.")
        shutil.copy(root / example, folder)
        return
    try:
        rows = read_contract(wanted.artifact.folder).example
    except UnusableModelError as error:
        raise OperationError(f"The model cannot be deployed: {error}") from error
    with (folder / "example.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _reference(name: str) -> str:
    """Return a reference to a port, which Azure ML fills in."""
    return "$" + "{" * 2 + name + "}" * 2
