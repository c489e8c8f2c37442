"""Plays the list of known weaknesses, on loopback; run in a rendered project, by its Python.

``python weakness_service.py FOLDER`` prints the port of a proxy and the certificate to trust, and
serves until its standard input ends. What it says of a package is read from FOLDER/known.json at
every request: a list of weaknesses, a status, or a fault; whom it was asked for is in asked.txt.
"""

import inspect
import json
import re
import sys
from pathlib import Path

from operation.tests.azure.certificates import write_certificates
from operation.tests.azure.messages import Answer, Request
from operation.tests.azure.proxy import Proxy
from pip_audit._service import pypi

FOLDER = Path(sys.argv[1])
KNOWN, ASKED = FOLDER / "known.json", FOLDER / "asked.txt"
# whom pip-audit asks stands in its own code
(HOST,) = set(re.findall(r"https://([^/]+)/pypi/", inspect.getsource(pypi.PyPIService)))


def answer(request: Request) -> Answer:
    """Answer for one release: /pypi/NAME/VERSION/json."""
    name, version = request.path.strip("/").split("/")[1:3]
    with ASKED.open("a", encoding="utf-8") as file:
        file.write(f"{name}=={version}\n")
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    told = known.get(f"{name}=={version}", known.get(name, []))
    if isinstance(told, int):
        return Answer(status=told, body={"message": "as the test wants it"})
    if told == "half":
        return Answer(body=b'{"info": {}, "vulnerabilities": [{"id": "PY')
    if told == "page":
        return Answer(body=b"<html>Sign in to the guest network</html>")
    if told == "never":
        return Answer(body=b"{", headers={"Content-Length": "1000"})
    return Answer(body={"info": {"name": name}, "vulnerabilities": told})


authority, served = write_certificates(FOLDER, [HOST])
proxy = Proxy(served, [HOST], answer)
proxy.start()
print(proxy.server_port, authority, flush=True)
sys.stdin.read()
proxy.stop()
