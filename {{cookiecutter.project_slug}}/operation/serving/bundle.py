"""The bundle of a device that has no network: one archive with model, code, runner and wheels."""

import hashlib
import json
import shutil
import stat
import zipfile
from pathlib import Path

from operation.errors import OperationError
from operation.serving.code import copy_score_function
from operation.serving.example import example_request
from operation.serving.model import ServedModel
from operation.serving.packages import DEVICE, part_of_lock
from operation.serving.wheels import Wheels

NAME = "{{ cookiecutter.project_slug }}"
_DEVICE = Path(__file__).with_name("device")
_SUMS = "SHA256SUMS"
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can name


def write_bundle(model: ServedModel, wheels: Wheels | None, root: Path) -> Path:
    """Write ``dist/bundle-<name>-<version>-<digest>.zip``: from the same model the same bytes.

    Raises
    ------
    OperationError
        If the wheels cannot be had.
    """
    # versions of dev and prod are counted apart: the digest tells them from each other
    digest = "" if model.digest.startswith(model.version) else f"-{model.digest[:12]}"
    name = f"bundle-{NAME}-{model.version}{digest}"
    folder = root / "build" / "bundle" / name
    _fill(folder, model, wheels, root)
    archive = root / "dist" / f"{name}.zip"
    archive.parent.mkdir(exist_ok=True)
    part = archive.with_name(f"{archive.name}.part")
    try:
        _zip(folder, part)
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
    return archive


def _fill(folder: Path, model: ServedModel, wheels: Wheels | None, root: Path) -> None:
    copy_score_function(folder)
    shutil.copytree(model.folder, folder / "model")
    for file in ("README.md", "install.sh", "score_file.py"):
        shutil.copyfile(_DEVICE / file, folder / file)
    names = {"MODEL_DIGEST": model.digest, "MODEL_VERSION": model.version}
    _write(folder / "model.json", json.dumps(names, indent=1) + "\n")
    _write(folder / "request.json", example_request(model.folder) + "\n")
    _write(folder / "requirements.txt", _requirements(root))
    if wheels:
        _write(folder / "python-version", wheels.python + "\n")
        wheels.download(folder / "requirements.txt", folder / "wheels", root)
    _write(folder / _SUMS, "".join(_sums(folder)))


def _requirements(root: Path) -> str:
    lock = root / "requirements" / "serve.txt"
    try:
        return part_of_lock(lock.read_text(encoding="utf-8"), DEVICE)
    except (OSError, ValueError) as error:
        raise OperationError(f"requirements/serve.txt: {error}") from error


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")


def _sums(folder: Path) -> list[str]:
    return [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n"
        for file in _files(folder)
    ]


def _files(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _zip(folder: Path, target: Path) -> None:
    """Store the files uncompressed: wheels are compressed, and libraries differ in how they do."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in _files(folder):
            inside = file.relative_to(folder.parent).as_posix()
            entry = zipfile.ZipInfo(inside, date_time=_EARLIEST)
            mode = 0o755 if file.suffix == ".sh" else 0o644
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | mode) << 16  # as on POSIX
            archive.writestr(entry, file.read_bytes())
