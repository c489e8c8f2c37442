"""The model to serve: an environment's champion or a folder, checked and copied into place."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from kedro_azure_mlops.contract import (
    CONTRACT,
    UnusableModelError,
    digest,
    read_contract,
    refuse_changed_files,
)
from kedro_azure_mlops.errors import OperationError

OR_FOLDER = ", or name a model folder, such as the last run's: --model DIR"
_SUBFOLDER = "served/1"  # below AZUREML_MODEL_DIR, as Azure's <name>/<version>


@dataclass(frozen=True)
class ServedModel:
    """A model folder, the version that its answers carry, and its digest."""

    root: Path  # the value of AZUREML_MODEL_DIR
    version: str
    digest: str
    label: str  # for messages
    champion_of: str | None = None  # the environment whose champion it is

    @property
    def folder(self) -> Path:
        """The model folder."""
        return self.root / _SUBFOLDER

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables from which the score function finds the model."""
        return {
            "AZUREML_MODEL_DIR": str(self.root),
            "MODEL_DIGEST": self.digest,
            "MODEL_VERSION": self.version,
        }


def fetch_model(
    env: str, given: Path | None, root: Path, target: Path, *, hint: str = ""
) -> ServedModel:
    """Copy the champion of an environment, or the given model folder, into ``target``.

    Parameters
    ----------
    hint
        What to do instead of making a champion, for the error; for example ``OR_FOLDER``.

    Raises
    ------
    OperationError
        If the model does not exist, its files have changed since it was registered or saved, or
        it does not describe its requests and answers.
    """
    if given is None or not (root / given).resolve().is_relative_to(target.resolve()):
        shutil.rmtree(target, ignore_errors=True)  # leftovers of a killed process
    served = _folder(root / given, given, target) if given else _champion(env, root, target, hint)
    refuse_without_contract(served.folder, served.label)
    try:
        refuse_changed_files(served.folder, None if given else served.digest)
    except UnusableModelError as error:
        raise OperationError(f"{served.label} cannot be served: {error}.") from error
    return served


def refuse_without_contract(folder: Path, label: str) -> None:
    """Refuse a model folder that cannot be served because it lacks ``contract.json``.

    Raises
    ------
    OperationError
        If the file is missing or unusable.
    """
    if not (folder / CONTRACT).is_file():
        raise OperationError(
            f"{label} cannot be served: it has no {CONTRACT}, which describes its requests and "
            "answers. A catalog entry of type kedro_azure_mlops.ModelDataset writes it: train "
            "again with such an entry as tracking.model of mlops.yml."
        )
    try:
        read_contract(folder)
    except UnusableModelError as error:
        raise OperationError(f"{label} cannot be served: {error}") from error


def example_request(folder: Path) -> str:
    """Return the body of a model folder's example request.

    Raises
    ------
    UnusableModelError
        If the folder has no readable ``contract.json``.
    """
    return json.dumps({"data": read_contract(folder).example})


def _champion(env: str, root: Path, target: Path, hint: str) -> ServedModel:
    from kedro_azure_mlops.registry import first_champion_command, open_registry, refuse_no_model

    registry = open_registry(env, root)
    champion = registry.champion()
    if champion is None:
        refuse_no_model(env, root)
        raise OperationError(
            f"{env} has no champion yet", next=f"{first_champion_command(env, root)}{hint}"
        )
    registry.fetch(champion, target / _SUBFOLDER)
    label = f"the champion of {env}, {champion}"
    return ServedModel(target, champion.number, champion.digest, label, env)


def _folder(source: Path, name: Path, target: Path) -> ServedModel:
    if not (source / "MLmodel").is_file():
        raise OperationError(f"{name} is not a model folder: it has no MLmodel. Run: kedro run")
    folder = target / _SUBFOLDER
    if source.resolve() != folder.resolve():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
    sha256 = digest(folder)
    return ServedModel(target, sha256[:12], sha256, f"the model in {name}, digest {sha256[:12]}")
