"""Catalog entries for models: the one that a run trains, and the registered one in service.

A model is any scikit-learn-compatible estimator or ``mlflow.pyfunc.PythonModel``. It is saved as an
MLflow model in the skops format, which runs no code when loaded, with its signature, an input
example and its answer to the example (see ``contract``).
"""

import copy
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import yaml
from kedro.io import AbstractDataset, DatasetError

from kedro_azure_mlops.contract import (
    Column,
    ColumnType,
    Contract,
    Schema,
    Scorer,
    UnusableModelError,
    digest,
    read_contract,
    refuse_changed_files,
    rows_of_columns,
    write_contract,
    write_manifest,
)
from kedro_azure_mlops.errors import OperationError, first_line
from kedro_azure_mlops.model_files import (
    compact_skops,
    normalise_folder,
    normalise_skops,
    write_skops,
)
from kedro_azure_mlops.monitor.profile import profile_of, read_content, write_profile
from kedro_azure_mlops.serve.stored import (
    MODEL_FILE,
    TRUSTED_TYPES,
    arrays_of,
    load_stored,
    load_stored_scorer,
    predict,
)
from kedro_azure_mlops.writing import (
    clean_up,
    linked,
    naming_a_full_disk,
    new_beside,
    out_of_space,
    put_in_place,
)

logger = logging.getLogger(__name__)

_REQUIREMENTS = ("mlflow", "numpy", "scikit-learn", "skops")
# MLflow checks each applicable pin against the installed packages, after listing their files. These
# pins are the installed versions, so a marker makes none applicable while MLflow writes.
_UNCHECKED = '; python_version < "3"'
_TRIES = 9  # calls, of which the median is taken
_CACHED_BYTES = 50_000_000  # of a stored model: copies of larger ones are not cached in memory
_MILLISECONDS, _MEGABYTE = 1000, 1_000_000


class ModelDataset(AbstractDataset[Any, Any]):
    """A model as an MLflow model folder that is either complete or absent.

    Parameters
    ----------
    filepath
        The folder.
    trusted
        Types, ``module.Class``, that may be loaded besides ``TRUSTED_TYPES``: a project's own
        estimator classes.
    """

    def __init__(
        self,
        *,
        filepath: str,
        trusted: Sequence[str] = (),
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.filepath = Path(filepath)
        self.trusted = tuple(trusted)
        self.metadata = metadata
        self._cached: tuple[str, Any] | None = None  # until no node needs it

    def load(self) -> Any:
        """Load the model, or copy it if another node of this run has loaded the same files."""
        identity, kept = self._identity(), self._cached
        if kept and kept[0] == identity:
            return copy.deepcopy(kept[1])
        model = load_model(self.filepath, self.trusted)
        size = sum(file.stat().st_size for file in self.filepath.rglob("*"))
        if identity and size <= _CACHED_BYTES:
            with suppress(Exception):  # raised by a model's own code
                self._cached = identity, copy.deepcopy(model)
        return model

    def save(self, data: Any) -> None:
        """Write a temporary folder next to it and rename that; fill an empty folder in place."""
        with naming_a_full_disk(self.filepath, what="the model"):
            if self.filepath.is_dir() and not any(self.filepath.iterdir()):
                self._fill(data)
            else:
                self._replace(data)

    def clean_up(self) -> None:
        """Remove the leftovers of a run that was killed while saving; the model stays."""
        clean_up(linked(self.filepath))

    def _fill(self, data: Any) -> None:
        """Write into an empty folder, such as a job output on a mount that cannot be renamed."""
        try:
            save_model(data, self.filepath, self.trusted)
        except BaseException:
            _empty_folder(self.filepath)
            raise

    def _replace(self, data: Any) -> None:
        self.clean_up()
        folder = linked(self.filepath)
        new = new_beside(folder)
        try:
            save_model(data, new, self.trusted)
            put_in_place(new, folder)
        except BaseException:
            self.clean_up()
            raise

    def _exists(self) -> bool:
        return (self.filepath / "MLmodel").is_file()

    def _identity(self) -> str | None:
        with suppress(OSError):  # `load_model` reports it
            return digest(self.filepath) if self._exists() else None
        return None

    def _release(self) -> None:
        self._cached = None

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self.filepath}


