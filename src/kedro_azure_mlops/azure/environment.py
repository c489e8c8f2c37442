"""The environment of cloud jobs, built from the project's locks; its version is their digest.

A lock may name a package that is only in ``wheels/`` and on no index: the Docker context includes
that wheel, and its bytes are part of the version. A conda file cannot include a wheel.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from kedro_azure_mlops.azure.workspace import azure_errors
from kedro_azure_mlops.config import AzureML, Environment
from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient, entities

WHEELS = "wheels"
CONTEXT = "build/environment"
CONDA_FILE = "build/environment.yml"
DOCKERFILE = Path(__file__).with_name("job.Dockerfile")


@dataclass(frozen=True)
class Pin:
    """A line of a lock: canonical name, version, hashes, and whether it applies to this machine."""

    name: str
    version: str
    hashes: frozenset[str]
    is_for_here: bool


def requirements(*files: Path) -> list[str]:
    """Return the pins of locks with their hashes, each once and on one line."""
    texts = [file.read_text(encoding="utf-8") for file in files]
    joined = "\n".join(texts).replace("\\\n", " ")
    lines = (" ".join(line.split()) for line in joined.splitlines())
    return sorted({line for line in lines if line and not line.startswith("#")})


def names_plugin(root: Path, locks: Iterable[str]) -> bool:
    """Return whether any requirements file names the plugin, as a package or as a wheel of it."""
    files = [root / lock for lock in locks if (root / lock).is_file()]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    name = r"(?<![-\w])kedro[-_.]azure[-_.]mlops(?![-_]?[a-z])"
    return any(re.search(name, re.sub(r"(^|\s)#.*", "", text), re.IGNORECASE) for text in texts)


def read_lock(file: Path) -> list[Pin]:
    """Return the pins of a lock, without its options and URLs."""
    found = []
    for line in requirements(file):
        text, *hashes = line.split(" --hash=")
        if text.startswith("-") or "==" not in text:
            continue
        required = Requirement(text)
        name, version = canonicalize_name(required.name), next(iter(required.specifier)).version
        is_for_here = required.marker is None or required.marker.evaluate()
        found.append(Pin(name, version, frozenset(hashes), is_for_here))
    return found


def pins(file: Path) -> dict[str, str]:
    """Return the packages that a lock pins on this machine, and their versions."""
    return {pin.name: pin.version for pin in read_lock(file) if pin.is_for_here}


def wheels_in(root: Path) -> dict[tuple[str, str], Path]:
    """Return the wheels in the project's folder ``wheels`` by name and version."""
    found = {}
    for file in sorted((root / WHEELS).glob("*.whl")):
        try:
            name, version, *_ = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        found[str(name), str(version)] = file
    return found


def local_wheels(root: Path, locks: Sequence[str]) -> dict[Pin, Path]:
    """Return the wheels in ``wheels/`` that locks name, by pin."""
    available = wheels_in(root)
    named = {
        pin: available.get((pin.name, pin.version))
        for lock in locks
        for pin in _read_pins(root, lock)
    }
    return {pin: file for pin, file in named.items() if file}


def refuse_changed_wheels(root: Path, locks: Sequence[str]) -> None:
    """Refuse a wheel with another hash than the locked one: its installation would fail.

    Raises
    ------
    OperationError
        If there is one; the message names the wheel and the fix.
    """
    for pin, file in local_wheels(root, locks).items():
        if pin.hashes and f"sha256:{_sha256(file)}" not in pin.hashes:
            raise OperationError(
                f"{WHEELS}/{file.name} is not the wheel that the locks name: its hash differs. "
                f"Restore the file (git checkout -- {WHEELS}), or lock again: make lock"
            )


def reference(root: Path, config: AzureML) -> str:
    """Return the registered environment of a job, ``azureml:name:version``.

    Raises
    ------
    OperationError
        See ``version``.
    """
    if isinstance(config.environment, Environment):
        return f"azureml:{config.environment.name}:{version(root, config.environment)}"
    return str(config.environment)


def version(root: Path, environment: Environment) -> str:
    """Return the version: a digest of everything the environment is built from.

    Raises
    ------
    OperationError
        If a lock is missing, or a conda environment would need a wheel of ``wheels/``.
    """
    hasher = hashlib.sha256(environment.model_dump_json().encode())
    for lock in environment.locks:
        hasher.update(_lock(root, lock).read_bytes())
    wheels = local_wheels(root, environment.locks)
    if environment.kind == "conda":
        _refuse_wheels(environment, wheels)
    for file in wheels.values():
        hasher.update(file.read_bytes())
    hasher.update(_dockerfile(root, environment).read_bytes())
    return hasher.hexdigest()[:12]


