"""A project as a newcomer has it: an empty environment, the README's commands, the wheel."""

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
    """A render with an empty virtual environment, and a shell in which that is active."""
    place = tmp_path_factory.mktemp("fresh")
    project = baked(project_slug="fresh")
    uv = ["sh", str(ROOT / "tools/uv.sh")]  # which puts one here where there is none on PATH
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, place / "venv"], check=True)
    path = os.pathsep.join(map(str, (place / "venv/bin", ROOT / ".uv/bin", os.environ["PATH"])))
    return project, {"PATH": path, "VIRTUAL_ENV": str(place / "venv"), "DO_NOT_TRACK": "1"}


def by_hand(project: BakedProject, target: str) -> list[str]:
    """Return what the README's table shows beside a target of the Makefile."""
    row = re.search(rf"^\| `{re.escape(target)}` \| (.*) \|$", project.read("README.md"), re.M)
    assert row, target
    return re.findall(r"`([^`]+)`", row[1])


def test_the_commands_of_the_readme_install_and_run_it(
    project: tuple[BakedProject, dict[str, str]],
) -> None:
    fresh, shell = project
    installation = by_hand(fresh, "make setup")
    # the bundle replays its example with the code in it, not with the packages installed here
    for command in [
        *installation,
        "kedro run",
        "kedro mlops bundle --no-wheels",
        "kedro mlops champion",
    ]:
        done = fresh.run("sh", "-c", command, **shell)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert "champion of local" in done.stdout
    assert len(list((fresh.path / "dist").glob("bundle-fresh-*.zip"))) == 1
    # editable: plain python, an IDE and a notebook import it
    found = fresh.run("python", "-c", "import fresh; print(fresh.__file__)", **shell)
    assert Path(found.stdout.strip()) == fresh.path / "src/fresh/__init__.py"


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_the_lock_takes_the_wheel_and_no_other(
    installer: str, baked: Callable[..., BakedProject], tmp_path: Path
) -> None:
    carrier = baked()
    lines = carrier.read("requirements/run.txt").replace("\\\n", "").splitlines()
    (pin,) = [line for line in lines if line.startswith("kedro-azure-mlops==")]
    (tmp_path / "plugin.txt").write_text(pin + "\n", encoding="utf-8")
    for wheel in (carrier.path / "wheels").glob("*.whl"):
        (tmp_path / wheel.name).write_bytes(wheel.read_bytes())

    good = _install(installer, tmp_path, tmp_path / "good")
    assert good.returncode == 0, good.stderr
    assert (tmp_path / "good/kedro_azure_mlops/__init__.py").is_file()

    changed = tmp_path / wheel.name
    changed.write_bytes(changed.read_bytes() + b"\0")
    bad = _install(installer, tmp_path, tmp_path / "bad")
    assert bad.returncode != 0
    assert "hash" in bad.stderr.lower()


def _install(installer: str, place: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(ROOT / "tools/uv.sh"), "pip"]
    if installer == "pip":
        subprocess.run([sys.executable, "-m", "venv", target.parent / "pip"], check=True)
        command = [str(place / "pip/bin/pip")]
    options = ["--no-deps", "--no-index", "--require-hashes", "--find-links", str(place)]
    return subprocess.run(
        [*command, "install", *options, "--target", target, "-r", place / "plugin.txt"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CACHE": "1"},
    )
