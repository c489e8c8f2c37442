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
from collections.abc import Callable, Iterable, Sequence
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
    columns_of_rows,
    difference,
    digest,
    read_contract,
    refuse_changed_files,
    rows_of_columns,
    write_contract,
    write_manifest,
)
from kedro_azure_mlops.errors import OperationError, RefusedError, first_line
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
    StoredScorer,
    arrays_of,
    count_answers,
    load_stored,
    load_stored_scorer,
    predict,
    table_of,
    takes_series,
)
from kedro_azure_mlops.values import read_times
from kedro_azure_mlops.writing import (
    clean_up,
    linked,
    naming_a_full_disk,
    new_beside,
    out_of_space,
    put_in_place,
)

logger = logging.getLogger(__name__)

# by the names that pandas gives to the values of a column
_TYPES: dict[str, ColumnType] = {
    "string": "string",
    "empty": "string",
    "boolean": "boolean",
    "integer": "long",
    "floating": "double",
    "mixed-integer-float": "double",
    "datetime": "datetime",
    "datetime64": "datetime",
}
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
        self.is_served = True  # by itself; a hook clears it if the project names a scorer
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
            try:
                if self.filepath.is_dir() and not any(self.filepath.iterdir()):
                    self._fill(data)
                else:
                    self._replace(data)
            except RefusedModelError as error:
                error.where = str(self.filepath)
                raise

    def clean_up(self) -> None:
        """Remove the leftovers of a run that was killed while saving; the model stays."""
        clean_up(linked(self.filepath))

    def _fill(self, data: Any) -> None:
        """Write into an empty folder, such as a job output on a mount that cannot be renamed."""
        try:
            save_model(data, self.filepath, self.trusted, is_served=self.is_served)
        except BaseException:
            _empty_folder(self.filepath)
            raise

    def _replace(self, data: Any) -> None:
        self.clean_up()
        folder = linked(self.filepath)
        new = new_beside(folder)
        try:
            save_model(data, new, self.trusted, is_served=self.is_served)
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


def leave_answers_to_scorer(names: Iterable[str], catalog: Any) -> None:
    """Save the models of a catalog without replaying them: a scorer of the project is served."""
    for name in names:
        if isinstance(entry := catalog.get(name), ModelDataset):
            entry.is_served = False


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


class RefusedModelError(RefusedError, DatasetError):
    """A model cannot be saved as it is (exit status 1)."""


def save_model(
    model: Any, folder: Path, trusted: Sequence[str] = (), *, is_served: bool = True
) -> None:
    """Write a model as an MLflow model folder with signature, input example and recorded answer.

    Parameters
    ----------
    model
        A fitted estimator with ``predict``, or a ``PythonModel``; see ``contract.ProjectModel`` for
        its optional members. Its attribute ``profile``, as ``reference_profile`` returns it, is
        written as ``profile.json``; a loaded model has it too.
    trusted
        Types that may be saved besides ``TRUSTED_TYPES``.
    is_served
        Whether the stored model itself is served, instead of a scorer of the project.

    Raises
    ------
    RefusedModelError
        If it has no ``predict``, holds types that are not trusted, has an input and an output of
        the same name, or its input is unknown: a text model needs an ``input_example``. If it does
        not answer each row, or answers the example differently when served.
    """
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature

    if not callable(getattr(model, "predict", None)):
        raise RefusedModelError(f"a {type(model).__name__} is not a model: it has no predict()")
    trusted_types = [*TRUSTED_TYPES, *trusted]
    example = _example_of(model)
    as_series = takes_series(model, example)
    answer = _answer_to_example(model, example, as_series)
    if is_served and getattr(model, "schema", None) is None:
        _refuse_other_types(model, example)
    contract = _contract_of(model, example, answer, as_series)
    export = getattr(model, "export", None)
    if is_served and not callable(export):  # else registering replays it with the scorer
        _refuse_other_answers(model, contract, example)
    profile = profile_of(model)
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
    write_contract(folder, contract)
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
    RefusedModelError
        If there are such types; the message names them.
    """
    import skops.io

    try:
        with compact_skops():
            types = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    except Exception as error:
        raise RefusedModelError(
            f"a {type(model).__name__} cannot be saved without pickle: {first_line(error)}"
        ) from error
    unknown = sorted(set(types) - set(trusted))
    if unnamed := [name for name in unknown if "<" in name or name.startswith("__main__.")]:
        raise RefusedModelError(
            f"a {type(model).__name__} holds {', '.join(unnamed)}, which no other process can "
            "import: define it under a name in a module of the project"
        )
    if unknown:
        raise RefusedModelError(
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
        raise RefusedModelError(
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
        has_missing, kind = bool(table[name].isna().any()), _TYPES.get(_kind_of(table[name]))
        columns.append(Column(str(name), kind or "string", nullable=has_missing))
    return tuple(columns)


def _kind_of(values: Any) -> str:
    """Name the values of a column, also of a category or of objects, as pandas does."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.categories
    return pd.api.types.infer_dtype(values)


