"""The way to a workspace: which one, as whom, and what its errors mean."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operation.azureml.config import CONFIGURATION, AzureML, read_config, refuse_no_project
from operation.azureml.faults import azure_errors
from operation.azureml.identity import OF_JOB, credential, in_job, variable
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

__all__ = ["azure_errors", "configuration", "credential", "identifiers", "in_job", "workspace"]

IDENTIFIERS = ("subscription_id", "resource_group", "workspace_name")
_SUBSCRIPTION = "AZURE_SUBSCRIPTION_ID"


def workspace(env: str, root: Path | None = None) -> "MLClient":
    """Return a client of an environment's workspace; nothing is sent yet.

    Inside a job it is the job's workspace; else the one of ``azureml.yml``.

    Raises
    ------
    OperationError
        If the workspace is not known or half known, or what to sign in with is half set.
    """
    ids = identifiers(env, root or Path.cwd())
    signed_in = credential()
    from azure.ai.ml import MLClient

    # It shows progress, also where nobody looks: told not to, azure-ai-ml 1.35 overlooks errors of
    # uploads and waits for ever for what was not sent.
    return MLClient(signed_in, *ids.values(), enable_telemetry=False)


def configuration(env: str, root: Path) -> AzureML:
    """Read ``azureml.yml`` of an environment, without the pipelines.

    Raises
    ------
    OperationError
        If this is no project, or a key or value is wrong.
    """
    refuse_no_project(root)
    return read_config(root, env)


def identifiers(env: str, root: Path) -> dict[str, str]:
    """Find subscription, resource group and name of an environment's workspace.

    Raises
    ------
    OperationError
        If one is missing, or ``config.json`` is needed but is for another workspace.
    """
    if in_job():
        return _of_job()
    ids = _configured(env, root)
    if ids["workspace_name"]:
        ids["subscription_id"] = ids["subscription_id"] or variable(_SUBSCRIPTION)
    if all(ids.values()):
        return ids
    file = _config_json(root)
    if file is None:
        raise OperationError(_how_to_name(env, ids))
    return _merged(env, ids, file.relative_to(root).as_posix(), _read(file))


def _of_job() -> dict[str, str]:
    missing = [name for name in OF_JOB if not variable(name)]
    if missing:
        raise OperationError(
            f"This looks like a job of Azure ML, but {' and '.join(missing)} is not set: set all "
            f"of {', '.join(OF_JOB)}, or none of them."
        )
    return dict(zip(IDENTIFIERS, map(variable, OF_JOB), strict=True))


def _configured(env: str, root: Path) -> dict[str, str]:
    names = configuration(env, root).workspace
    values = (names.subscription_id, names.resource_group, names.name)
    return {key: value or "" for key, value in zip(IDENTIFIERS, values, strict=True)}


def _config_json(root: Path) -> Path | None:
    files = (root / "config.json", root / ".azureml" / "config.json")
    return next((file for file in files if file.is_file()), None)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OperationError(
            f"{file.name} is no JSON ({error}): download it again from the workspace's page."
        ) from error
    return found if isinstance(found, dict) else {}


def _merged(
    env: str, ids: Mapping[str, str], name: str, found: Mapping[str, Any]
) -> dict[str, str]:
    """Fill in what ``azureml.yml`` leaves open, unless the file is for another workspace."""
    missing = [key for key in IDENTIFIERS if not found.get(key)]
    if missing:
        raise OperationError(
            f"{name} has no {' and no '.join(missing)}: download it again from the page of the "
            "workspace."
        )
    for key, value in ids.items():
        if value and value.lower() != str(found[key]).lower():
            raise OperationError(
                f"{name} is for {key} {found[key]}, but {env} is {value} in {_file(env)}. Give "
                f"workspace.subscription_id there, or {_SUBSCRIPTION}, or {env}'s own config.json."
            )
    return {key: value or str(found[key]) for key, value in ids.items()}


def _how_to_name(env: str, ids: Mapping[str, str]) -> str:
    missing = " and ".join(key for key, value in ids.items() if not value)
    return (
        f"The workspace of {env} is not known: there is no {missing}. Give it under workspace in "
        f"{_file(env)}, or put the workspace's config.json (its page in the Azure portal offers "
        f"it) into the project's folder; the subscription may also be in {_SUBSCRIPTION}."
    )


def _file(env: str) -> str:
    return f"{CONFIGURATION}/{env}/azureml.yml"