@dataclass(frozen=True)
class Champion:
    """The model in service: none yet, a model with its version, or the reason for not loading it.

    ``problem`` is that reason; a comparison with such a champion must not pass.
    """

    model: Any = None
    version: str | None = None
    digest: str | None = None
    problem: str | None = None


class RegisteredChampion(AbstractDataset[None, Champion]):
    """The registered model in service, from the tracking server of the run.

    Parameters
    ----------
    name
        The name of the registered model.
    trusted
        See ``ModelDataset``.
    """

    def __init__(
        self, *, name: str, trusted: Sequence[str] = (), metadata: dict[str, Any] | None = None
    ) -> None:
        self._name = name
        self.trusted = tuple(trusted)
        self.metadata = metadata

    def load(self) -> Champion:
        """Fetch the champion; a failing server or changed files become its ``problem``."""
        import mlflow

        from kedro_azure_mlops.registry.versions import find_champion, open_client

        try:
            entry = find_champion(open_client(), self._name)
        except (mlflow.MlflowException, OSError) as error:
            return Champion(problem=f"the tracking server did not answer: {first_line(error)}")
        return Champion() if entry is None else self._fetch(entry)

    def _fetch(self, entry: Any) -> Champion:
        import mlflow

        from kedro_azure_mlops.hooks.server import database_of

        number, uri = str(entry.version), f"models:/{self._name}/{entry.version}"
        if database_of(mlflow.get_tracking_uri()):  # else MLflow adds a file to the folder
            uri = mlflow.MlflowClient().get_model_version_download_uri(self._name, number)
        try:
            folder = Path(mlflow.artifacts.download_artifacts(uri))
        except (mlflow.MlflowException, OSError, ImportError) as error:
            if full := out_of_space(error, (), "the champion's files"):
                raise full from error
            problem = f"the files of version {number} cannot be fetched: {first_line(error)}"
            return Champion(version=number, problem=problem)
        registered = entry.tags.get("digest", "")
        try:
            refuse_changed_files(folder, registered)
        except UnusableModelError as error:
            problem = str(error).replace("its files", f"the files of version {number}")
            return Champion(version=number, problem=problem)
        try:
            return Champion(load_model(folder, self.trusted, registered), number, registered)
        except DatasetError as error:
            return Champion(version=number, problem=first_line(error))

    def save(self, data: None) -> None:
        """Refuse: the champion is set by the gate, not by a node."""
        raise DatasetError(
            "The champion is set by the gate at the end of a run; it cannot be saved."
        )

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name}


class TrainedModel(AbstractDataset[None, Champion]):
    """The model of the last run in place of a champion; its version is the start of its digest.

    Parameters
    ----------
    path
        The folder of the entry that saves it (not named ``filepath``, which would track it as data
        of every run that could use it).
    trusted
        See ``ModelDataset``.
    """

    def __init__(
        self, *, path: str, trusted: Sequence[str] = (), metadata: dict[str, Any] | None = None
    ) -> None:
        self._folder = Path(path)
        self.trusted = tuple(trusted)
        self.metadata = metadata

    def load(self) -> Champion:
        """Read the model folder; an unreadable one becomes a ``problem``, as for a champion."""
        if not self._folder.is_dir():
            return Champion()
        try:
            model_digest = digest(self._folder)
            return Champion(load_model(self._folder, self.trusted), model_digest[:12], model_digest)
        except (DatasetError, OSError) as error:
            return Champion(problem=first_line(error))

    def save(self, data: None) -> None:
        """Refuse: it is written by the entry of type ``ModelDataset``."""
        raise DatasetError("The trained model is saved by the entry that mlops.yml tracks.")

    def _describe(self) -> dict[str, Any]:
        return {"path": self._folder}


