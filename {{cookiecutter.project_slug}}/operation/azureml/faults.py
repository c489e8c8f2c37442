"""What Azure's errors mean: what was tried, what Azure said, what to do about it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from {{ cookiecutter.package_name }}.redaction import redact

from operation.azureml.identity import in_job, variable
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY, _SERVER = 401, 403, 404, 409, 429, 500
_ADVICE = {
    _UNAUTHORIZED: "Azure does not accept the sign-in. Sign in again: az login (in CI look at "
    "AZURE_TENANT_ID, AZURE_CLIENT_ID and what proves them)",
    _FORBIDDEN: "You may not do that. Ask an owner of the resource group for a role that may, such "
    "as AzureML Data Scientist (to run) or Contributor (to provision)",
    _NOT_FOUND: "It is not there. Compare the names in azureml.yml with what exists: "
    "python -m operation.execution provision --dry-run --env ENV",
    _CONFLICT: "It exists already in another form, or is being changed just now. Look at it in the "
    "Studio, then try again",
    _TOO_MANY: "Azure asks for fewer requests, also after several tries. Try again in some minutes",
    _SERVER: "The fault is Azure's and did not pass after several tries. Try again later; "
    "https://status.azure.com tells of known faults",
}
_LONGEST = 400
_SECRETS = (
    # the query of an address may be a SAS
    (re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\")]*"), r"\1"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.?[\w-]*"), "<token>"),
    (re.compile(r"(?i)(sig|secret|password|accountkey)=[^\s&;'\"]+"), r"\1=***"),
    (re.compile(r"(?i)(bearer) [\w.~+/-]+"), r"\1 ***"),
)


@contextmanager
def azure_errors(doing: str, advice: Mapping[int, str] | None = None) -> Iterator[None]:
    """Turn what Azure's clients raise into one clear sentence.

    Parameters
    ----------
    doing
        What is tried, as in "registering the environment anomalies:3f2a".
    advice
        What to do about a status, where more is known than for any request.

    Raises
    ------
    OperationError
        If Azure refuses, fails or cannot be reached.
    """
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        said = _sentence(_cause(error), _ADVICE | dict(advice or {}))
        raise OperationError(f"{doing}: {said}") from error


def without_secrets(text: str) -> str:
    """Leave out tokens, keys and signatures, and more of an address than must be."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return redact(text)


def _sentence(error: "AzureError", advice: Mapping[int, str]) -> str:
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )

    said = _first_line(error)
    status = getattr(error, "status_code", None)
    if isinstance(error, HttpResponseError) and status:
        what_to_do = advice.get(min(status, _SERVER), "Azure does not take it as it is")
        return f"{what_to_do}. Azure said ({status}): {said}"
    if isinstance(error, ClientAuthenticationError):
        return _not_signed_in(said)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return (
            "Azure could not be reached, or the connection broke off. Check the network (and "
            f"HTTPS_PROXY, if there is a proxy), then try again. The fault: {said}"
        )
    return said


def _cause(error: "AzureError") -> "AzureError":
    """Find what azure-ai-ml has wrapped, as it does with faults of uploads and downloads."""
    from azure.core.exceptions import AzureError, HttpResponseError

    while not isinstance(error, HttpResponseError) and isinstance(error.__cause__, AzureError):
        error = error.__cause__
    return error


def _not_signed_in(said: str) -> str:
    if in_job():
        return (
            "The job has no identity to sign in with. Give its cluster a managed identity, or set "
            f"identity: user in azureml.yml. Azure said: {said}"
        )
    if variable("AZURESUBSCRIPTION_CLIENT_ID"):
        return (
            "Azure does not take the service connection of this step. Check that its federation "
            f"names this organization, project and connection. Azure said: {said}"
        )
    if variable("AZURE_CLIENT_ID"):
        return (
            "Azure does not take the service principal that AZURE_CLIENT_ID names. Check that, "
            "AZURE_TENANT_ID and what proves them: a secret may have expired. Azure said: "
            f"{said}"
        )
    return (
        "Nobody is signed in to Azure. Type: az login (in CI set AZURE_TENANT_ID, AZURE_CLIENT_ID "
        f"and what proves them). The Azure CLI said: {said}"
    )


def _first_line(error: "AzureError") -> str:
    text = str(getattr(error, "message", None) or error).strip()
    # of the ways in which a user may be signed in, what the usual one said
    usual = re.search(r"AzureCliCredential: (.+)", text)
    line = usual[1] if usual else text.partition("\n")[0]
    return without_secrets(line or type(error).__name__)[:_LONGEST]
