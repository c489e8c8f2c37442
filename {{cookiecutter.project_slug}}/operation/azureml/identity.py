"""As whom to talk to Azure: a job, else a service principal, else a CI run, else the user."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from operation.azureml.federation import federated
from operation.azureml.variables import variable
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

OF_JOB = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")
_PRINCIPAL = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")
_PROOFS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")
# What they say at every start is of no use to the reader of a verb: that a class is experimental,
# and in which ways one is not signed in.
_CHATTY = ("azure.ai.ml._utils._experimental", "azure.identity")


def credential() -> "TokenCredential":
    """Return what signs in: a job's identity, a service principal, a CI run's, or the user.

    Raises
    ------
    OperationError
        If variables to sign in with are half set, or the azure set is not installed.
    """
    try:
        import azure.ai.ml
        import azure.identity  # noqa: F401
    except ImportError as error:
        raise OperationError(
            f"{error.name} is not installed here, type: make azure (it adds requirements/azure.txt "
            "to .venv)"
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
    """Say whether this process runs inside a job of Azure ML."""
    return any(variable(name) for name in OF_JOB)


def _of_job() -> "TokenCredential":
    """Sign in as the user where the job runs as one; Azure ML then offers their token."""
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
    # Without a proof a CI run may have its own; a tenant alone chooses where one signs in.
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
            f"A service principal is half set: there is {' and '.join(given)}, but not "
            f"{' and '.join(missing)}. Set them all, or none and sign in with: az login"
        )
    for name in _PROOFS[1:]:
        if variable(name) and not Path(variable(name)).is_file():
            raise OperationError(f"{name} names a file that is not there: {variable(name)}")


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
