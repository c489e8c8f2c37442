import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from {{ cookiecutter.package_name }}.models import digest

from operation.errors import OperationError
from operation.serving.code import PACKAGE
from operation.serving.wheels import Wheels
from operation.tests.bundled import make_bundle, unpack
from operation.tests.trained import save_small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def archive(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(model, tmp_path_factory.mktemp("project"))


@pytest.fixture
def folder(archive: Path, tmp_path: Path) -> Path:
    return unpack(archive, tmp_path)


def test_it_holds_model_code_runner_and_checksums(folder: Path, model: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    inside = {"README.md", "SHA256SUMS", "install.sh", "model.json", "request.json"}
    assert inside | {"score_file.py", "requirements.txt", "model/model.onnx"} <= names
    assert {"model/detector.json", f"src/{PACKAGE}/scoring/features.py"} <= names
    assert not [name for name in names if name.startswith(("operation", "wheels"))]
    assert digest(folder / "model") == digest(model)
    names = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert names == {"MODEL_DIGEST": digest(model), "MODEL_VERSION": digest(model)[:12]}


def test_its_name_says_which_model_it_is(archive: Path, model: Path) -> None:
    from operation.serving.bundle import NAME

    assert archive.stem == f"bundle-{NAME}-{digest(model)[:12]}"
    assert archive.parent.name == "dist"


def test_every_file_is_in_the_checksums(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = dict(reversed(line.split("  ", 1)) for line in lines)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    assert sums == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_it_is_the_same_archive_whenever_and_wherever_it_is_made(
    archive: Path, model: Path, tmp_path: Path
) -> None:
    for path in model.rglob("*"):
        os.utime(path, (0, 0))
    assert make_bundle(model, tmp_path / "elsewhere").read_bytes() == archive.read_bytes()


def test_the_archive_is_sorted_without_times_and_its_installer_can_be_run(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    modes = {Path(entry.filename).name: oct(entry.external_attr >> 16)[-3:] for entry in entries}
    assert modes["install.sh"] == "755"
    assert modes["score_file.py"] == "644"


def test_a_lock_that_is_not_there_leaves_no_archive(model: Path, tmp_path: Path) -> None:
    from operation.serving.bundle import write_bundle
    from operation.serving.model import fetch_model

    served = fetch_model("local", model, tmp_path, tmp_path / "build/model")
    with pytest.raises(OperationError, match=r"requirements/serve\.txt"):
        write_bundle(served, None, tmp_path)
    assert not (tmp_path / "dist").exists()


def test_wheels_that_cannot_be_had_leave_no_archive(model: Path, tmp_path: Path) -> None:
    from operation.serving.bundle import write_bundle
    from operation.serving.model import fetch_model

    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/uv.sh").write_text("echo no index answers; exit 2", encoding="utf-8")
    (tmp_path / "requirements").mkdir()
    lock = (Path(__file__).parents[3] / "requirements/serve.txt").read_bytes()
    (tmp_path / "requirements/serve.txt").write_bytes(lock)
    served = fetch_model("local", model, tmp_path, tmp_path / "build/model")
    with pytest.raises(OperationError, match=r"linux_aarch64 and Python 3\.12 (.|\n)*no index"):
        write_bundle(served, Wheels("linux_aarch64", "3.12"), tmp_path)
    assert not (tmp_path / "dist").exists()


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(OperationError, match="is no model folder"):
        make_bundle(tmp_path / "model", tmp_path / "project")
