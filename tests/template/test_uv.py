"""tools/uv.sh finds uv, installs it in one of two ways, or explains what to do."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import ROOT, clean_environment

# A stub of Python that installs a stub of uv by one of the methods in ABLE_TO.
PYTHON = """#!/bin/sh
write_uv() {
    mkdir -p "$1" && printf '#!/bin/sh\\necho "%s: $*"\\n' "$2" >"$1/uv" && chmod +x "$1/uv"
}
case "$*" in
    -c*) exit 0 ;;
    "-m venv"*)
        mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
        case "$ABLE_TO" in *venv*) ;; *) exit 1 ;; esac ;;
    *--target*)
        case "$ABLE_TO" in
            *target*) write_uv "$6/bin" "by target" ;;
            *) echo "no index"; exit 1 ;;
        esac ;;
    "-m pip install uv=="*) write_uv "$(dirname "$0")" "by venv" ;;
esac
"""

SHIM = "#!/bin/sh\necho 'no uv for this version' >&2\nexit 127\n"


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the script with a stub of Python and a broken uv on PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in {"python3": PYTHON, "uv": SHIM}.items():
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    tools = tmp_path / "a project" / "tools"
    tools.mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "uv.sh", tools)

    def run(able_to: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(programs), "/usr/bin", "/bin"])
        return subprocess.run(
            ["sh", "../a project/tools/uv.sh", *arguments],
            cwd=programs,
            env=clean_environment(PATH=path, ABLE_TO=able_to),
            capture_output=True,
            text=True,
        )

    return run


Call = Callable[..., subprocess.CompletedProcess[str]]


def test_uv_on_the_path_is_used(call: Call, tmp_path: Path) -> None:
    (tmp_path / "programs" / "uv").write_text('#!/bin/sh\necho "mine: $*"\n', encoding="utf-8")
    called = call("", "pip", "sync", "a file")
    assert called.stdout == "mine: pip sync a file\n"
    assert called.stderr == ""
    assert not (tmp_path / "a project" / ".uv").exists()


@pytest.mark.parametrize("method", ["venv", "target"])
def test_a_missing_uv_is_installed_once(call: Call, tmp_path: Path, method: str) -> None:
    first, second = call(method, "--version"), call("", "--version")
    assert first.stdout == second.stdout == f"by {method}: --version\n"
    assert first.stderr.count("\n") == 1
    assert "installing uv" in first.stderr
    assert second.stderr == ""
    assert (tmp_path / "a project" / ".uv").is_dir()


def test_a_failed_installation_explains_what_to_do(call: Call) -> None:
    called = call("nothing")
    assert called.returncode == 2
    assert "apt-get install python3-venv" in called.stderr
    assert "no index" in called.stderr
    assert call("venv", "--version").returncode == 0
