"""Rules of Databricks as the MLflow server: names, folders, limits, and the causes of faults.

Addresses are MLflow's: ``databricks`` or ``databricks://PROFILE`` for runs and the workspace
registry, ``databricks-uc`` or ``databricks-uc://PROFILE`` for Unity Catalog.
"""

import configparser
import os
import re
from pathlib import Path
from typing import Any

from kedro.framework import project

from kedro_azure_mlops.errors import OperationError

_RUNS, _CATALOG = "databricks", "databricks-uc"
_FORBIDDEN = "./:"  # characters that names in the workspace registry may not contain
_LONGEST_IN_BATCH = 250  # characters of a value in one request for several tags or parameters
_LONGEST_PARAMETER = 500  # bytes of a parameter that is sent alone
_SECONDS = 10  # timeout for a workspace to answer at all
_answering: set[str] = set()  # hosts that have answered this process
_SET = "set DATABRICKS_HOST and DATABRICKS_TOKEN"
_SIGN_IN = "`databricks auth login` and name its profile: MLFLOW_TRACKING_URI=databricks://PROFILE"
_CHOOSE = "or name another one in tracking.experiment_folder of mlops.yml"
_BY_TEXT = {  # phrases of Databricks or of MLflow's client, in lower case
    "databricks credential configuration": (
        f"There are no credentials for Databricks: {_SET}, or sign in with {_SIGN_IN}"
    ),
    "invalid access token": (
        "Databricks does not accept the token: create a new one in your user settings there, "
        f"and {_SET} to that workspace and token"
    ),
    "credential was not sent": f"Databricks received no token: {_SET}",
    "parent directory": (
        "Create that folder in the workspace, or set tracking.experiment in mlops.yml to a path in "
        "an existing folder, or to a name, for which a folder is created"
    ),
    "invalid experiment name": (
        "Set tracking.experiment in mlops.yml to a name, or to an absolute path of the workspace"
    ),
    "model registry is disabled": (
        "This workspace keeps models in Unity Catalog only: set registry.uri: databricks-uc and "
        "registry.name: CATALOG.SCHEMA.MODEL in mlops.yml"
    ),
    "all three levels": "Set registry.name in mlops.yml to CATALOG.SCHEMA.MODEL",
    "metastore": (
        "Unity Catalog is not enabled for this workspace: ask its administrator to assign a "
        "metastore, or set registry.uri: databricks in mlops.yml for the workspace registry"
    ),
    "catalog '": "Create that catalog, or name another one in registry.name of mlops.yml",
    "schema '": "Create that schema, or name another one in registry.name of mlops.yml",
    "certificate": "Its certificate is not trusted: set REQUESTS_CA_BUNDLE to the file of your CA",
    "azure.storage": (
        "The catalog keeps its files in Azure Data Lake, which MLflow opens with the package "
        "azure-storage-file-datalake: install it"
    ),
}
_DENIED = {
    "on schema": (
        "Ask the owner of the schema for USE SCHEMA and CREATE MODEL, or name another schema in "
        "registry.name of mlops.yml"
    ),
    "edit permissions": f"Ask the owner of that folder for the permission, {_CHOOSE}",
}
_MISSING_SCHEMA = re.compile(r"\b(catalog|schema) '[^']*' does not exist|metastore", re.IGNORECASE)
# text that databricks-sdk and MLflow add to each message
_NOISE = re.compile(r"\. (Config: host=|Please ensure that the 'databricks-sdk').*", re.DOTALL)
_UNREACHABLE = (
    "The workspace does not answer: check DATABRICKS_HOST, or the host of the profile, and that "
    "this machine can reach it"
)
_UNREACHABLE_TEXTS = (
    "failed to resolve",
    "max retries exceeded",
    "connection refused",
    "connectionerror",
    "timed out",
)


def is_databricks(address: str) -> bool:
    """Return whether an address refers to Databricks, for runs or for a registry."""
    return address.partition("://")[0] in (_RUNS, _CATALOG)


def is_unity_catalog(address: str | None) -> bool:
    """Return whether an address refers to Unity Catalog."""
    return (address or "").partition("://")[0] == _CATALOG


def profile_of(address: str) -> str:
    """Return the profile that an address names; empty if it names none."""
    return address.partition("://")[2] if is_databricks(address) else ""


def runs_beside(address: str) -> str:
    """Return the address of the tracking server that belongs to a registry."""
    return address.replace(_CATALOG, _RUNS, 1) if is_databricks(address) else address


def of_same_workspace(registry: str, server: str) -> str:
    """Return the address of a registry, with the server's profile if it names none."""
    if is_databricks(registry) and not profile_of(registry) and profile_of(server):
        return f"{registry}://{profile_of(server)}"
    return registry


def use_profile(address: str) -> None:
    """Make MLflow store the files of runs with the profile that an address names.

    MLflow 3.15 opens the Files API without the profile: with the environment's credentials, or not
    at all. The alternative, signed addresses, does use the profile.
    """
    if profile_of(address):
        os.environ.setdefault("MLFLOW_DISABLE_DATABRICKS_SDK_FOR_RUN_ARTIFACTS", "true")


def refuse_silence(address: str) -> None:
    """Refuse a workspace that does not answer within seconds.

    Databricks' own client would retry for five minutes, several times over.

    Raises
    ------
    requests.RequestException
        If it does not answer at all, or its certificate is not trusted.
    """
    import requests

    host = host_of(address)
    if host and host not in _answering:
        url = f"{host}/.well-known/databricks-config"
        requests.get(url, timeout=_SECONDS, allow_redirects=False)  # any answer will do
        _answering.add(host)


