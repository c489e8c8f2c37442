"""A project on a newcomer's machine: an empty environment, the README's commands, the wheel."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import ROOT, BakedProject

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(
    baked: Callable[..., BakedProject], tmp_path_factory: pytest.TempPathFactory
) -> tuple[BakedProject, dict[str, str]]:
    """A render and a shell in which an empty virtual environment is active."""
    folder = tmp_path_factory.mktemp("fresh")
    project = baked(project_slug="fresh")
    uv = ["sh", str(ROOT / "tools/uv.sh")]  # installs uv if it is not on PATH
    subprocess.run(
        [*uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True
    )
    path = os.pathsep.join(map(str, (folder / "venv/bin", ROOT / ".uv/bin", os.environ["PATH"])))
    return project, {"PATH": path, "VIRTUAL_ENV": str(folder / "venv"), "DO_NOT_TRACK": "1"}


def readme_commands(project: BakedProject, target: str) -> list[str]:
    """Return the commands that the README's table gives for a target of the Makefile."""
    row = re.search(rf"^\| `{re.escape(target)}` \| (.*) \|$", project.read("README.md"), re.M)
    assert row, target
    return re.findall(r"`([^`]+)`", row[1])


def test_readme_commands_install_and_run_the_project(
    project: tuple[BakedProject, dict[str, str]],
) -> None:
    fresh, shell = project
    installation = readme_commands(fresh, "make setup")
    # the bundle replays its example with its own code, not with the installed packages
    for command in [
        *installation,
        "kedro run",
        "kedro mlops bundle --no-wheels",
        "kedro mlops champion",
    ]:
        process = fresh.run("sh", "-c", command, **shell)
        assert process.returncode == 0, (
            f"{command}\n{process.stdout[-2000:]}{process.stderr[-2000:]}"
        )
    assert "champion of local" in process.stdout
    assert len(list((fresh.path / "dist").glob("bundle-fresh-*.zip"))) == 1
    # editable, so plain Python, IDEs and notebooks can import it
    imported = fresh.run("python", "-c", "import fresh; print(fresh.__file__)", **shell)
    assert Path(imported.stdout.strip()) == fresh.path / "src/fresh/__init__.py"


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_the_lock_accepts_only_the_wheel_of_the_project(
    installer: str, baked: Callable[..., BakedProject], tmp_path: Path
) -> None:
    rendered = baked()
    lines = rendered.read("requirements/run.txt").replace("\\\n", "").splitlines()
    (pin,) = [line for line in lines if line.startswith("kedro-azure-mlops==")]
    (tmp_path / "plugin.txt").write_text(pin + "\n", encoding="utf-8")
    for wheel in (rendered.path / "wheels").glob("*.whl"):
        (tmp_path / wheel.name).write_bytes(wheel.read_bytes())

    good = _install(installer, tmp_path, tmp_path / "good")
    assert good.returncode == 0, good.stderr
    assert (tmp_path / "good/kedro_azure_mlops/__init__.py").is_file()

    changed = tmp_path / wheel.name
    changed.write_bytes(changed.read_bytes() + b"\0")
    bad = _install(installer, tmp_path, tmp_path / "bad")
    assert bad.returncode != 0
    assert "hash" in bad.stderr.lower()


def _install(installer: str, folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(ROOT / "tools/uv.sh"), "pip"]
    if installer == "pip":
        subprocess.run([sys.executable, "-m", "venv", target.parent / "pip"], check=True)
        command = [str(folder / "pip/bin/pip")]
    options = ["--no-deps", "--no-index", "--require-hashes", "--find-links", str(folder)]
    return subprocess.run(
        [*command, "install", *options, "--target", target, "-r", folder / "plugin.txt"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CACHE": "1"},
    )