def choose_model(
    champion: Champion, trained: Champion, which: Literal["champion", "trained"]
) -> Champion:
    """Return the model to score with: the one in service, or that of the last run.

    Parameters
    ----------
    champion, trained
        As loaded by ``RegisteredChampion`` and ``TrainedModel``.

    Raises
    ------
    OperationError
        If it does not exist or cannot be used: no other model replaces it.
    """
    model, name = champion, "the champion"
    if which == "trained":
        model, name = trained, "the model of the last run"
    if model.model is not None:
        return model
    if model.problem:
        raise OperationError(f"Nothing was scored because {name} cannot be used: {model.problem}.")
    raise OperationError(
        f"Nothing was scored: {name} does not exist. Train and register one with `kedro run` (in "
        "this environment), or score with the model of the last run, regardless of the "
        'gate\'s decision: --params "score.model=trained".'
    )


def save_model(model: Any, folder: Path, trusted: Sequence[str] = ()) -> None:
    """Write a model as an MLflow model folder with signature, input example and recorded answer.

    Parameters
    ----------
    model
        A fitted estimator with ``predict``, or a ``PythonModel``; see ``contract.ProjectModel`` for
        its optional members. Its attribute ``profile``, as ``reference_profile`` returns it, is
        written as ``profile.json``; a loaded model has it too.
    trusted
        Types that may be saved besides ``TRUSTED_TYPES``.

    Raises
    ------
    DatasetError
        If it has no ``predict``, holds types that are not trusted, has an input and an output of
        the same name, or its input is unknown: a text model needs an ``input_example``.
    """
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature

    if not callable(getattr(model, "predict", None)):
        raise DatasetError(f"a {type(model).__name__} is not a model: it has no predict()")
    trusted_types = [*TRUSTED_TYPES, *trusted]
    example = _example_of(model)
    try:
        answer = predict(model, example)
    except Exception as error:  # an estimator may raise anything
        if getattr(model, "input_example", None) is not None:
            raise DatasetError(
                f"a {type(model).__name__} cannot answer its input_example: {first_line(error)}. "
                "Set it to rows as the model gets them, such as X.head(), without the target"
            ) from error
        raise DatasetError(
            f"a {type(model).__name__} cannot answer a row of zeros ({error}), so its input is "
            "unknown: set its attribute input_example to some rows, such as X.head()"
        ) from error
    schema = getattr(model, "schema", None) or inferred_schema(example, answer)
    inputs = {one.name for one in schema.inputs}
    if shared := [one.name for one in schema.outputs if one.name in inputs]:
        raise DatasetError(
            f"a {type(model).__name__} has an input and an output of the same name, "
            f"{', '.join(shared)}: tables of scores could hold only one of them. Rename one"
        )
    kept, profile = _in_contract(model), profile_of(model)
    stored = _without_attributes(model, _attributes_outside_skops(model))
    options: dict[str, Any] = {
        "signature": infer_signature(example, answer),
        "input_example": example,
        "conda_env": _conda_env(_UNCHECKED),
    }
    if isinstance(model, mlflow.pyfunc.PythonModel):
        refuse_untrusted(stored, trusted_types)
        _save_python_model(stored, folder, options)
    else:
        is_empty = not folder.is_dir() or not any(folder.iterdir())
        try:
            with compact_skops():
                mlflow.sklearn.save_model(
                    stored,
                    folder,
                    serialization_format="skops",
                    skops_trusted_types=trusted_types,
                    **options,
                )
        except mlflow.MlflowException:  # it does not name the types
            if is_empty:
                _empty_folder(folder)
            refuse_untrusted(stored, trusted_types)
            raise
        normalise_skops(folder / MODEL_FILE)
    _write_requirements(folder)
    contract = Contract(
        schema=schema,
        example=rows_of_columns(arrays_of(example, schema.inputs), schema.inputs),
        answer=rows_of_columns(arrays_of(answer, schema.outputs), schema.outputs),
        tolerance=getattr(model, "tolerance", 1e-9),
        made_by={name: version(name) for name in _REQUIREMENTS},
        attributes=kept,
    )
    try:
        write_contract(folder, contract)
    except ValueError as error:  # JSON has no infinite numbers
        raise DatasetError(
            f"the input example of a {type(model).__name__} or its answer holds infinite numbers: "
            "set its attribute input_example to rows that a request could hold"
        ) from error
    export = getattr(model, "export", None)
    if callable(export):
        export(folder)
    if profile is not None:
        write_profile(folder, profile)
    normalise_folder(folder)
    write_manifest(folder)


