"""Sign in to Azure: as the job, else a service principal, else a CI run, else the user.

A CI run presents its own token instead of a secret. Azure Pipelines: a step of ``AzureCLI@2``
with a service connection that uses workload identity federation. GitHub Actions: a job with
``permissions: id-token: write`` whose identity trusts its repository. Each Azure token is requested
with a fresh CI token, because waiting for a job may take hours.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


def variable(name: str) -> str:
    """Read an environment variable; Azure Pipelines passes an undefined one as ``$(NAME)``."""
    value = os.environ.get(name, "").strip()
    return "" if value.startswith("$(") else value


_CONNECTION = (
    "AZURESUBSCRIPTION_TENANT_ID",
    "AZURESUBSCRIPTION_CLIENT_ID",
    "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID",
)
_AGENT_VARIABLES = ("SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI")
_GITHUB_VARIABLES = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_PRINCIPAL = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")
_AUDIENCE = "api://AzureADTokenExchange"
_TIMEOUT = (5, 30)  # seconds to connect, and to read
_TRIES = 3
_TRANSIENT = (429, 500, 502, 503, 504)


def federated() -> "TokenCredential | None":
    """Return the credential of a CI run; None outside of one, or if it has no identity.

    Raises
    ------
    OperationError
        If only some of its variables are set; the message states what the step lacks.
    """
    return _azure_pipelines_credential() or _github_credential()


def _azure_pipelines_credential() -> "TokenCredential | None":
    from azure.identity import AzurePipelinesCredential

    if not any(map(variable, _CONNECTION)):
        return None
    if missing := [name for name in (*_CONNECTION, *_AGENT_VARIABLES) if not variable(name)]:
        raise OperationError(
            f"The sign-in of Azure Pipelines is incomplete: there is no "
            f"{' and no '.join(missing)}. {_missing_in_azure_pipelines(missing)}"
        )
    tenant, client, connection = map(variable, _CONNECTION)
    return AzurePipelinesCredential(
        tenant_id=tenant,
        client_id=client,
        service_connection_id=connection,
        system_access_token=variable("SYSTEM_ACCESSTOKEN"),
    )


def _missing_in_azure_pipelines(missing: list[str]) -> str:
    if missing == ["SYSTEM_ACCESSTOKEN"]:
        return "Map it: write SYSTEM_ACCESSTOKEN: $(System.AccessToken) under env of the step."
    if set(missing) <= set(_AGENT_VARIABLES):
        return "The agent sets it: update the agent, or run the command in a step of AzureCLI@2."
    return (
        "AzureCLI@2 sets it for a service connection that uses workload identity federation: "
        "convert the connection, or name one that does."
    )


def _github_credential() -> "TokenCredential | None":
    from azure.identity import ClientAssertionCredential

    tenant, client = map(variable, _PRINCIPAL)
    if not (variable("GITHUB_ACTIONS") and (tenant or client)):
        return None
    if not all(map(variable, _GITHUB_VARIABLES)):
        if not client:  # users set only a tenant to choose where they sign in
            return None
        raise OperationError(
            "AZURE_CLIENT_ID is set, but GitHub offers this job no token to prove it. Give the job "
            "permissions: id-token: write (or, without federation, set AZURE_CLIENT_SECRET)."
        )
    if missing := [name for name in _PRINCIPAL if not variable(name)]:
        raise OperationError(
            f"The sign-in of GitHub Actions is incomplete: there is no {missing[0]}. Define it as "
            "a variable of the GitHub environment and pass it under env; it is not a secret."
        )
    return ClientAssertionCredential(tenant, client, _github_token)


def _github_token() -> str:
    """Request a token from GitHub that names the repository and environment of this job.

    Raises
    ------
    ClientAuthenticationError
        If GitHub issues none.
    """
    import requests
    from azure.core.exceptions import ClientAuthenticationError
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    address, token = map(variable, _GITHUB_VARIABLES)
    retries = Retry(_TRIES, backoff_factor=1, status_forcelist=_TRANSIENT, raise_on_status=False)
    try:
        with requests.Session() as session:
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(max_retries=retries))
            response = session.get(
                address,
                params={"audience": _AUDIENCE},
                headers={"Authorization": f"Bearer {token}"},
                timeout=_TIMEOUT,
            )
            response.raise_for_status()
            return str(response.json()["value"])
    except (requests.RequestException, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ClientAuthenticationError(
            f"GitHub issues this job no OIDC token: {reason}"
        ) from error


INSTALL_AZURE_LOCK = "uv pip install -r requirements/azure.txt (make azure)"
INSTALL_AZURE = f"{INSTALL_AZURE_LOCK}, or pip install 'kedro-azure-mlops[azure]'"
OF_JOB = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")
_PROOFS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")
# At every start these loggers report experimental classes and unused sign-in methods.
_CHATTY = ("azure.ai.ml._utils._experimental", "azure.identity")


def credential() -> "TokenCredential":
    """Return the credential: a job's identity, a service principal, a CI run's, or the user.

    Raises
    ------
    OperationError
        If only some sign-in variables are set, or the extra ``azure`` is not installed.
    """
    try:
        import azure.ai.ml
        import azure.identity  # noqa: F401
    except ImportError as error:
        raise OperationError(
            f"{error.name} is not installed here. Install the extra azure: {INSTALL_AZURE}"
        ) from error
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if in_job():
        return _job_credential()
    if found := _service_principal_credential() or federated():
        return found
    if variable("AZURE_CLIENT_ID"):
        _refuse_incomplete_principal()
    return _user_credential()


def in_job() -> bool:
    """Return whether this process runs inside a job of Azure ML."""
    return any(variable(name) for name in OF_JOB)


def _job_credential() -> "TokenCredential":
    """Sign in as the job, or as the user if it runs with a user's identity."""
    from azure.ai.ml.identity import AzureMLOnBehalfOfCredential
    from azure.identity import ManagedIdentityCredential

    spark = os.environ.get("AZUREML_DATAPREP_TOKEN_PROVIDER") == "sparkobo"
    if spark or os.environ.get("OBO_ENDPOINT"):
        return AzureMLOnBehalfOfCredential()
    return ManagedIdentityCredential(client_id=os.environ.get("DEFAULT_IDENTITY_CLIENT_ID"))


