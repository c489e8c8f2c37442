import subprocess
from pathlib import Path

import pytest

from kedro_azure_mlops.hooks.code_version import code_version


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_a_folder_outside_git_has_no_code_version(tmp_path: Path) -> None:
    assert code_version(tmp_path) == {}


def test_the_code_version_has_the_commit_and_a_dirty_flag(repository: Path) -> None:
    clean = code_version(repository)
    assert len(clean["git.commit"]) == 40
    assert clean["git.dirty"] == "false"
    (repository / "new").touch()
    assert code_version(repository) == clean | {"git.dirty": "true"}


def test_a_copy_that_git_ignores_has_no_code_version(repository: Path) -> None:
    copy = repository / "build" / "copy"
    copy.mkdir(parents=True)
    assert code_version(copy)["git.commit"] == code_version(repository)["git.commit"]
    (repository / ".gitignore").write_text("/build/\n", encoding="utf-8")
    assert code_version(copy) == {}
    assert code_version(repository)["git.dirty"] == "true"


def test_a_missing_git_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert code_version(tmp_path) == {}