def ensure_environment(
    client: "MLClient", root: Path, config: AzureML, say: Callable[[str], None] = print
) -> str:
    """Register the environment of the jobs unless that version exists; return its reference.

    Raises
    ------
    OperationError
        If it cannot be built as configured, or Azure refuses it or cannot be reached.
    """
    name = reference(root, config)
    if not isinstance(config.environment, Environment) or config.image:
        return name
    if is_registered(client, root, config.environment):
        say(f"environment {name} exists")
        return name
    say(f"registering the environment {name}; Azure ML builds its image with the first job")
    with azure_errors(f"registering the environment {name}"):
        client.environments.create_or_update(entity(root, config.environment))
    return name


def is_registered(client: "MLClient", root: Path, environment: Environment) -> bool:
    """Return whether this version of the environment is in the workspace.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    from azure.core.exceptions import ResourceNotFoundError

    wanted = version(root, environment)
    with azure_errors(f"looking for the environment {environment.name}:{wanted}"):
        try:
            client.environments.get(environment.name, wanted)
        except ResourceNotFoundError:
            return False
    return True


def entity(root: Path, environment: Environment) -> "entities.Environment":
    """Write the sources of the environment into ``build/`` and return its Azure ML entity.

    Raises
    ------
    OperationError
        See ``version``; also if a wheel differs from the one that the locks name.
    """
    from azure.ai.ml import entities

    common: dict[str, Any] = {
        "name": environment.name,
        "version": version(root, environment),
        "description": f"Made from {' and '.join(environment.locks)}.",
    }
    if environment.kind == "conda":
        file = write_conda_file(root, environment)
        return entities.Environment(**common, image=environment.image, conda_file=file)
    folder = write_docker_context(root, environment)
    context = entities.BuildContext(path=folder, dockerfile_path="Dockerfile")
    return entities.Environment(**common, build=context)


def write_docker_context(root: Path, environment: Environment) -> Path:
    """Write Dockerfile, locks and wheels: ``docker build build/environment`` builds the image.

    Raises
    ------
    OperationError
        If a wheel differs from the one that the locks name.
    """
    refuse_changed_wheels(root, environment.locks)
    folder = root / CONTEXT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for lock in environment.locks:
        shutil.copyfile(_lock(root, lock), folder / Path(lock).name)
    for wheel in local_wheels(root, environment.locks).values():
        (folder / WHEELS).mkdir(exist_ok=True)
        shutil.copyfile(wheel, folder / WHEELS / wheel.name)
    names = [f"-r {Path(lock).name}" for lock in environment.locks]
    if all("--hash=" in _lock(root, lock).read_text("utf-8") for lock in environment.locks):
        names.insert(0, "--require-hashes")
    arguments = {
        "IMAGE": environment.image,
        "PYTHON": environment.python,
        "LOCKS": '"' + " ".join(names) + '"',
    }
    text = _dockerfile(root, environment).read_text(encoding="utf-8")
    for name, value in arguments.items():  # Azure ML passes no arguments to the build
        text = re.sub(rf"^ARG {name}$", f"ARG {name}={value}", text, flags=re.MULTILINE)
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    return folder


def write_conda_file(root: Path, environment: Environment) -> Path:
    """Write a conda file of the same packages: all pins with their hashes, one per line."""
    file = root / CONDA_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(_conda(root, environment), sort_keys=False, width=100_000)
    file.write_text(text, encoding="utf-8")
    return file


def _conda(root: Path, environment: Environment) -> dict[str, Any]:
    pinned = requirements(*(_lock(root, lock) for lock in environment.locks))
    return {
        "name": environment.name,
        # the default channel is not free for all companies
        "channels": ["conda-forge", "nodefaults"],
        # an older pip fails on extras of locked packages
        "dependencies": [f"python={environment.python}", "pip>=24", {"pip": pinned}],
    }


def _refuse_wheels(environment: Environment, wheels: dict[Pin, Path]) -> None:
    if wheels:
        names = ", ".join(f"{pin.name}=={pin.version}" for pin in wheels)
        raise OperationError(
            f"environment.kind: conda in azureml.yml cannot use {names} from {WHEELS}/: a conda "
            f"file includes no wheels. Set environment.kind: docker, or put the same wheel on your "
            f"package index and remove it from {WHEELS}/ (no lock changes)."
        )


def _lock(root: Path, lock: str) -> Path:
    file = root / lock
    if not file.is_file():
        raise OperationError(
            f"There is no {lock}, which the environment of the jobs is built from. Lock the "
            "project's packages (make lock, or: uv pip compile --universal --generate-hashes), or "
            "name its locks under environment.locks in azureml.yml."
        )
    return file


def _read_pins(root: Path, lock: str) -> list[Pin]:
    return read_lock(_lock(root, lock))


def _dockerfile(root: Path, environment: Environment) -> Path:
    """Return the project's own Dockerfile, or the plugin's."""
    if environment.dockerfile is None:
        return DOCKERFILE
    file = root / environment.dockerfile
    if not file.is_file():
        raise OperationError(
            f"There is no {environment.dockerfile}, named under environment.dockerfile in "
            f"azureml.yml. To change the plugin's own, start from a copy of {DOCKERFILE}"
        )
    return file


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
