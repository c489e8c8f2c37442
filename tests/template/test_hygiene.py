"""The hygiene tool reports violations of the house rules and fixes white space."""

import subprocess
import sys
from pathlib import Path

import hygiene
import pytest

from tests.helpers import PROJECT, ROOT
from tests.plugin.update.updating import git

BROKEN = {
    "trailing_space": ("a \n", "line 1 ends with white space"),
    "no_line_end": ("a", "does not end with exactly one line end"),
    "two_line_ends": ("a\n\n", "does not end with exactly one line end"),
    "carriage_return": ("a\r\n", "has line ends other than LF"),
    "machine_path": ("see /" + "root/file\n", "line 1 contains a path of one machine"),
    "index_host": ("https://" + "pypi" + ".org/simple\n", "line 1 contains the address of"),
}


@pytest.mark.parametrize(("text", "fault"), BROKEN.values(), ids=BROKEN)
def test_faults_of_text_are_found(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "file.txt").write_bytes(text.encode())
    faults = list(hygiene.faults_below(tmp_path))
    assert any(line.startswith(f"file.txt: {fault}") for line in faults)


@pytest.mark.parametrize("text", ["", "a\n", "\ta\n\nb\n", "src/root/file and /dev/null\n"])
def test_good_text_is_accepted(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.txt").write_bytes(text.encode())
    assert list(hygiene.faults_below(tmp_path)) == []


def test_a_template_file_that_git_ignores_is_found_until_it_is_added(tmp_path: Path) -> None:
    """Git applies the project's .gitignore to the template, whose file names contain options."""
    folder = tmp_path / PROJECT / "data"
    folder.mkdir(parents=True)
    (tmp_path / PROJECT / ".gitignore").write_text("/data/*\n!/data/rows.csv\n", encoding="utf-8")
    (folder / "rows.csv").write_text("a\n", encoding="utf-8")
    conditional = folder / "{% if cookiecutter.sample == 'none' %}rows.csv{% endif %}"
    conditional.write_text("a\n", encoding="utf-8")
    assert list(hygiene.ignored_below(tmp_path)) == []  # no repository
    git(tmp_path, "init", "--quiet")
    (fault,) = hygiene.ignored_below(tmp_path)
    assert conditional.name in fault and "clones lack it" in fault
    git(tmp_path, "add", "--force", str(conditional))
    assert list(hygiene.ignored_below(tmp_path)) == []


@pytest.mark.parametrize(
    "names", [["a:b"], ["con.txt"], ["x/NUL"], ["end."], ['quo"te'], ["A", "a"], ["x" * 161]]
)
def test_invalid_names_are_found(names: list[str]) -> None:
    assert len(list(hygiene.faults_of_names(names))) == 1


def test_valid_names_are_accepted() -> None:
    assert list(hygiene.faults_of_names(["console.py", "a b/{% if c != 'd' %}e{% endif %}"])) == []


def test_secrets_are_found_as_in_the_rendered_project(tmp_path: Path) -> None:
    token = "token = 'gh" + "p_" + "0aB1" * 9 + "'\n"
    lock = f"pandas==2.3.1 \\\n    --hash=sha256:{'0a1b2c3d' * 8}\n"
    address = "raw_file: https://a.blob.core.windows.net/c/x.csv?sp=r&sig=" + "aB3%2F" * 8 + "%3D\n"
    good = f"model_uuid: {'0a1b2c3d' * 4}\nsecret_name: database-password\nsig=small, sigma=1\n"
    texts = {
        "run.txt": lock, "dev.txt": "--index-url https://me:" + "0aB1cD2e@host/x\n",
        "settings.py": token, "parameters.yml": address, "good.yml": good,
        "bad.yml": f"api_key: {'0a1b2c3d' * 4}\n",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = {Path(fault.split(":")[0]).name for fault in hygiene.secrets_below(tmp_path)}
    assert files == {"dev.txt", "settings.py", "parameters.yml", "bad.yml"}


def test_only_white_space_is_fixed(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"a  \r\nb\n\n\n")
    (tmp_path / "good.txt").write_bytes(b"a\n\nb\n")
    (tmp_path / "binary").write_bytes(b"a \0\r\n")
    command = [sys.executable, ROOT / "tools" / "hygiene.py", tmp_path, "--fix"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout
    assert (tmp_path / "bad.txt").read_bytes() == b"a\nb\n"
    assert (tmp_path / "good.txt").read_bytes() == b"a\n\nb\n"
    assert (tmp_path / "binary").read_bytes() == b"a \0\r\n"
