"""Simulates the vulnerability service of PyPI on loopback, behind a proxy for pip-audit."""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pip_audit._service import pypi

from kedro_azure_mlops.testing.messages import Answer, Request
from kedro_azure_mlops.testing.proxy import Proxy, write_certificates

PROBED = "jinja2==2.4.1"
PROBE = [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["2.5"], "summary": "known for years"}]
# the host that pip-audit queries, read from its source
(HOST,) = set(re.findall(r"https://([^/]+)/pypi/", inspect.getsource(pypi.PyPIService)))


class Service:
    """An index with answers set by a test; records the releases that were requested."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.requested: list[str] = []
        self.environment: dict[str, str] = {}

    def set_answers(self, **packages: Any) -> None:
        """Set the answer for each package: a list of vulnerabilities, a status, or a fault."""
        named = {name.replace("_", "-"): found for name, found in packages.items()}
        self.answers, self.requested = {PROBED: PROBE} | named, []

    def answer(self, request: Request) -> Answer:
        """Return the answer for one release: /pypi/NAME/VERSION/json."""
        name, version = request.path.strip("/").split("/")[1:3]
        self.requested.append(f"{name}=={version}")
        found = self.answers.get(f"{name}=={version}", self.answers.get(name, []))
        if isinstance(found, int):
            return Answer(status=found, body={"message": "set by the test"})
        if found == "half":
            return Answer(body=b'{"info": {}, "vulnerabilities": [{"id": "PY')
        if found == "page":
            return Answer(body=b"<html>Sign in to the guest network</html>")
        if found == "never":
            return Answer(body=b"{", headers={"Content-Length": "1000"})
        return Answer(body={"info": {"name": name}, "vulnerabilities": found})


@contextmanager
def running(folder: Path) -> Iterator[Service]:
    """Start the service, with its certificates in ``folder``."""
    authority, served = write_certificates(folder, [HOST])
    service = Service()
    proxy = Proxy(served, [HOST], service.answer)
    proxy.start()
    address = f"http://127.0.0.1:{proxy.server_port}"
    service.environment = {
        "HTTPS_PROXY": address,
        "https_proxy": address,
        "REQUESTS_CA_BUNDLE": str(authority),
        "NO_PROXY": "",
        "no_proxy": "",
    }
    try:
        yield service
    finally:
        proxy.stop()
