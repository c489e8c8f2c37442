"""Faults of a tracking server or its database, each with its remedy."""

import os
import sqlite3
from collections.abc import Iterator

from kedro_azure_mlops.errors import first_line
from kedro_azure_mlops.hooks import databricks
from kedro_azure_mlops.hooks.server import DeletedExperimentError, shown_address

START = "Start the server, or name another one in MLFLOW_TRACKING_URI or under uri in mlops.yml"
_BY_CODE = {
    "UNAUTHENTICATED": (
        "The server did not accept your credentials: set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to credentials that it accepts"
    ),
    "PERMISSION_DENIED": (
        "These credentials lack permission: ask for it, or set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to "
        "others"
    ),
    "ENDPOINT_NOT_FOUND": "That server is not MLflow: check the address",
    "REQUEST_LIMIT_EXCEEDED": "The server has too many requests: try again later",
    "TEMPORARILY_UNAVAILABLE": "The server cannot answer now: try again later, or see its log",
    "INTERNAL_ERROR": "The server reported an internal error: see its log",
}
_ALSO_RAISED_LOCALLY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")  # by MLflow's client
_BY_CODE["CUSTOMER_UNAUTHORIZED"] = _BY_CODE["UNAUTHENTICATED"]
_BY_CODE["NOT_FOUND"] = _BY_CODE["ENDPOINT_NOT_FOUND"]
_BY_TEXT = {
    "database is locked": "Another program keeps the database locked: try again when it has ended",
    "not a database": "Restore a copy of the file, or move it away to start with an empty one",
    "malformed": "Restore a copy of the file, or move it away to start with an empty one",
    "unable to open": "Check that its folder exists and that you may write there",
    "readonly": "Check that you may write the file and its folder",
    "out-of-date database schema": "An older MLflow created it: type mlflow db upgrade <address>",
    "Can't locate revision": "A newer MLflow created it: install that release here",
    "too many 429": _BY_CODE["REQUEST_LIMIT_EXCEEDED"],
    "not in a valid JSON": _BY_CODE["ENDPOINT_NOT_FOUND"],
}
_OTHER = "See this message, and the server's log if there is a server"


def faults() -> tuple[type[Exception], ...]:
    """Return the error types that a tracking server or its database can raise."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    database_errors = (SQLAlchemyError, sqlite3.Error, CommandError)
    # MLflow imports a cloud storage client only when it opens the storage
    storage_errors = (OSError, ImportError)
    return (
        MlflowException,
        RequestException,
        *database_errors,
        DeletedExperimentError,
        *storage_errors,
    )


def fault_in_words(error: BaseException, address: str) -> str:
    """Return one line with the fault and a second line with the remedy."""
    if isinstance(error, DeletedExperimentError):
        return str(error)
    why = first_line(error)
    if databricks.is_databricks(address):
        why = databricks.essence(why)
    fault = f"MLflow at {shown_address(address)} failed: {why}"
    return f"{fault}\n{advice_on(error, address)}."


def advice_on(error: BaseException, address: str = "") -> str:
    """Return the remedy for a fault of a tracking server, without a full stop."""
    from mlflow.exceptions import RestException
    from requests import ConnectionError, Timeout
    from requests.exceptions import RetryError, SSLError

    causes = list(_causes(error))
    text = " ".join(map(str, causes))
    if databricks.is_databricks(address):
        known = databricks.advice(text, getattr(error, "error_code", ""), address)
        return known or _OTHER
    if found := next((advice for part, advice in _BY_TEXT.items() if part in text), ""):
        return found
    by_type = {
        SSLError: "Its certificate is not trusted: set REQUESTS_CA_BUNDLE to the file of your CA",
        RetryError: _BY_CODE["INTERNAL_ERROR"],
        ConnectionError | Timeout: START,
        PermissionError: "Check that you may write there",
    }
    for kind, advice in by_type.items():
        if any(isinstance(cause, kind) for cause in causes):
            return advice
    code = getattr(error, "error_code", "")
    if code == "RESOURCE_DOES_NOT_EXIST" and (run := os.environ.get("MLFLOW_RUN_ID")):
        return f"MLFLOW_RUN_ID names {run}: check that this server has that run, or unset it"
    is_of_server = isinstance(error, RestException) or code not in _ALSO_RAISED_LOCALLY
    return _BY_CODE.get(code if is_of_server else "", _OTHER)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