def _answer_to_example(model: Any, example: Any, as_series: bool) -> Any:
    """Return a model's answer to its example, after checking that it answers each row."""
    try:
        answer = predict(model, example, as_series)
    except Exception as error:  # an estimator may raise anything
        if getattr(model, "input_example", None) is not None:
            raise RefusedModelError(
                f"a {type(model).__name__} cannot answer its input_example: {first_line(error)}. "
                "Set it to rows as the model gets them, such as X.head(), without the target"
            ) from error
        raise RefusedModelError(
            f"a {type(model).__name__} cannot answer a row of zeros ({error}), so its input is "
            "unknown: set its attribute input_example to some rows, such as X.head()"
        ) from error
    _refuse_other_count(model, example, answer, as_series)
    return answer


def _refuse_other_count(model: Any, example: Any, answer: Any, as_series: bool) -> None:
    """Refuse a model that does not answer each row, also if its example has only one."""
    import pandas as pd

    name = type(model).__name__
    if (count := count_answers(answer)) is None:
        raise RefusedModelError(
            f"predict() of a {name} returns a {type(answer).__name__}: it has to return an array, "
            "a Series or a table with an answer for each row"
        )
    counts: list[tuple[int | None, int]] = [(count, len(example))]
    if getattr(getattr(model, "schema", None), "history", None) is None:  # else times would repeat
        twice = pd.concat([example, example], ignore_index=True)
        with suppress(Exception):  # raised by a model's own code
            counts.append((count_answers(predict(model, twice, as_series)), len(twice)))
    for number, rows in counts:
        if number != rows:
            raise RefusedModelError(
                f"predict() of a {name} returns {number} answers for {rows} rows: it has to return "
                "one for each row"
            )


def _refuse_other_types(model: Any, example: Any) -> None:
    """Refuse columns that a request cannot hold: the model would get other values in service."""
    for name in example.columns:
        values = example[name]
        kind = _kind_of(values)
        if (wanted := _TYPES.get(kind)) is None:
            reason = f"{kind} values, but a request holds only texts, numbers, booleans and times"
            advice = "Convert it before training, and set input_example to the converted rows"
        elif wanted == "datetime" and read_times(values).has_offset.any():
            reason = "times with a time zone, but servers pass times in UTC without one"
            advice = 'Train on such times: .dt.tz_convert("UTC").dt.tz_localize(None)'
        else:
            continue
        raise RefusedModelError(
            f"a {type(model).__name__} cannot be served: its column {name} ({values.dtype}) holds "
            f"{reason}. {advice}"
        )


def _contract_of(model: Any, example: Any, answer: Any, as_series: bool) -> Contract:
    schema = getattr(model, "schema", None) or inferred_schema(example, answer)
    inputs = {one.name for one in schema.inputs}
    if shared := [one.name for one in schema.outputs if one.name in inputs]:
        raise RefusedModelError(
            f"a {type(model).__name__} has an input and an output of the same name, "
            f"{', '.join(shared)}: tables of scores could hold only one of them. Rename one"
        )
    try:
        sent, answered = arrays_of(example, schema.inputs), arrays_of(answer, schema.outputs)
    except (ValueError, IndexError) as error:
        raise RefusedModelError(
            f"the input_example of a {type(model).__name__} or its answer does not fit its schema: "
            f"{first_line(error)}"
        ) from error
    if any(
        part.dtype.kind == "f" and np.isinf(part).any()
        for part in (*sent.values(), *answered.values())
    ):
        raise RefusedModelError(
            f"the input example of a {type(model).__name__} or its answer holds infinite numbers: "
            "set its attribute input_example to rows that a request could hold"
        )
    return Contract(
        schema=schema,
        example=rows_of_columns(sent, schema.inputs),
        answer=rows_of_columns(answered, schema.outputs),
        tolerance=getattr(model, "tolerance", 1e-9),
        made_by={name: version(name) for name in _REQUIREMENTS},
        attributes=_in_contract(model),
        missing_as_nan=tuple(
            one.name
            for one in schema.inputs
            if one.nullable
            and one.type in {"string", "boolean"}
            and example[one.name].isna().any()
            and not any(value is None for value in example[one.name])
        ),
        takes_series=as_series,
    )


def _refuse_other_answers(model: Any, contract: Contract, example: Any) -> None:
    """Replay the example as a server does, which turns its JSON rows into a table again."""
    columns = columns_of_rows(contract.example, contract.schema.inputs)
    form = contract.missing_as_nan, contract.takes_series
    try:
        answer = StoredScorer(model, contract.schema, None, *form).score(columns)
        fault, what = difference(answer, contract), "answers its input_example differently"
        advice = "Its answer has to depend only on the values of the rows, not on chance"
    except Exception as error:  # noqa: BLE001, an estimator may raise anything
        fault, what = first_line(error), "cannot answer its input_example"
        advice = "Train it on rows as requests hold them, or name a scorer in mlops.yml"
    if fault is None:
        return
    served = table_of(columns, contract.schema.inputs, contract.missing_as_nan)
    changed = [
        f"{name} ({example[name].dtype} in input_example, {served[name].dtype} in service)"
        for name in served.columns
        if example[name].dtype != served[name].dtype
    ]
    if changed:
        advice = (
            f"The type of these columns differs: {', '.join(changed)}. Train it on, and set "
            "input_example to, columns of the types in service"
        )
    raise RefusedModelError(f"a {type(model).__name__} {what} when it is served: {fault}. {advice}")


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
