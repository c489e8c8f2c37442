"""Bundles for devices without a network: one archive with model, code, runner and wheels."""

import hashlib
import json
import logging
import math
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from kedro_azure_mlops.config import Mlops, bootstrap, read_mlops
from kedro_azure_mlops.contract import Schema, read_contract
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.running import claim
from kedro_azure_mlops.serve.code import copy_served_code, source_folder, trusted_types
from kedro_azure_mlops.serve.model import OR_FOLDER, ServedModel, example_request, fetch_model
from kedro_azure_mlops.serve.packages import LOCK, SCORER, STORED, lock_of, names_of
from kedro_azure_mlops.serve.wheels import Wheels
from kedro_azure_mlops.writing import full_disk_in, naming_a_full_disk, remove

logger = logging.getLogger(__name__)

WORK = Path("build/bundle")
WITH_WHEELS = "sh install.sh"
"""Command that installs the packages of a bundle on the device."""
WITHOUT_WHEELS = """\
python3 -m venv .venv
.venv/bin/python -m pip install --no-deps --require-hashes \\
    --requirement requirements.txt"""
"""Commands that do so if the bundle has no wheels."""
_DEVICE = Path(__file__).with_name("device")
_SUMS = "SHA256SUMS"
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can store
# Scores the bundle's example with only the code of the bundle and the packages of its lock.
_SELF_TEST = """
import json, re, sys
from importlib.metadata import packages_distributions
from pathlib import Path
bundle, source, allowed = json.loads(sys.argv[1])
known = packages_distributions()
for own in (Path(bundle) / "code").iterdir():  # also installed here, but the bundle's is imported
    known.pop(own.stem, None)
def is_absent(name):
    of = known.get(name)
    return of and not {re.sub("[-_.]+", "-", one).lower() for one in of} & set(allowed)
class NotOnTheDevice:
    def find_spec(self, name, path=None, target=None):
        if is_absent(name.partition(".")[0]):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.path[:] = [bundle, *(p for p in sys.path if Path(p).resolve() != Path(source))]
sys.meta_path.insert(0, NotOnTheDevice())
import score_file
try:
    score = score_file.load()
except score_file.NotTriedError as error:
    sys.exit(str(error).partition(": install the packages")[0])
answer = score.run((Path(bundle) / "request.json").read_bytes())
if answer.status != 200:
    error = answer.body["error"]
    sys.exit(f"it refuses its own example: {error['field']} {error['message']}")
"""


def write_bundle(
    env: str,
    model: Path | None = None,
    wheels: Wheels | None = None,
    root: Path | None = None,
    *,
    say: Callable[[str], None] = logger.info,
) -> Path:
    """Write ``dist/bundle-<name>-<version>-<digest>.zip``; the same model gives the same bytes.

    Parameters
    ----------
    env
        The environment whose champion is packed.
    model
        A model folder to pack instead, relative to ``root``.
    wheels
        The platform to download wheels for; None: the bundle has no wheels.
    root
        The project; None: the current folder.
    say
        Called with progress messages.

    Raises
    ------
    OperationError
        If the model does not exist, the bundle cannot score its own example, or the wheels cannot
        be downloaded. Nothing is written in these cases.
    """
    root = root or Path.cwd()
    mlops = read_mlops(root, env)
    places, fetched = [str(root / WORK), str(root / "dist")], root / WORK / "model"
    read = [str(root / model)] if model else []
    with (
        claim(root, writes=places, reads=read, say=say),
        naming_a_full_disk(*places, what="the bundle"),
    ):
        try:
            served = fetch_model(env, model, root, fetched, hint=OR_FOLDER)
            say(f"packing {served.label}")
            if wheels:
                say(f"with the wheels for {wheels.platform}, Python {wheels.python}")
            return pack(served, wheels, root, mlops, trusted_types(root, env, mlops))
        except BaseException:
            if model is None or not (root / model).resolve().is_relative_to(fetched.resolve()):
                remove(fetched)
            raise


