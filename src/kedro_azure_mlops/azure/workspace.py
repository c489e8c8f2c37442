"""Connect to a workspace, and explain Azure's errors."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.identity import OF_JOB, credential, in_job, variable
from kedro_azure_mlops.config import configuration_folder, read_azureml
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.safety import redact

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.exceptions import AzureError

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY, _SERVER = 401, 403, 404, 409, 429, 500
_ADVICE = {
    _UNAUTHORIZED: "Azure does not accept the sign-in. Sign in again: az login (in CI check "
    "AZURE_TENANT_ID, AZURE_CLIENT_ID and their credential)",
    _FORBIDDEN: "You do not have permission. Ask an owner of the resource group for a role that "
    "allows it, such as AzureML Data Scientist (to run) or Contributor (to provision)",
    _NOT_FOUND: "It does not exist. Compare the names in azureml.yml with what exists: "
    "kedro mlops provision --dry-run --env ENV",
    _CONFLICT: "It already exists in another form, or is being changed right now. Look at it in "
    "the Studio, then try again",
    _TOO_MANY: "Azure still throttles requests after several tries. Try again in a few minutes",
    _SERVER: "The fault is Azure's and persists after several tries. Try again later; "
    "https://status.azure.com lists known incidents",
}
_MAX_LENGTH = 400
_LONGEST_FAULT = 200
_SECRETS = (
    # the query of a URL may be a SAS token
    (re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\")]*"), r"\1"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.?[\w-]*"), "<token>"),
    (re.compile(r"(?i)(sig|secret|password|accountkey)=[^\s&;'\"]+"), r"\1=***"),
    (re.compile(r"(?i)(bearer) [\w.~+/-]+"), r"\1 ***"),
)


@contextmanager
def azure_errors(doing: str, advice: Mapping[int, str] | None = None) -> Iterator[None]:
    """Turn errors of Azure's clients into one clear sentence.

    Parameters
    ----------
    doing
        The current action, such as "registering the environment plant:3f2a".
    advice
        Advice by status code, which replaces the general advice.

    Raises
    ------
    OperationError
        If Azure refuses, fails or cannot be reached.
    """
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        message = _explain(_cause(error), _ADVICE | dict(advice or {}))
        raise OperationError(f"{without_secrets(doing)}: {message}") from error


def without_secrets(text: str) -> str:
    """Remove tokens, keys and signatures, and the query of every URL."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return redact(text)


def _explain(error: "AzureError", advice: Mapping[int, str]) -> str:
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )

    message = _first_line(error)
    status = getattr(error, "status_code", None)
    if isinstance(error, HttpResponseError) and status:
        remedy = advice.get(min(status, _SERVER), "Azure does not accept it")
        return f"{remedy}. Azure said ({status}): {message}"
    if isinstance(error, ClientAuthenticationError):
        return _not_signed_in(message)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return (
            "Azure could not be reached, or the connection broke. Check the network (and "
            f"HTTPS_PROXY, if there is a proxy), then try again. The error: {message}"
        )
    return message


def _cause(error: "AzureError") -> "AzureError":
    """Return the error that azure-ai-ml has wrapped, as it does in uploads and downloads."""
    from azure.core.exceptions import AzureError, HttpResponseError

    while not isinstance(error, HttpResponseError) and isinstance(error.__cause__, AzureError):
        error = error.__cause__
    return error


def _not_signed_in(message: str) -> str:
    if in_job():
        return (
            "The job has no identity to sign in with. Give its cluster a managed identity, or set "
            f"identity: user in azureml.yml. Azure said: {message}"
        )
    if variable("AZURESUBSCRIPTION_CLIENT_ID"):
        return (
            "Azure does not accept the service connection of this step. Check that its federation "
            f"names this organization, project and connection. Azure said: {message}"
        )
    if variable("AZURE_CLIENT_ID"):
        return (
            "Azure does not accept the service principal that AZURE_CLIENT_ID names. Check it, "
            "AZURE_TENANT_ID and their credential: a secret may have expired. Azure said: "
            f"{message}"
        )
    return (
        "You are not signed in to Azure. Run: az login (in CI set AZURE_TENANT_ID, "
        f"AZURE_CLIENT_ID and their credential). The Azure CLI said: {message}"
    )


def validation_faults(text: str) -> str:
    """Return the fields and messages in a report of azure-ai-ml's validation; else the text."""
    report = re.search(r"^\s*(\{\n.*?\n\})", text, re.DOTALL | re.MULTILINE)
    try:
        errors = json.loads(report[1])["errors"] if report else []
        faults = (f"{e['path']}: {shorten(e['message'], _LONGEST_FAULT)}" for e in errors)
        return "; ".join(faults) or text
    except (ValueError, KeyError, TypeError):
        return text