def host_of(address: str) -> str:
    """Return the host of an address's workspace; empty if it is not known here.

    It comes from DATABRICKS_HOST, or from the profile in the file that ``databricks auth login``
    writes.
    """
    profile = profile_of(address) or os.environ.get("DATABRICKS_CONFIG_PROFILE", "")
    host = "" if profile_of(address) else os.environ.get("DATABRICKS_HOST", "")
    if not host:
        file = os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg"
        # treat DEFAULT like any other section
        known = configparser.ConfigParser(interpolation=None, default_section="")
        try:
            known.read(Path(file).expanduser(), encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):  # MLflow's client reports it
            return ""
        host = known.get(profile or "DEFAULT", "host", fallback="")
    host = host.strip().rstrip("/")
    return host if "://" in host or not host else f"https://{host}"


def experiment_path(name: str, folder: str | None) -> str:
    """Return the path of an experiment in the workspace.

    Parameters
    ----------
    name
        A path is used without the prefix ``/Workspace``, which Databricks shows but does not
        accept.
    folder
        The folder of a name that is not a path; None: ``/Shared/`` and the project's package.
    """
    parent = folder or f"/Shared/{project.PACKAGE_NAME or name}"
    path = name if name.startswith("/") else f"{parent.rstrip('/')}/{name}"
    return f"/{path.removeprefix('/Workspace/').lstrip('/')}"


def make_folder(address: str, path: str) -> None:
    """Create a folder of the workspace and its parents; an existing one is left alone.

    Calls ``/api/2.0/workspace/mkdirs``.

    Raises
    ------
    MlflowException
        If Databricks refuses.
    """
    from mlflow.utils.databricks_utils import get_databricks_host_creds
    from mlflow.utils.rest_utils import http_request_safe

    http_request_safe(
        get_databricks_host_creds(address),
        "/api/2.0/workspace/mkdirs",
        "POST",
        json={"path": path},
    )


def refuse_model_name(name: str, registry: str) -> None:
    """Refuse a model name that the Databricks registry does not allow.

    Raises
    ------
    OperationError
        If a name for Unity Catalog does not have three levels, or one for the workspace registry
        has a dot, a slash or a colon.
    """
    levels = name.split(".")
    if is_unity_catalog(registry):
        if len(levels) != 3 or not all(levels) or set(name) & set(" /"):
            raise OperationError(
                f"mlops.yml: registry.name: {name} is not a name of Unity Catalog ({registry}), "
                "whose names have three levels: set CATALOG.SCHEMA.MODEL. To keep models in the "
                "workspace registry instead, set registry.uri: databricks."
            )
    elif is_databricks(registry) and set(name) & set(_FORBIDDEN):
        raise OperationError(
            f"mlops.yml: registry.name: {name} is not a name of the workspace registry "
            f"({registry}): it has a dot, slash or colon. To keep models in Unity Catalog, set "
            "registry.uri: databricks-uc."
        )


def is_missing_model(error: Any) -> bool:
    """Return whether an error of Databricks means that a model or alias does not exist.

    A missing catalog, schema or metastore is a fault.
    """
    missing = error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
    return missing and not _MISSING_SCHEMA.search(str(error))


def log_long_values(
    client: Any, run: str, tags: dict[str, str], parameters: dict[str, str]
) -> None:
    """Send the tags and parameters of a run that are too long for a batch, one by one.

    They are removed from ``tags`` and ``parameters``. Databricks documents 250 characters for a
    value in a batch, 64 KB for a tag and 500 bytes for a parameter sent alone; a longer parameter
    is truncated, but complete in ``parameters.yml`` of the run.
    """
    for name in [name for name, text in tags.items() if len(text) > _LONGEST_IN_BATCH]:
        client.set_tag(run, name, tags.pop(name))
    for name in [name for name, text in parameters.items() if len(text) > _LONGEST_IN_BATCH]:
        client.log_param(run, name, shortened(parameters.pop(name)))


def shortened(text: str) -> str:
    """Return a parameter's text, truncated to the 500 bytes that Databricks stores."""
    if len(text.encode()) <= _LONGEST_PARAMETER:
        return text
    return text.encode()[: _LONGEST_PARAMETER - 3].decode(errors="ignore") + "..."


def shown(address: str) -> str:
    """Return an address followed by the host of its workspace."""
    host = host_of(address)
    return f"{address} ({host})" if host else address


def essence(message: str) -> str:
    """Return a message without the text that the clients of Databricks add to each."""
    return _NOISE.sub("", message)


def advice(text: str, code: str, address: str) -> str | None:
    """Return the remedy for a fault of Databricks; None if its cause is unknown.

    Parameters
    ----------
    text
        The messages of the fault and its causes.
    code
        MLflow's error code.
    """
    lowered = text.lower()
    if "databricks credential configuration" in lowered and (host := host_of(address)):
        return f"There is no token for {host}: set DATABRICKS_TOKEN, or sign in with {_SIGN_IN}"
    texts = _BY_TEXT if code != "PERMISSION_DENIED" else _DENIED | _BY_TEXT
    if known := next((words for part, words in texts.items() if part in lowered), None):
        return known
    if any(part in lowered for part in _UNREACHABLE_TEXTS):
        return _UNREACHABLE
    if code == "PERMISSION_DENIED":
        return "Ask an administrator of the workspace for the permission"
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
        return f"Databricks did not accept your credentials: {_SET}"
    return None