def _service_principal_credential() -> "TokenCredential | None":
    from azure.identity import (
        CertificateCredential,
        ClientSecretCredential,
        WorkloadIdentityCredential,
    )

    tenant, client = map(variable, _PRINCIPAL)
    secret, certificate, token_file = map(variable, _PROOFS)
    # No service principal: a CI run has its own token, and a user may only choose a tenant.
    if not any((secret, certificate, token_file)):
        return None
    _refuse_incomplete_principal()
    if secret:
        return ClientSecretCredential(tenant, client, secret)
    if certificate:
        password = variable("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None
        return CertificateCredential(tenant, client, certificate, password=password)
    return WorkloadIdentityCredential(
        tenant_id=tenant, client_id=client, token_file_path=token_file
    )


def _refuse_incomplete_principal() -> None:
    missing = [name for name in _PRINCIPAL if not variable(name)]
    if not any(map(variable, _PROOFS)):
        missing.append(f"one of {', '.join(_PROOFS)}")
    if missing:
        present = [name for name in (*_PRINCIPAL, *_PROOFS) if variable(name)]
        raise OperationError(
            f"The service principal is incomplete: there is {' and '.join(present)}, but not "
            f"{' and '.join(missing)}. Set all of them, or none and sign in with: az login"
        )
    for name in _PROOFS[1:]:
        if variable(name) and not Path(variable(name)).is_file():
            raise OperationError(f"{name} names a file that does not exist: {variable(name)}")


def _user_credential() -> "TokenCredential":
    from azure.identity import (
        AzureCliCredential,
        AzureDeveloperCliCredential,
        AzurePowerShellCredential,
        ChainedTokenCredential,
    )

    return ChainedTokenCredential(
        AzureCliCredential(), AzureDeveloperCliCredential(), AzurePowerShellCredential()
    )
