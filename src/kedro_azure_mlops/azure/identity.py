"""Sign in to Azure: as the job, else a service principal, else a CI run, else the user.

A CI run presents its own token instead of a secret. Azure Pipelines: a step of ``AzureCLI@2``
with a service connection by workload identity federation. GitHub Actions: a job with
``permissions: id-token: write`` whose identity trusts its repository. Each Azure token is requested
with a fresh token of the CI system, since a wait may take hours.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


def variable(name: str) -> str:
    """Read a variable; Azure Pipelines passes an undefined one as ``$(NAME)``."""
    value = os.environ.get(name, "").strip()
    return "" if value.startswith("$(") else value


_CONNECTION = (
    "AZURESUBSCRIPTION_TENANT_ID",
    "AZURESUBSCRIPTION_CLIENT_ID",
    "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID",
)
_OF_AGENT = ("SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI")
_OF_GITHUB = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_PRINCIPAL = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")
_AUDIENCE = "api://AzureADTokenExchange"
_PATIENCE = (5, 30)  # seconds to connect, and to be answered
_TRIES = 3
_TRANSIENT = (429, 500, 502, 503, 504)


def federated() -> "TokenCredential | None":
    """Return the credential of a CI run; None outside of one, or if it has no identity.

    Raises
    ------
    OperationError
        If only some of its variables are set; the message states what the step lacks.
    """
    return _of_azure_pipelines() or _of_github()


def _of_azure_pipelines() -> "TokenCredential | None":
    from azure.identity import AzurePipelinesCredential

    if not any(map(variable, _CONNECTION)):
        return None
    if missing := [name for name in (*_CONNECTION, *_OF_AGENT) if not variable(name)]:
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
    if set(missing) <= set(_OF_AGENT):
        return "The agent sets it: update the agent, or run the command in a step of AzureCLI@2."
    return (
        "AzureCLI@2 sets it for a service connection that uses workload identity federation: "
        "convert the connection, or name one that does."
    )


def _of_github() -> "TokenCredential | None":
    from azure.identity import ClientAssertionCredential

    tenant, client = map(variable, _PRINCIPAL)
    if not (variable("GITHUB_ACTIONS") and (tenant or client)):
        return None
    if not all(map(variable, _OF_GITHUB)):
        if not client:  # people set a tenant alone to choose where they sign in
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
    return ClientAssertionCredential(tenant, client, _token_of_github)


def _token_of_github() -> str:
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

    address, token = map(variable, _OF_GITHUB)
    again = Retry(_TRIES, backoff_factor=1, status_forcelist=_TRANSIENT, raise_on_status=False)
    try:
        with requests.Session() as session:
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(max_retries=again))
            answer = session.get(
                address,
                params={"audience": _AUDIENCE},
                headers={"Authorization": f"Bearer {token}"},
                timeout=_PATIENCE,
            )
            answer.raise_for_status()
            return str(answer.json()["value"])
    except (requests.RequestException, KeyError, TypeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise ClientAuthenticationError(f"GitHub issues this job no OIDC token: {said}") from error


INSTALL_AZURE_LOCK = "uv pip install -r requirements/azure.txt (make azure)"
INSTALL_AZURE = f"{INSTALL_AZURE_LOCK}, or pip install 'kedro-azure-mlops[azure]'"
OF_JOB = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")
_PROOFS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")
# At every start these log experimental classes and the sign-in methods that do not apply.
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
        return _of_job()
    if found := _service_principal() or federated():
        return found
    if variable("AZURE_CLIENT_ID"):
        _refuse_half_set()
    return _user()


def in_job() -> bool:
    """Return whether this process runs inside a job of Azure ML."""
    return any(variable(name) for name in OF_JOB)


def _of_job() -> "TokenCredential":
    """Sign in as the user if the job runs as one: Azure ML then offers their token."""
    from azure.ai.ml.identity import AzureMLOnBehalfOfCredential
    from azure.identity import ManagedIdentityCredential

    spark = os.environ.get("AZUREML_DATAPREP_TOKEN_PROVIDER") == "sparkobo"
    if spark or os.environ.get("OBO_ENDPOINT"):
        return AzureMLOnBehalfOfCredential()
    return ManagedIdentityCredential(client_id=os.environ.get("DEFAULT_IDENTITY_CLIENT_ID"))


def _service_principal() -> "TokenCredential | None":
    from azure.identity import (
        CertificateCredential,
        ClientSecretCredential,
        WorkloadIdentityCredential,
    )

    tenant, client = map(variable, _PRINCIPAL)
    secret, certificate, token_file = map(variable, _PROOFS)
    # Without a proof a CI run may have its own; a tenant alone only selects where to sign in.
    if not any((secret, certificate, token_file)):
        return None
    _refuse_half_set()
    if secret:
        return ClientSecretCredential(tenant, client, secret)
    if certificate:
        password = variable("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None
        return CertificateCredential(tenant, client, certificate, password=password)
    return WorkloadIdentityCredential(
        tenant_id=tenant, client_id=client, token_file_path=token_file
    )


def _refuse_half_set() -> None:
    missing = [name for name in _PRINCIPAL if not variable(name)]
    if not any(map(variable, _PROOFS)):
        missing.append(f"one of {', '.join(_PROOFS)}")
    if missing:
        given = [name for name in (*_PRINCIPAL, *_PROOFS) if variable(name)]
        raise OperationError(
            f"The service principal is incomplete: there is {' and '.join(given)}, but not "
            f"{' and '.join(missing)}. Set all of them, or none and sign in with: az login"
        )
    for name in _PROOFS[1:]:
        if variable(name) and not Path(variable(name)).is_file():
            raise OperationError(f"{name} names a file that does not exist: {variable(name)}")


def _user() -> "TokenCredential":
    from azure.identity import (
        AzureCliCredential,
        AzureDeveloperCliCredential,
        AzurePowerShellCredential,
        ChainedTokenCredential,
    )

    return ChainedTokenCredential(
        AzureCliCredential(), AzureDeveloperCliCredential(), AzurePowerShellCredential()
    )