class UnloadableModelError(OperationError, DatasetError):
    """A folder contains no model that can be loaded (exit status 2)."""


def load_model(folder: Path, trusted: Sequence[str] = (), wanted: str | None = None) -> Any:
    """Load a model that ``save_model`` wrote, if its files are unchanged.

    Parameters
    ----------
    wanted
        See ``contract.refuse_changed_files``.

    Raises
    ------
    UnloadableModelError
        If the folder holds no such model, changed files, or types that are not trusted.
    """
    try:
        if not (folder / "MLmodel").is_file():
            raise UnusableModelError("MLmodel is missing")
        refuse_changed_files(folder, wanted)
        model = load_stored(folder, read_contract(folder), trusted)
        if (profile := read_content(folder)) is not None:
            model.profile = profile
        return model
    except Exception as error:
        message = f"{folder} contains no loadable model: {error}"
        raise UnloadableModelError(message) from error


def measure_cost(model: Any, ask: Callable[[], object]) -> dict[str, float]:
    """Measure the cost of serving a model, for rules of the gate.

    Parameters
    ----------
    ask
        Calls the model with one row.

    Returns
    -------
    ``latency_ms``: median processor time of ``ask``, which other processes do not affect;
    ``size_mb``: size of the files that ``model.export`` writes for serving or, without such
    files, of the stored model.
    """
    milliseconds = []
    for _ in range(_TRIES):
        start = time.process_time()
        ask()
        milliseconds.append((time.process_time() - start) * _MILLISECONDS)
    return {"latency_ms": median(milliseconds), "size_mb": _bytes_served(model) / _MEGABYTE}


def refuse_untrusted(model: Any, trusted: Sequence[str]) -> None:
    """Refuse a model with types that are not trusted.

    Raises
    ------
    DatasetError
        If there are such types; the message names them.
    """
    import skops.io

    try:
        with compact_skops():
            types = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    except Exception as error:
        raise DatasetError(
            f"a {type(model).__name__} cannot be saved without pickle: {first_line(error)}"
        ) from error
    unknown = sorted(set(types) - set(trusted))
    if unnamed := [name for name in unknown if "<" in name or name.startswith("__main__.")]:
        raise DatasetError(
            f"a {type(model).__name__} holds {', '.join(unnamed)}, which no other process can "
            "import: define it under a name in a module of the project"
        )
    if unknown:
        raise DatasetError(
            f"a {type(model).__name__} holds types that are not trusted: {', '.join(unknown)}. If "
            "you wrote or trust them, list them under trusted: in the model's catalog entry"
        )


def load_mlflow_scorer(folder: Path, trusted: Sequence[str] = ()) -> Scorer:
    """Load the stored model as a scorer; see ``serve.stored.load_stored_scorer``."""
    return load_stored_scorer(folder, trusted)


def _load_pyfunc(path: str) -> Any:
    """Load a ``PythonModel`` for ``mlflow.pyfunc``, which calls this by its name."""
    import skops.io

    return _WithoutContext(skops.io.load(Path(path), trusted=list(TRUSTED_TYPES)))


class _WithoutContext:
    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        return predict(self._model, model_input)


