"""A model where there is no network, and the file of the container."""

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
# Neither a proxy that answers, nor an index, nor the settings of who runs this.
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
    done = project.make("run", "PARAMS=detector.arguments.n_estimators=10")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.mark.slow
def test_a_bundle_scores_where_there_is_no_network(ran: InstalledProject, tmp_path: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    made = ran.make("bundle", f"ARGS=--python {version}")
    assert made.returncode == 0, made.stdout + made.stderr
    (archive,) = (ran.path / "dist").glob("bundle-*.zip")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        request = (folder / "request.json").read_text(encoding="utf-8")
        surroundings = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **NO_NETWORK}
        return subprocess.run(
            command, cwd=folder, env=surroundings, input=request, capture_output=True, text=True
        )

    installed = call("sh", "install.sh")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    found = sorted(path.name for path in (folder / ".venv").glob("lib/python*/site-packages/*"))
    assert not [name for name in found if name.startswith(("pandas", "sklearn", "mlflow"))]
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
def test_hadolint_has_nothing_to_say(name: str) -> None:
    file = ROOT / "src/kedro_azure_mlops" / name
    done = subprocess.run([HADOLINT, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_see_an_image_that_is_not_pinned(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\n", encoding="utf-8")
    done = subprocess.run(
        [HADOLINT, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "DL3006" in done.stdout
