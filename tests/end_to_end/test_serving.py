"""A model without network, and the Dockerfile of the container."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import ROOT, InstalledProject, tool

HADOLINT = tool("hadolint")
EXPECTED = """
from pathlib import Path
from kedro_azure_mlops.serve.score import answer, load_served
model = load_served(Path("data/processed/model"), "temperature_anomalies.score:load")
print(answer(model, Path("request.json").read_bytes()).text())
"""
# No working proxy, no index, and none of the user's settings.
NO_NETWORK = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    "NO_PROXY": "",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_INDEX": "1",
}


@pytest.fixture(scope="module")
def ran(install: Callable[..., InstalledProject]) -> InstalledProject:
    """The default project after a short run."""
    project = install()
    process = project.make("run", "PARAMS=detector.arguments.n_estimators=10")
    assert process.returncode == 0, process.stdout + process.stderr
    return project


@pytest.mark.slow
def test_a_bundle_scores_without_network(ran: InstalledProject, tmp_path: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    bundled = ran.make("bundle", f"ARGS=--python {version}")
    assert bundled.returncode == 0, bundled.stdout + bundled.stderr
    (archive,) = (ran.path / "dist").glob("bundle-*.zip")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        request = (folder / "request.json").read_text(encoding="utf-8")
        environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **NO_NETWORK}
        return subprocess.run(
            command, cwd=folder, env=environment, input=request, capture_output=True, text=True
        )

    installed = call("sh", "install.sh")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    packages = sorted(path.name for path in (folder / ".venv").glob("lib/python*/site-packages/*"))
    assert not [name for name in packages if name.startswith(("pandas", "sklearn", "mlflow"))]
    scored = call(".venv/bin/python", "score_file.py")
    assert scored.returncode == 0, scored.stderr
    (ran.path / "request.json").write_bytes((folder / "request.json").read_bytes())
    expected = json.loads(ran.python(EXPECTED))
    assert json.loads(scored.stdout)["data"] == expected["data"]

    wheel = next((folder / "wheels").iterdir())
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    refused = call("sh", "install.sh")
    assert refused.returncode == 2
    assert "a file was altered" in refused.stderr


@pytest.mark.parametrize(
    "name", ["azure/job.Dockerfile", "deploy/serve.Dockerfile", "serve/Dockerfile"]
)
def test_hadolint_reports_no_faults(name: str) -> None:
    file = ROOT / "src/kedro_azure_mlops" / name
    process = subprocess.run([HADOLINT, file], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (0, "")


def test_hadolint_reports_an_unpinned_image(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\n", encoding="utf-8")
    process = subprocess.run(
        [HADOLINT, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert "DL3006" in process.stdout
