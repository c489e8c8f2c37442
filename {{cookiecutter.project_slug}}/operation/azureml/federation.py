"""As whom a CI run talks to Azure: it shows a token of its own instead of a secret.

Azure Pipelines: a step of ``AzureCLI@2`` with a service connection by workload identity federation.
GitHub Actions: a job with ``permissions: id-token: write`` whose identity trusts its repository.
Each time a token for Azure is asked for, a fresh one of the CI system is: a wait may take hours.
"""

from typing import TYPE_CHECKING

from operation.azureml.variables import variable
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

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
    """Return what signs in a CI run; None outside of one, or where it has no identity.

    Raises
    ------
    OperationError
        If the variables of one are half set: the message says what the step lacks.
    """
    return _of_azure_pipelines() or _of_github()


def _of_azure_pipelines() -> "TokenCredential | None":
    from azure.identity import AzurePipelinesCredential

    if not any(map(variable, _CONNECTION)):
        return None
    if missing := [name for name in (*_CONNECTION, *_OF_AGENT) if not variable(name)]:
        raise OperationError(
            f"The sign-in of Azure Pipelines is half set: there is no {' and no '.join(missing)}. "
            f"{_missing_in_azure_pipelines(missing)}"
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
        return "The agent sets it: update the agent, or call the verb in a step of AzureCLI@2."
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
            f"The sign-in of GitHub Actions is half set: there is no {missing[0]}. Make it a "
            "variable of the GitHub environment and pass it under env; it is no secret."
        )
    return ClientAssertionCredential(tenant, client, _token_of_github)


def _token_of_github() -> str:
    """Ask GitHub for a token that says which repository and environment this job is of.

    Raises
    ------
    ClientAuthenticationError
        If GitHub gives none.
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
        raise ClientAuthenticationError(f"GitHub gives this job no OIDC token ({said})") from error
