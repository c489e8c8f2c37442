"""Requests, answers, and errors in the format of the service that was called."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

# The error codes that ARM and Blob storage return with each status.
_CODES = {
    400: ("BadRequest", "InvalidInput"),
    401: ("InvalidAuthenticationToken", "InvalidAuthenticationInfo"),
    403: ("AuthorizationFailed", "AuthorizationPermissionMismatch"),
    404: ("ResourceNotFound", "BlobNotFound"),
    409: ("Conflict", "BlobAlreadyExists"),
    429: ("TooManyRequests", "ServerBusy"),
    500: ("InternalServerError", "InternalError"),
    501: ("NotImplemented", "NotImplemented"),
    503: ("ServiceUnavailable", "ServerBusy"),
}


class NotKnownError(Exception):
    """The stand-in does not support the host, route, method or body named in the message."""


class ServiceError(Exception):
    """The service rejects the request with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Request:
    """One request as it was received; ``status`` is that of its answer."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    status: int | None = None

    @classmethod
    def parse(cls, method: str, host: str, target: str, headers: dict[str, str]) -> "Request":
        """Parse a request as received."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        lower = {name.lower(): value for name, value in headers.items()}
        # Without TLS the proxy receives the whole URL.
        return cls(method, host or url.hostname or "", unquote(url.path), query, lower)

    @property
    def url(self) -> str:
        """Host and path, which the patterns of faults are matched against."""
        return self.host + self.path

    def json(self) -> dict[str, Any]:
        """Return the body as JSON."""
        return json.loads(self.body or b"{}")

    def __str__(self) -> str:
        return f"{self.method} {self.url} {self.status or ''}".rstrip()


@dataclass
class Answer:
    """Status, body (bytes, or an object to encode as JSON) and headers."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """Return the bytes of the body."""
        if isinstance(self.body, bytes):
            return self.body
        self.headers.setdefault("Content-Type", "application/json")
        return json.dumps(self.body).encode()


def error(request: Request, status: int, message: str = "") -> Answer:
    """Return an error in the format of the service behind the request's host."""
    arm, blob = _CODES.get(status, ("UserError", "UserError"))
    text = message or f"the stand-in answered {request.method} {request.path} with {status}"
    headers = {"Retry-After": "0"} if status in {429, 503} else {}
    if ".blob." in request.host:
        headers |= {"x-ms-error-code": blob, "Content-Type": "application/xml"}
        body = f"<Error><Code>{blob}</Code><Message>{escape(text)}</Message></Error>"
        return Answer(status, ("<?xml version='1.0'?>" + body).encode(), headers)
    if request.host.startswith("login."):
        return Answer(status, {"error": "invalid_client", "error_description": text}, headers)
    return Answer(status, {"error": {"code": arm, "message": text}}, headers)
