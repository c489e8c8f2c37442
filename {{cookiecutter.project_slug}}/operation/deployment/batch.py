"""The batch endpoint: a pipeline of one step that scores files in the environment of the jobs.

A pipeline is deployed, not a model with a scoring script: such a script needs azureml-core, which
cannot be installed beside azure-ai-ml. A step is also given all files, so that what one file tells
of a sensor is known in the next, as in ``kedro run --pipelines score``.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from operation.azureml.config import AzureML
from operation.azureml.environment import ensure_environment, reference
from operation.azureml.snapshot import copy_snapshot
from operation.azureml.utils import azure_errors, configuration, workspace
from operation.deployment.artifact import BUILD, Artifact, fetch
from operation.deployment.config import Deployment, read_deployment
from operation.deployment.smoke import expected_of
from operation.errors import RefusedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import PipelineComponent

Say = Callable[[str], None]
READINGS, SCORES = "readings", "scores"  # what a job of the endpoint is given, and makes
_ENTRY = "operation.deployment.batch_entry"
_MODEL = "model"  # its folder beside the code
_SHOWN = 1000


@dataclass(frozen=True)
class _Wanted:
    """All that a deployment is made of; ``name`` is made from it."""

    env: str
    name: str
    artifact: Artifact
    code: Path
    environment: str
    config: Deployment
    of_jobs: AzureML


def deploy(env: str, root: Path, version: str | None, dry_run: bool, say: Say) -> int:
    """Deploy the champion, or a version, for batches; a second time nothing is changed.

    Raises
    ------
    RefusedError
        If what would be uploaded does not score here.
    OperationError
        If it cannot be deployed; what answered by default still does.
    """
    client = workspace(env)
    wanted = _wanted(env, root, version)
    endpoint = wanted.config.batch_endpoint
    say(f"{env}: {wanted.artifact.version}")
    default, names = _read(client, endpoint)
    if default == wanted.name:
        say(f"{wanted.name} is deployed at {endpoint}, nothing to change")
        return 0
    for line in _lines(wanted, default, names):
        print(f"  {line}", flush=True)  # noqa: T201, the plan is the verb's answer
    if dry_run:
        say("nothing was changed")
        return 0
    _carry_out(client, root, wanted, (default, names), say)
    say(f"{wanted.name} is deployed at {endpoint}; to score a folder of files, type:")
    say(f"  python -m operation.execution invoke --env {env} --batch --input FOLDER")
    return 0


def _wanted(env: str, root: Path, version: str | None) -> _Wanted:
    config, of_jobs = read_deployment(root, env), configuration(env, root)
    artifact = fetch(env, root, version)
    code = root / BUILD / "batch"
    shutil.rmtree(code, ignore_errors=True)
    copy_snapshot(root, code)
    shutil.copytree(artifact.folder, code / _MODEL)
    environment = reference(root, of_jobs)
    settings = {"batch": config.batch.model_dump(), "environment": environment}
    name = artifact.deployment(settings, code)
    return _Wanted(env, name, artifact, code, environment, config, of_jobs)


def _read(client: "MLClient", endpoint: str) -> tuple[str | None, list[str]]:
    """Return the default deployment and all; None and nothing if there is no endpoint."""
    from azure.core.exceptions import ResourceNotFoundError

    with azure_errors(f"reading the batch endpoint {endpoint}"):
        try:
            found = client.batch_endpoints.get(endpoint)
        except ResourceNotFoundError:
            client.workspaces.get(client.workspace_name)  # a missing one answers the same
            return None, []
        names = [str(each.name) for each in client.batch_deployments.list(endpoint)]
    defaults: Any = found.defaults
    return (defaults.get("deploymentName") if defaults else None) or "", names


def _lines(wanted: _Wanted, default: str | None, names: list[str]) -> list[str]:
    said = [f"make the batch endpoint {wanted.config.batch_endpoint}"] if default is None else []
    if wanted.name not in names:
        said.append(f"make the deployment {wanted.name} on {wanted.config.batch.compute}")
    said.append(f"let {wanted.name} be the default deployment")
    return said + [f"delete the deployment {name}" for name in names if name != wanted.name]


def _carry_out(
    client: "MLClient",
    root: Path,
    wanted: _Wanted,
    there: tuple[str | None, list[str]],
    say: Say,
) -> None:
    from azure.ai.ml.entities import BatchEndpoint

    endpoint, (default, names) = wanted.config.batch_endpoint, there
    if wanted.name not in names:
        say(f"trying {wanted.name} here, on a few readings")
        _try_here(wanted)
    if default is None:
        say(f"making the batch endpoint {endpoint}")
        with azure_errors(f"making the batch endpoint {endpoint}"):
            client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=endpoint)).result()
    if wanted.name not in names:
        _make(client, root, wanted, say)
    # only then: until it is the default, nobody is sent to it
    say(f"letting {wanted.name} be the default deployment")
    with azure_errors(f"changing the default deployment of {endpoint}"):
        found = client.batch_endpoints.get(endpoint)
        found.defaults = {"deployment_name": wanted.name}
        client.batch_endpoints.begin_create_or_update(found).result()
    for name in names:
        if name != wanted.name:
            say(f"deleting the deployment {name}; jobs it has started go on")
            with azure_errors(f"deleting the deployment {name} of {endpoint}"):
                client.batch_deployments.begin_delete(name, endpoint).result()


def _make(client: "MLClient", root: Path, wanted: _Wanted, say: Say) -> None:
    from azure.ai.ml.entities import PipelineComponentBatchDeployment

    endpoint = wanted.config.batch_endpoint
    ensure_environment(client, root, wanted.of_jobs, say)
    say(f"uploading code and model of {wanted.name}")
    with azure_errors(f"registering what {wanted.name} runs"):
        component = client.components.create_or_update(_component(wanted))
    deployment = PipelineComponentBatchDeployment(
        name=wanted.name,
        endpoint_name=endpoint,
        component=component.id,
        settings={
            "default_compute": wanted.config.batch.compute,
            "continue_on_step_failure": False,
        },
        tags=wanted.artifact.tags,
    )
    say(f"making the deployment {wanted.name}")
    try:
        with azure_errors(f"making the deployment {wanted.name}"):
            client.batch_deployments.begin_create_or_update(deployment).result()
    except BaseException:
        _remove(client, wanted, say)
        raise


def _remove(client: "MLClient", wanted: _Wanted, say: Say) -> None:
    """Delete what was half made; a fault of that must not hide the first one."""
    endpoint = wanted.config.batch_endpoint
    try:
        with azure_errors(f"deleting the deployment {wanted.name}"):
            client.batch_deployments.begin_delete(wanted.name, endpoint).result()
    except BaseException as error:  # noqa: BLE001
        say(f"{wanted.name} could not be deleted either, see {endpoint} in the Studio: {error}")


def _component(wanted: _Wanted) -> "PipelineComponent":
    """Write the pipeline into ``build/`` as ``az ml component create`` takes it, and load it."""
    from azure.ai.ml import load_component

    version = wanted.artifact.version
    words = [
        *("python", *_entry(wanted)),
        *("--readings", _reference(f"inputs.{READINGS}")),
        *("--scores", _reference(f"outputs.{SCORES}")),
    ]
    folder = {"type": "uri_folder"}
    step = {
        "type": "command",
        "command": " ".join(words),
        "code": wanted.code.name,
        "environment": wanted.environment,
        "inputs": {READINGS: {**folder, "path": _reference(f"parent.inputs.{READINGS}")}},
        "outputs": {SCORES: _reference(f"parent.outputs.{SCORES}")},
    }
    pipeline = {
        "type": "pipeline",
        "name": re.sub("[^a-z0-9]", "_", f"{version.name}_batch".lower()),
        "version": wanted.name,
        "description": "Scores files of readings.",
        "inputs": {READINGS: folder},
        # uploaded at the end: it is written beside its place and moved, which a mount may refuse
        "outputs": {SCORES: {**folder, "mode": "upload"}},
        "jobs": {"score": step},
    }
    file = wanted.code.parent / "batch.yml"
    file.write_text(yaml.safe_dump(pipeline, sort_keys=False, width=1000), encoding="utf-8")
    return load_component(file)


def _entry(wanted: _Wanted) -> list[str]:
    version = wanted.artifact.version
    return [
        *("-m", _ENTRY, "--env", wanted.env, "--model", _MODEL),
        *("--digest", version.digest, "--version", version.number),
    ]


def _try_here(wanted: _Wanted) -> None:
    """Score a few readings by a copy of what would be uploaded."""
    rows = json.loads(expected_of(wanted.artifact.folder).body)["data"]
    with TemporaryDirectory() as folder:
        readings, scores = Path(folder, "readings"), Path(folder, "scores")
        readings.mkdir()
        with (readings / "some.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        done = subprocess.run(
            [*(sys.executable, *_entry(wanted)), "--readings", readings, "--scores", scores],
            cwd=wanted.code,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        made = sorted(scores.rglob("*.csv"))
        lines = made[0].read_text(encoding="utf-8").splitlines() if made else []
    if done.returncode or len(lines) != len(rows) + 1:
        raise RefusedError(
            f"{wanted.name} does not score here, in a copy of what would be uploaded: "
            f"{done.stderr[-_SHOWN:].strip() or f'{len(lines)} lines for {len(rows)} readings'}"
        )


def _reference(name: str) -> str:
    """Refer to a port as Azure ML does; two braces in a row are not written in this file."""
    return "$" + "{" * 2 + name + "}" * 2
