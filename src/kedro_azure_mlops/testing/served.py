"""An online deployment: a process with the uploaded code and model, called through pipes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from kedro_azure_mlops.testing.messages import Answer

# Settings of the test process: its access to the stand-in, identity and Kedro.
_NOT_INHERITED = re.compile(r"(AZURE|KEDRO|MLFLOW|MODEL_|MSI|PYTHON)|.*_PROXY$|.*_BUNDLE$", re.I)
# Calls the functions behind the entry script, because that script needs Azure's server.
_RUNNER = """
import json, sys
from kedro_azure_mlops.serve import score
out, sys.stdout = sys.stdout, sys.stderr
score.init()
print("ready", file=out, flush=True)
while line := sys.stdin.buffer.readline():
    answer = score.run(sys.stdin.buffer.read(int(line)))
    print(json.dumps([answer.status, answer.body]), file=out, flush=True)
"""


class Served:
    """Runs ``score.init`` and ``score.run`` in ``<folder>/code``; ``is_ready`` if it started."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        inherited = {k: v for k, v in os.environ.items() if not _NOT_INHERITED.match(k)}
        model_folder = {"AZUREML_MODEL_DIR": str(folder / "models/served/1")}
        self._log = folder / "log.txt"
        with self._log.open("wb") as log:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-c", _RUNNER],
                cwd=folder / "code",
                env=inherited | model_folder | variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.is_ready = self._line() == b"ready\n"

    def score(self, body: bytes) -> Answer:
        """Send a body and return the answer of the code; 500 if the process has ended."""
        if self._process.stdin is None or self._process.poll() is not None:
            return Answer(500, {"error": {"message": "the container has ended"}})
        self._process.stdin.write(b"%d\n" % len(body) + body)
        self._process.stdin.flush()
        line = self._line()
        if not line:
            return Answer(500, {"error": {"message": "the container has ended"}})
        result: list[Any] = json.loads(line)
        return Answer(result[0], result[1])

    def log(self) -> str:
        """Return the log of the process."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Kill the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.kill()
        self._process.wait()

    def _line(self) -> bytes:
        return self._process.stdout.readline() if self._process.stdout else b""
