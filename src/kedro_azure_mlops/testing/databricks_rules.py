"""Errors of the stand-in for Databricks, in Databricks' format, and the documented tag limits."""

from collections.abc import Callable
from typing import Any, TypeVar

Body = dict[str, Any]
Route = Callable[[Body], Body]
Found = TypeVar("Found")
LONGEST_KEY = 250  # bytes of a tag's name, in tracking and in the workspace registry


class DatabricksError(Exception):
    """Databricks rejects the request with this status and code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def bad(message: str) -> DatabricksError:
    """Return the error for a value that is not allowed."""
    return DatabricksError(400, "INVALID_PARAMETER_VALUE", message)


def missing(message: str) -> DatabricksError:
    """Return the error for a resource that does not exist."""
    return DatabricksError(404, "RESOURCE_DOES_NOT_EXIST", message)


def found(resource: Found | None, message: str) -> Found:
    """Return the resource that was looked up.

    Raises
    ------
    DatabricksError
        If it is None.
    """
    if resource is None:
        raise missing(message)
    return resource


def as_tags(body: dict[str, Any]) -> dict[str, str]:
    """Return the tags of a request by name."""
    return {str(one["key"]): str(one.get("value", "")) for one in body.get("tags", [])}


def refuse_tag(key: str, value: str, *, longest: int) -> None:
    """Reject a tag if its name or value has more bytes than the documented limit.

    Raises
    ------
    DatabricksError
        If it is too long; the message names the tag.
    """
    if len(key.encode()) > LONGEST_KEY:
        raise bad(f"The tag name {key[:40]}... has more than {LONGEST_KEY} bytes.")
    if len(value.encode()) > longest:
        raise bad(f"The tag {key} has more than {longest} bytes.")
