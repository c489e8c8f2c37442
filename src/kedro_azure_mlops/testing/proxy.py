"""An HTTPS-intercepting proxy on loopback, with a throw-away certificate authority."""

import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from kedro_azure_mlops.testing.messages import (
    Answer,
    NotKnownError,
    Request,
    ServiceError,
    error,
)

_PEM = serialization.Encoding.PEM
_AUTHORITY = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in authority")])
_SERVER = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in for Azure")])


def write_certificates(folder: Path, hosts: Iterable[str]) -> tuple[Path, Path]:
    """Write ``authority.pem`` (for clients to trust) and ``server.pem`` (certificate and key)."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    server = _server(key, authority_key, hosts)
    trusted, served = folder / "authority.pem", folder / "server.pem"
    trusted.write_bytes(authority.public_bytes(_PEM))
    served.write_bytes(server.public_bytes(_PEM) + _private_bytes(key))
    return trusted, served


def trust(authority: Path) -> None:
    """Make aiohttp trust the authority: it reads SSL_CERT_FILE only when it is imported."""
    connector = sys.modules.get("aiohttp.connector")
    context = getattr(connector, "_SSL_CONTEXT_VERIFIED", None)
    if isinstance(context, ssl.SSLContext):
        context.load_verify_locations(authority)


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    public = key.public_key()
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(_AUTHORITY, public)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, hosts: Iterable[str]
) -> x509.Certificate:
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        _builder(_SERVER, key.public_key())
        .add_extension(names, critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(purpose, critical=False)
        .sign(signer, hashes.SHA256())
    )


def _builder(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_AUTHORITY)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
    )


def _private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass
class Fault:
    """A fault for the next ``times`` matching requests; without a status the connection is cut."""

    method: str
    pattern: str
    status: int | None
    times: int

    def strikes(self, request: Request) -> bool:
        """Return whether the fault applies to this request, and count it if so."""
        fits = request.method == self.method and re.search(self.pattern, request.url)
        if not fits or self.times < 1:
            return False
        self.times -= 1
        return True


class Proxy(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1 that runs from ``start`` until ``stop``."""

    daemon_threads = False
    block_on_close = True

    def __init__(
        self, certificate: Path, hosts: list[str], answer: Callable[[Request], Answer]
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)
        self.hosts, self.answer = hosts, answer
        self.requests: list[Request] = []
        self.refused: list[str] = []
        self.faults: list[Fault] = []
        self.connections: set[socket.socket] = set()
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="stand-in")

    def start(self) -> None:
        """Start listening."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, cut every connection and wait for the threads that served them."""
        self.shutdown()
        self._thread.join()
        for connection in list(self.connections):
            _cut(connection)
        self.server_close()

    def knows(self, host: str) -> bool:
        """Return whether a host is one of the Azure hosts that the stand-in serves."""
        return any(fnmatch(host, pattern) for pattern in self.hosts)

    def struck_by(self, request: Request) -> Fault | None:
        """Return the fault that applies to a request, if any."""
        with self._counting:  # files are uploaded by several threads
            return next((fault for fault in self.faults if fault.strikes(request)), None)

    def refuse(self, what: str) -> str:
        """Record something unsupported and return the message of the refusal."""
        message = f"the stand-in for Azure does not support {what}"
        self.refused.append(what)
        return message

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up; show and record any other fault."""
        fault = sys.exception()
        if not isinstance(fault, ConnectionError | ssl.SSLError):
            self.refused.append(f"fault of the stand-in: {fault!r}")
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy
    host = ""

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()
        self.connection.close()  # the TLS socket; the server closes the one below it

    def do_CONNECT(self) -> None:
        self.host = self.path.rsplit(":", 1)[0]
        if not self.server.knows(self.host):
            self.send_error(501, self.server.refuse(f"the host {self.host}"))
            return
        self.send_response(200, "Connection established")
        self.end_headers()
        self._speak_tls()
        self.close_connection = False

    def _speak_tls(self) -> None:
        self.server.connections.discard(self.connection)
        self.rfile.close()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.server.connections.add(self.connection)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")

    def _serve(self) -> None:
        request = Request.parse(self.command, self.host, self.path, dict(self.headers))
        self.server.requests.append(request)
        fault = self.server.struck_by(request)
        if fault and fault.status is None:
            self._hang_up()
            return
        request.body = self._body()
        answer = error(request, fault.status or 500) if fault else self._answer(request)
        request.status = answer.status
        self._send(answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = _serve  # noqa: N815

    def _answer(self, request: Request) -> Answer:
        try:
            return self.server.answer(request)
        except ServiceError as reason:
            return error(request, reason.status, str(reason))
        except NotKnownError as reason:
            return error(request, 501, self.server.refuse(f"{request.method} {reason}"))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _hang_up(self) -> None:
        """Read half of the body, then cut the connection."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
        self.close_connection = True
        _cut(self.connection)

    def _send(self, answer: Answer) -> None:
        content = answer.content()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:  # answers to HEAD set it themselves
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log: requests are recorded in a list."""


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        # Shut down the plain socket: closing TLS would break the thread that reads from it.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