def _save_python_model(model: Any, folder: Path, options: dict[str, Any]) -> None:
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / MODEL_FILE
        write_skops(model, file)
        mlflow.pyfunc.save_model(
            folder,
            loader_module=__name__,
            data_path=file,
            **options,
        )


def _bytes_served(model: Any) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        if callable(getattr(model, "export", None)):
            model.export(Path(scratch))
        if files := [file for file in Path(scratch).rglob("*") if file.is_file()]:
            return sum(file.stat().st_size for file in files)
        stored = Path(scratch, MODEL_FILE)
        write_skops(_without_attributes(model, _attributes_outside_skops(model)), stored)
        return stored.stat().st_size


def _in_contract(model: Any) -> tuple[str, ...]:
    """List the attributes that ``contract.json`` keeps: skops cannot store a DataFrame."""
    return tuple(name for name in ("input_example", "schema") if name in vars(model))


def _attributes_outside_skops(model: Any) -> tuple[str, ...]:
    return _in_contract(model) + (() if profile_of(model) is None else ("profile",))


def _without_attributes(model: Any, attributes: Sequence[str]) -> Any:
    if not attributes:
        return model
    bare = copy.copy(model)
    for name in attributes:
        delattr(bare, name)
    return bare


def _example_of(model: Any) -> Any:
    """Return the model's own example, else a row of zeros under the names it was trained on."""
    import pandas as pd

    example = getattr(model, "input_example", None)
    if example is not None:
        rows = example if isinstance(example, pd.DataFrame) else pd.DataFrame(np.asarray(example))
        return rows.rename(columns=str)
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        raise DatasetError(
            f"the input of a {type(model).__name__} is unknown: train it on a DataFrame, or set "
            "its attribute input_example to some rows"
        )
    logger.info("The model has no input_example: a row of zeros is recorded as its example")
    return pd.DataFrame([[0.0] * len(names)], columns=list(names))


def inferred_schema(example: Any, answer: Any) -> Schema:
    """Infer the schema of a model that has none from some rows and its answer to them."""
    import pandas as pd

    if isinstance(answer, pd.DataFrame):
        outputs = answer
    else:
        array = np.asarray(answer)
        flat = array.reshape(len(array), -1)
        names = ["prediction"] if flat.shape[1] == 1 else [f"p{n}" for n in range(flat.shape[1])]
        outputs = pd.DataFrame(flat, columns=names)
    return Schema(inputs=_columns(example), outputs=_columns(outputs))


def _columns(table: Any) -> tuple[Column, ...]:
    columns = []
    for name in table.columns:
        has_missing = bool(table[name].isna().any())
        columns.append(Column(str(name), _type_of(table[name]), nullable=has_missing))
    return tuple(columns)


def _type_of(values: Any) -> ColumnType:
    import pandas as pd

    # true and false next to missing values are objects
    if pd.api.types.is_bool_dtype(values) or pd.api.types.infer_dtype(values) == "boolean":
        return "boolean"
    if pd.api.types.is_integer_dtype(values):
        return "long"
    if pd.api.types.is_numeric_dtype(values):
        return "double"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "datetime"
    return "string"


def _empty_folder(folder: Path) -> None:
    """Remove the leftovers of a failed save, but keep the folder."""
    for leftover in folder.glob("*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink()


def _write_requirements(folder: Path) -> None:
    """Overwrite MLflow's requirements, which have a marker, with the model's."""
    needed = _conda_env()
    lines = yaml.safe_dump(needed, default_flow_style=False)
    (folder / "conda.yaml").write_text(lines, encoding="utf-8", newline="\n")
    pins = "\n".join(needed["dependencies"][-1]["pip"])
    (folder / "requirements.txt").write_text(pins, encoding="utf-8", newline="\n")


def _conda_env(marker: str = "") -> dict[str, Any]:
    """List the model's requirements, which MLflow would take ten seconds to infer."""
    pins = [f"{name}=={version(name)}{marker}" for name in _REQUIREMENTS]
    return {
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": pins}],
    }
