"""Describe the data that a run reads and writes: paths, digests and metrics."""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kedro.framework.project import pipelines
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline import Pipeline

from kedro_azure_mlops.config import Mlops
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.hooks.binding import base_of, is_parameter, port_of

logger = logging.getLogger(__name__)

EARLIER = "data.from_earlier_runs"  # tag: inputs of a run that earlier runs produced


def stored_at(catalog: CatalogProtocol, name: str) -> str:
    """Return the path of a catalog entry, without the protocol of a remote one."""
    return str(_path(catalog[name]))


def is_stored(catalog: CatalogProtocol, name: str) -> bool:
    """Return whether a catalog entry has a file or folder, which may not exist yet."""
    dataset = catalog[name]
    return isinstance(dataset, AbstractVersionedDataset) or _path(dataset) is not None


def digest_of(catalog: CatalogProtocol, name: str) -> str | None:
    """Compute the SHA-256 of an entry's file or folder; None if it has neither."""
    dataset = catalog[name]
    path = _path(dataset)
    if path is None:
        return None
    if Path(path).is_dir():
        return digest(Path(path))
    opener = Path(path).open if Path(path).is_file() else _remote_opener(dataset, path)
    if opener is None:
        return None
    with opener("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def measured(
    catalog: CatalogProtocol, names: Iterable[str], config: Mlops
) -> dict[str, dict[str, float]]:
    """Load the metrics among stored entries: numbers by name, including NaN, for each entry.

    Unless ``tracking.metrics`` lists them, these are all JSON entries that map names to numbers. If
    two entries use the same name, the second is prefixed with its entry: ``cost.seconds``. A
    warning names what is left out, if the gate limits one of an entry's metrics.
    """
    wanted = config.tracking.metrics
    found: dict[str, dict[str, float]] = {}
    used: set[str] = set()
    for name in sorted(names) if wanted is None else [one for one in wanted if one in set(names)]:
        if name == config.gate.decision or (wanted is None and not _is_json(catalog, name)):
            continue
        if not catalog.exists(name):
            continue
        content = catalog.load(name)
        values, others = _numbers(content), _other_names(content)
        if wanted is None and (others or not values):
            if config.gate.metrics & {*values, *others}:
                logger.warning(
                    "%s is not tracked as metrics: it also holds %s, which is not a number. Remove "
                    "that, or list %s in tracking.metrics to track its numbers.",
                    *(name, others[0], name),
                )
            continue
        if others:
            logger.warning("%s: %s cannot be tracked: no number", name, ", ".join(others[:5]))
        found[name] = {f"{name}.{k}" if k in used else k: v for k, v in values.items()}
        used |= values.keys()
    return found


def _is_json(catalog: CatalogProtocol, name: str) -> bool:
    return name in catalog and "JSON" in type(catalog[name]).__name__


def _numbers(content: Any) -> dict[str, float]:
    """Return the numbers of a mapping by their names."""
    if not isinstance(content, Mapping):
        return {}
    return {str(name): float(value) for name, value in content.items() if _is_number(value)}


def _other_names(content: Any) -> list[str]:
    """Return the names in a mapping, and in mappings inside it, whose values are not numbers."""
    if not isinstance(content, Mapping):
        return []
    others = {str(name): value for name, value in content.items() if not _is_number(value)}
    inside = [str(key) for one in others.values() if isinstance(one, Mapping) for key in one]
    return [*others, *inside]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def data_tags(pipeline: Pipeline, catalog: CatalogProtocol, root: Path) -> dict[str, str]:
    """Return tags on a run's inputs: digest and path of raw files, and results of other runs."""
    made = _node_outputs()
    inputs = {name for name in pipeline.inputs() if not is_parameter(name)}
    tags = {}
    for name in sorted(inputs):
        if base_of(name) not in made and (found := digest_of(catalog, name)):
            tags[f"data.file.{port_of(name)}"] = found
            tags[f"data.path.{port_of(name)}"] = _catalog_path(catalog, name, root)
    if earlier := sorted({base_of(name) for name in inputs} & made):
        tags[EARLIER] = ",".join(earlier)
    return tags


def dataset_input(catalog: CatalogProtocol, name: str, fingerprint: str) -> Any:
    """Describe the training data as MLflow shows it with a run."""
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag

    with warnings.catch_warnings():  # MLflow calls a local path ambiguous
        warnings.simplefilter("ignore", UserWarning)
        source = resolve_dataset_source(_unsigned(stored_at(catalog, name)))
    # MLflow's own digest covers the first rows only; the field holds 36 characters.
    described = MetaDataset(source, name=name, digest=fingerprint[:36])
    context = InputTag("mlflow.data.context", "training")
    return DatasetInput(Dataset.from_dictionary(described.to_dict()), [context])


def _path(dataset: Any) -> str | None:
    if isinstance(dataset, AbstractVersionedDataset):
        return str(dataset._get_load_path())  # Kedro has no public method for this path
    path = getattr(dataset, "filepath", None) or getattr(dataset, "_path", None)  # of partitions
    return None if path is None else str(path)


def _node_outputs() -> set[str]:
    if hasattr(pipelines, "set_requested"):  # newer Kedro loads only the pipelines that run
        pipelines.set_requested(None)
    try:
        return {base_of(name) for one in pipelines.values() for name in one.all_outputs()}
    except ImportError:  # in a pipeline that is not run
        return set()


def _remote_opener(dataset: Any, path: str) -> Callable[..., Any] | None:
    files = getattr(dataset, "_fs", None)  # the dataset's own file system
    return partial(files.open, path) if files and files.exists(path) else None


def _catalog_path(catalog: CatalogProtocol, name: str, root: Path) -> str:
    """Return an entry's path: relative to the project, or absolute, or remote with its protocol."""
    protocol = getattr(catalog[name], "_protocol", "file")
    path = stored_at(catalog, name)
    if protocol != "file":
        return f"{protocol}://{_unsigned(path)}"
    absolute = (root / path).resolve()
    inside = absolute.is_relative_to(root.resolve())
    return (absolute.relative_to(root.resolve()) if inside else absolute).as_posix()


def _unsigned(address: str) -> str:
    """Remove credentials and signatures from an address."""
    return address.split("?", maxsplit=1)[0]
