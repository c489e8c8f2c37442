import hashlib
import json
import os
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from kedro_azure_mlops.config import read_mlops
from kedro_azure_mlops.contract import digest, write_manifest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve.bundle import pack, write_bundle
from kedro_azure_mlops.serve.model import fetch_model
from kedro_azure_mlops.serve.wheels import Wheels
from tests.plugin.bundled import make_bundle, unpack
from tests.plugin.trained import LOCK, project_with_scorer, save_small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def archive(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(model, tmp_path_factory.mktemp("bundle") / "project")


@pytest.fixture
def folder(archive: Path, tmp_path: Path) -> Path:
    return unpack(archive, tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that a test may change."""
    return project_with_scorer(tmp_path / "project")


def test_the_bundle_contains_model_code_runner_and_checksums(folder: Path, model: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in names if "/" not in name} == {
        *("README.md", "SHA256SUMS", "install.sh", "model.json", "request.json"),
        *("requirements.txt", "score_file.py"),
    }
    assert {name for name in names if name.startswith("model/")} == {
        *("model/MLmodel", "model/SHA256SUMS", "model/contract.json", "model/rolling.json"),
    }
    assert {"code/served.json", "code/plant/rolling.py", "code/plant/weights.py"} <= names
    assert not [name for name in names if name.startswith("wheels") or "/plain" in name]
    assert digest(folder / "model") == digest(model)
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert description == {"MODEL_DIGEST": digest(model), "MODEL_VERSION": digest(model)[:12]}


def test_the_name_of_a_registered_version_ends_with_its_digest(model: Path, project: Path) -> None:
    """Also if the digest begins with the version: dev and prod use the same numbers."""
    served = fetch_model("local", model, project, project / "build/served")
    first = replace(served, version=served.digest[0])
    archive = pack(first, None, project, read_mlops(project, "local"))
    assert archive.stem.endswith(f"-{served.digest[0]}-{served.digest[:12]}")


def test_the_readme_describes_this_model(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "score_file.py rows.csv scores.csv    # time,unit,load" in text
    assert "`deviation`, `is_far`" in text
    assert "Start a file with the last 1 days of each unit (at least 2 rows)" in text
    assert not {"{", "}"} & set(text)


def test_the_readme_installs_the_packages_from_the_wheels_or_the_requirements(
    archive: Path, model: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = (unpack(archive, project / "without") / "README.md").read_text(encoding="utf-8")
    assert "except Python and the packages of `requirements.txt`." in without
    assert "pip install --no-deps --require-hashes \\\n" in without
    assert "install.sh" not in without
    monkeypatch.setattr(Wheels, "download", lambda *_: None)
    other = write_bundle("local", model, Wheels("linux_aarch64", "3.12"), project)
    text = (unpack(other, project / "with") / "README.md").read_text(encoding="utf-8")
    assert "everything it needs except Python. On the device:\n\n```sh\nsh install.sh  " in text
    assert "pip install" not in text


def test_the_archive_is_named_after_the_model_digest(archive: Path, model: Path) -> None:
    assert archive.stem == f"bundle-plant-{digest(model)[:12]}"
    assert archive.parent.name == "dist"


def test_the_checksums_cover_every_file(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = dict(reversed(line.split("  ", 1)) for line in lines)
    checksums = folder / "SHA256SUMS"
    files = [path for path in folder.rglob("*") if path.is_file() and path != checksums]
    assert sums == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_the_archive_is_reproducible(archive: Path, model: Path, tmp_path: Path) -> None:
    for path in model.rglob("*"):
        os.utime(path, (0, 0))
    assert make_bundle(model, tmp_path / "elsewhere").read_bytes() == archive.read_bytes()


def test_archive_entries_are_sorted_and_undated_and_the_installer_is_executable(
    archive: Path,
) -> None:
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    modes = {Path(entry.filename).name: oct(entry.external_attr >> 16)[-3:] for entry in entries}
    assert modes["install.sh"] == "755"
    assert modes["score_file.py"] == "644"


def test_a_missing_lock_leaves_no_archive(model: Path, project: Path) -> None:
    (project / "requirements/serve.txt").unlink()
    with pytest.raises(OperationError, match=r"requirements/serve\.txt"):
        write_bundle("local", model, None, project)
    assert not (project / "dist").exists()


def test_unavailable_wheels_leave_no_archive(
    model: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = project / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\necho no index answers; exit 2\n", encoding="utf-8")
    uv.chmod(uv.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(uv.parent), prepend=os.pathsep)
    with pytest.raises(OperationError, match=r"linux_aarch64 and Python 3\.12 (.|\n)*no index"):
        write_bundle("local", model, Wheels("linux_aarch64", "3.12"), project)
    assert not (project / "dist").exists()


def test_a_package_missing_from_the_lock_leaves_no_archive(model: Path, project: Path) -> None:
    """The first version wrote such a bundle of 43 MB, which failed only on the device."""
    module = project / "src/plant/weights.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(f"import pandas\n{text}", encoding="utf-8")
    with pytest.raises(OperationError, match=r"could not score on a device.*'pandas'(.|\n)*serve"):
        write_bundle("local", model, None, project)
    assert not (project / "dist").exists()
    lock = project / "requirements/serve.txt"
    pins = ("pandas", "python-dateutil", "pytz", "six", "tzdata")
    pin = " \\\n    --hash=sha256:" + "0" * 64 + "\n"
    lock.write_text(LOCK + "".join(f"{name}==1.0{pin}" for name in pins), encoding="utf-8")
    assert write_bundle("local", model, None, project).is_file()


def test_a_conditionally_imported_module_leaves_no_archive(model: Path, project: Path) -> None:
    """A missing module is detected if scoring the example imports it."""
    module = project / "src/plant/weights.py"
    text = module.read_text(encoding="utf-8")
    conditional_import = "import sys\nif 'score_file' in sys.modules:\n    from . import seldom\n"
    module.write_text(conditional_import + text, encoding="utf-8")
    (project / "src/plant/seldom.py").write_text("", encoding="utf-8")
    with pytest.raises(OperationError, match="cannot import name 'seldom'"):
        write_bundle("local", model, None, project)
    assert not (project / "dist").exists()


def test_a_rejected_example_leaves_no_archive(model: Path, tmp_path: Path) -> None:
    import shutil

    project_path = tmp_path / "project"
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    file = folder / "contract.json"
    contract = json.loads(file.read_text(encoding="utf-8"))
    contract["example"][3]["humidity"] = 3
    file.write_text(json.dumps(contract), encoding="utf-8")
    write_manifest(folder)
    with pytest.raises(OperationError, match=r"its own example: data\[3\]\.humidity is not"):
        make_bundle(folder, project_path)


def test_a_folder_without_a_model_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(OperationError, match="is not a model folder"):
        make_bundle(tmp_path / "model", tmp_path / "project")


def test_a_model_without_a_contract_is_rejected(model: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / "contract.json").unlink()
    with pytest.raises(OperationError, match=r"it has no contract\.json, which describes"):
        make_bundle(folder, tmp_path / "project")