def _first_line(error: "AzureError") -> str:
    text = validation_faults(str(getattr(error, "message", None) or error).strip())
    # if every way for a user to sign in has failed, quote only the Azure CLI's error
    usual = re.search(r"AzureCliCredential: (.+)", text)
    line = usual[1] if usual else text.partition("\n")[0]
    return without_secrets(line or type(error).__name__)[:_MAX_LENGTH]


__all__ = ["azure_errors", "credential", "identifiers", "in_job", "workspace"]

IDENTIFIERS = ("subscription_id", "resource_group", "workspace_name")
_SUBSCRIPTION = "AZURE_SUBSCRIPTION_ID"


def workspace(env: str, root: Path | None = None) -> "MLClient":
    """Return a client for an environment's workspace; nothing is sent yet.

    Inside a job it is the job's workspace; otherwise the one in ``azureml.yml``.

    Raises
    ------
    OperationError
        If the workspace is not fully identified, or only some sign-in variables are set.
    """
    ids = identifiers(env, root or Path.cwd())
    signed_in = credential()
    from azure.ai.ml import MLClient

    # show_progress stays on even without a terminal: with False, azure-ai-ml 1.35 ignores upload
    # errors and waits forever for the missing parts.
    return MLClient(signed_in, *ids.values(), enable_telemetry=False)


def identifiers(env: str, root: Path) -> dict[str, str]:
    """Return subscription, resource group and name of an environment's workspace.

    Raises
    ------
    OperationError
        If one is missing, or ``config.json`` is needed but is for another workspace.
    """
    if in_job():
        return _job_identifiers()
    ids = _configured(env, root)
    if ids["workspace_name"]:
        ids["subscription_id"] = ids["subscription_id"] or variable(_SUBSCRIPTION)
    if all(ids.values()):
        return ids
    file = _config_json(root)
    if file is None:
        raise OperationError(_how_to_name(env, ids, _file(root, env)))
    return _merged(env, ids, file, root)


def _job_identifiers() -> dict[str, str]:
    missing = [name for name in OF_JOB if not variable(name)]
    if missing:
        raise OperationError(
            f"This looks like a job of Azure ML, but {' and '.join(missing)} is not set: set all "
            f"of {', '.join(OF_JOB)}, or none of them."
        )
    return dict(zip(IDENTIFIERS, map(variable, OF_JOB), strict=True))


def _configured(env: str, root: Path) -> dict[str, str]:
    names = read_azureml(root, env).workspace
    values = (names.subscription_id, names.resource_group, names.name)
    return {key: value or "" for key, value in zip(IDENTIFIERS, values, strict=True)}


def _config_json(root: Path) -> Path | None:
    files = (root / "config.json", root / ".azureml" / "config.json")
    return next((file for file in files if file.is_file()), None)


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OperationError(
            f"{file.name} is not valid JSON ({error}): download it again from the workspace's page."
        ) from error
    return found if isinstance(found, dict) else {}


def _merged(env: str, ids: Mapping[str, str], file: Path, root: Path) -> dict[str, str]:
    """Fill in what ``azureml.yml`` omits from a file, which must be for the same workspace."""
    name, found = file.relative_to(root).as_posix(), _read_json(file)
    missing = [key for key in IDENTIFIERS if not found.get(key)]
    if missing:
        raise OperationError(
            f"{name} has no {' and no '.join(missing)}: download it again from the page of the "
            "workspace."
        )
    for key, value in ids.items():
        if value and value.lower() != str(found[key]).lower():
            raise OperationError(
                f"{name} is for {key} {found[key]}, but {env} is {value} in {_file(root, env)}. "
                f"Set workspace.subscription_id there, or {_SUBSCRIPTION}, or use {env}'s own file."
            )
    return {key: value or str(found[key]) for key, value in ids.items()}


def _how_to_name(env: str, ids: Mapping[str, str], file: str) -> str:
    missing = " and ".join(key for key, value in ids.items() if not value)
    return (
        f"The workspace of {env} is not known: there is no {missing}. Set it under workspace in "
        f"{file}, or download config.json from the workspace's page in the Azure portal "
        f"into the project's folder; the subscription may also be in {_SUBSCRIPTION}."
    )


def _file(root: Path, env: str) -> str:
    return f"{configuration_folder(root)}/{env}/azureml.yml"