def pack(
    model: ServedModel,
    wheels: Wheels | None,
    root: Path,
    mlops: Mlops,
    trusted: tuple[str, ...] = (),
) -> Path:
    """Write the archive of a fetched model; see ``write_bundle``."""
    # dev and prod count their versions separately: the digest makes the name unique
    digest = "" if model.digest[:12] == model.version else f"-{model.digest[:12]}"
    name = f"bundle-{_project(root)}-{model.version}{digest}"
    folder, archive = root / WORK / name, root / "dist" / f"{name}.zip"
    part = archive.with_name(f"{archive.name}.part")
    try:
        _fill(folder, model, wheels, root, mlops, trusted)
        archive.parent.mkdir(exist_ok=True)
        _zip(folder, part)
        part.replace(archive)
    except BaseException:
        remove(folder)
        raise
    finally:
        part.unlink(missing_ok=True)
    return archive


def _project(root: Path) -> str:
    return str(bootstrap(root).package_name).replace("_", "-")


def _fill(
    folder: Path,
    model: ServedModel,
    wheels: Wheels | None,
    root: Path,
    mlops: Mlops,
    trusted: tuple[str, ...],
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    code = copy_served_code(
        root,
        mlops,
        folder / "code",
        model=model.folder,
        trusted=trusted,
        with_servers=False,
        label=model.label,
        champion_of=model.champion_of,
    )
    shutil.copytree(model.folder, folder / "model")
    for file in ("install.sh", "score_file.py"):
        shutil.copyfile(_DEVICE / file, folder / file)
    _write(folder / "README.md", _readme(read_contract(model.folder).schema, wheels))
    names = {"MODEL_DIGEST": model.digest, "MODEL_VERSION": model.version}
    _write(folder / "model.json", json.dumps(names, indent=1) + "\n")
    _write(folder / "request.json", example_request(model.folder) + "\n")
    requirements = lock_of(root, code.packages(), SCORER if code.scorer else STORED)
    _write(folder / "requirements.txt", requirements)
    refuse_unable(folder, root, names_of(requirements))
    if wheels:
        _write(folder / "python-version", wheels.python + "\n")
        wheels.download(folder / "requirements.txt", folder / "wheels", root)
    _write(folder / _SUMS, "".join(_sums(folder)))


def refuse_unable(folder: Path, root: Path, packages: set[str]) -> None:
    """Refuse a bundle that cannot score its example with only its own code and packages.

    Raises
    ------
    OperationError
        If it cannot; the message has the cause, such as a missing module.
    """
    arguments = json.dumps([str(folder), str(source_folder(root).resolve()), sorted(packages)])
    process = subprocess.run(
        [sys.executable, "-B", "-c", _SELF_TEST, arguments],
        cwd=folder,
        env=_without_python_variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines() or ["no error message"]
        raise OperationError(
            f"This bundle could not score on a device, so it was not written: {lines[-1]}.\n"
            f"Everything it needs must be locked in {LOCK.as_posix()}, or be a module that the "
            "scorer of mlops.yml imports."
        ) from full_disk_in(process.stderr)


def _without_python_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _readme(schema: Schema, wheels: Wheels | None) -> str:
    install = f"{WITH_WHEELS:54}# checks this folder, fills .venv from wheels/"
    history = schema.history
    needs = ""
    if history:
        per_series = f"of each {history.by} " if history.by else ""
        needs = (
            f"\nStart a file with the last {math.ceil(history.days)} days {per_series}(at least "
            f"{history.rows} rows), sorted\nby {history.order}: they are the history of its first "
            "new row."
        )
    return (
        (_DEVICE / "README.md")
        .read_text(encoding="utf-8")
        .format(
            inputs=",".join(column.name for column in schema.inputs),
            outputs=", ".join(f"`{column.name}`" for column in schema.outputs),
            history=needs,
            install=install if wheels else WITHOUT_WHEELS,
            lacks="Python" if wheels else "Python and the packages of `requirements.txt`",
        )
    )


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")


def _sums(folder: Path) -> list[str]:
    return [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n"
        for file in _files(folder)
    ]


def _files(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _zip(folder: Path, target: Path) -> None:
    """Store the files uncompressed: wheels are compressed already, and zlib versions differ."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in _files(folder):
            inside = file.relative_to(folder.parent).as_posix()
            entry = zipfile.ZipInfo(inside, date_time=_EARLIEST)
            mode = 0o755 if file.suffix == ".sh" else 0o644
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | mode) << 16  # as on POSIX
            archive.writestr(entry, file.read_bytes())
