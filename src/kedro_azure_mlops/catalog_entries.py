"""Explain why Kedro cannot create the dataset of a catalog entry."""

import importlib
import inspect
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb

from kedro_azure_mlops.errors import first_line

_PARSING = re.compile(r"An exception occurred when parsing config for dataset '(.+?)':\n")
_BUILDING = re.compile(
    r"Dataset '(.+?)' must only contain arguments valid for .+ of '(.+)\.(\w+)'\.$"
)
_ARGUMENTS = re.compile(r"(\w+)\.__init__\(\) (got an unexpected|missing \d+ required) .*?('.+)")
_LACKING = re.compile(r"install the missing dependencies for ([\w.]+)")
_DATASETS = "kedro_datasets"


def fault_of_entry(
    error: BaseException, env: str | None = None, source: Path | None = None
) -> str | None:
    """Return a message with the file, the entry, why it is not valid, and the fix.

    Parameters
    ----------
    error
        A ``DatasetError`` of Kedro.
    source
        The folder of the configuration; by default that of the project in the current folder.

    Returns
    -------
        None for other errors, such as one raised by the module that defines the type or by the
        dataset itself.
    """
    lacking = _LACKING.search(str(error))
    if lacking and _is_not_installed(lacking[1]):
        return _install(lacking[1])
    fault = _fault_of_type(error) or _fault_of_arguments(error)
    if fault is None:
        return None
    entry, text, why = fault
    file = _file_of(entry, text, env, source)
    where = f"{Path(os.path.relpath(file)).as_posix()}: the" if file else "The catalog's"
    return f"{where} entry {entry} {why}"


def _fault_of_type(error: BaseException) -> tuple[str, str, str] | None:
    """Return an entry whose type cannot be loaded, a text that its file contains, and why."""
    parsing = _PARSING.match(str(error))
    if parsing is None:
        return None
    entry = parsing[1]
    if "'type' is missing" in str(error):
        return entry, entry, "has no type. Set it, such as type: pandas.CSVDataset"
    kind = _type_of(error)
    why = _reason(kind, error.__cause__) if kind else None
    return (entry, kind, f"has the type {kind}, which {why}") if kind and why else None


def _fault_of_arguments(error: BaseException) -> tuple[str, str, str] | None:
    """Return an entry with a wrong or missing argument, a text that its file contains, and why."""
    building = _BUILDING.search(str(error))
    found = _ARGUMENTS.match(str(error.__cause__))
    if building is None or found is None or found[1] != building[3]:
        return None  # such as a TypeError inside the constructor
    entry, module, kind = building.groups()
    names = re.findall(r"'(\w+)'", found[3])
    if found[2].startswith("missing"):
        return entry, kind, f"lacks {', '.join(names)}, which a {kind} requires"
    accepted = list(inspect.signature(getattr(importlib.import_module(module), kind)).parameters)
    close = get_close_matches(names[0], accepted, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"It accepts: {', '.join(accepted)}."
    return entry, names[0], f"sets {names[0]}, which a {kind} does not accept. {hint}"


def _install(kind: str) -> str:
    """Return how to install the package for a dataset type that Kedro could not load."""
    group = kind.removeprefix(f"{_DATASETS}.").partition(".")[0]
    package = "kedro-azure-mlops[spark]" if group == "spark" else f"kedro-datasets[{group}]"
    return (
        f"The catalog has an entry of type {kind}, which requires a package that is not "
        f'installed. Install it: uv pip install "{package}"'
    )


def _is_not_installed(kind: str) -> bool:
    """Return whether a type is in kedro-datasets, or may be if that is not installed."""
    module, _, name = kind.removeprefix(f"{_DATASETS}.").rpartition(".")
    if _is_installed(_DATASETS):
        return name in _types_in(f"{_DATASETS}.{module}")
    return not _is_installed(module.partition(".")[0])


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _type_of(error: BaseException) -> str | None:
    """Return the type of the entry that Kedro was creating when it raised the error."""
    for frame, _ in walk_tb(error.__traceback__):
        location = frame.f_globals.get("__name__"), frame.f_code.co_name
        if location == ("kedro.io.core", "from_config"):
            kind = frame.f_locals.get("config", {}).get("type")
            return kind if isinstance(kind, str) else None
    return None


def _reason(kind: str, cause: BaseException | None) -> str | None:
    from kedro.io import DatasetError

    message = first_line(cause) if cause else ""
    if message.startswith("issubclass() arg 1") or "must extend" in message:
        return "is not a dataset: it must extend kedro.io.AbstractDataset."
    if not isinstance(cause, DatasetError):
        return None
    module, _, name = kind.rpartition(".")
    known = [one for candidate in _candidate_modules(module) for one in _types_in(candidate)]
    close = get_close_matches(name, known, n=1, cutoff=0.8)
    if close:
        return f"does not exist. Did you mean {f'{module}.' if module else ''}{close[0]}?"
    missing = re.match(r"No module named '(.+?)'", message)
    package = kind.partition(".")[0]
    if missing and not (_is_installed(package) and kind.startswith(f"{missing[1]}.")):
        return (
            f"cannot be imported: {missing[0]}. Check the name, or install the package that "
            "defines it."
        )
    if module and not _is_installed(_DATASETS):
        return (
            "does not exist. Check the name, or install kedro-datasets if it provides the type: "
            f'uv pip install "kedro-datasets[{package}]"'
        )
    return "does not exist. Check the name: it is MODULE.CLASS, as in pandas.CSVDataset."


def _candidate_modules(module: str) -> Iterator[str]:
    """Yield the modules in which Kedro looks for a type."""
    for package in ("kedro.io", _DATASETS, ""):
        if name := ".".join(filter(None, (package, module))):
            yield name


def _types_in(module: str) -> list[str]:
    """List the dataset types of a module; empty if it cannot be imported."""
    from kedro.io import AbstractDataset

    with suppress(Exception):
        imported = importlib.import_module(module)
        # kedro-datasets annotates the types whose dependencies are not installed
        annotated = [name for name in getattr(imported, "__annotations__", ()) if "Dataset" in name]
        classes = [
            name
            for name, value in vars(imported).items()
            if isinstance(value, type) and issubclass(value, AbstractDataset)
        ]
        return [*getattr(imported, "__all__", ()), *annotated, *classes]
    return []


def _file_of(entry: str, text: str, env: str | None, source: Path | None) -> Path | None:
    """Find the file with an entry or its factory pattern; None if no file has its text."""
    from kedro.framework.project import settings

    source, known = source or Path.cwd() / settings.CONF_SOURCE, settings.CONFIG_LOADER_ARGS
    layers = env or known.get("default_run_env", "local"), known.get("base_env", "base")
    files = [file for layer in layers for file in sorted(source.glob(f"{layer}/**/*.y*ml"))]
    texts = {
        file: file.read_text("utf-8", errors="replace")
        for file in files
        if "catalog" in file.relative_to(source).as_posix()
    }
    named = [file for file, content in texts.items() if text in content]
    key = re.compile(rf"(?m)^[\"']?{re.escape(entry)}[\"']?\s*:")
    return next((file for file in named if key.search(texts[file])), next(iter(named), None))
