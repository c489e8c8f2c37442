"""The model to serve: the champion of an environment, or a folder, checked and put in its place."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from {{ cookiecutter.package_name }}.scoring.digest import digest
from {{ cookiecutter.package_name }}.scoring.scorer import (
    UnusableModelError,
    read_description,
)

from operation.errors import OperationError

_PLACE = "served/1"  # below AZUREML_MODEL_DIR, where Azure has the name and version of a model


@dataclass(frozen=True)
class ServedModel:
    """A model folder, what answers call its version, and its digest."""

    root: Path  # what AZUREML_MODEL_DIR names
    version: str
    digest: str
    label: str  # for people

    @property
    def folder(self) -> Path:
        """The model folder."""
        return self.root / _PLACE

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables that name it to the score function."""
        return {
            "AZUREML_MODEL_DIR": str(self.root),
            "MODEL_DIGEST": self.digest,
            "MODEL_VERSION": self.version,
        }


def fetch_model(env: str, given: Path | None, root: Path, target: Path) -> ServedModel:
    """Put the champion of an environment, or the folder that is given, below ``target``.

    Raises
    ------
    OperationError
        If there is no such model, its files are not those that were registered, or it cannot be
        served.
    """
    if given is None or not (root / given).resolve().is_relative_to(target.resolve()):
        shutil.rmtree(target, ignore_errors=True)  # what a killed process has left is no model
    found = _folder(root / given, given, target) if given else _champion(env, root, target)
    try:
        read_description(found.folder)
    except UnusableModelError as error:
        raise OperationError(f"{found.label} cannot be served: {error}") from error
    return found


def _champion(env: str, root: Path, target: Path) -> ServedModel:
    from operation.registry import open_registry

    registry = open_registry(env, root)
    champion = registry.champion()
    if champion is None:
        raise OperationError(
            f"{env} has no champion to serve yet. To train one, type: make run; to serve what the "
            "last run has trained, give --model data/processed/model."
        )
    registry.fetch(champion, target / _PLACE)
    label = f"the champion of {env}, {champion}"
    return ServedModel(target, champion.number, champion.digest, label)


def _folder(source: Path, name: Path, target: Path) -> ServedModel:
    if not (source / "MLmodel").is_file():
        raise OperationError(f"{name} is no model folder: it has no MLmodel. Try: make run")
    folder = target / _PLACE
    if source.resolve() != folder.resolve():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
    found = digest(folder)
    return ServedModel(target, found[:12], found, f"the model in {name}, digest {found[:12]}")
