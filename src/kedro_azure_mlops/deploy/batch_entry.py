"""Entry point of a batch endpoint's job: run a pipeline on a folder of files with its model.

``python -m kedro_azure_mlops.deploy.batch_entry --env ENV --pipeline NAME --reads ENTRY --makes
ENTRY --model DIR --digest D --version N --data FOLDER --scores FOLDER``

The pipeline's input entry is bound to the folder if it accepts folders; otherwise the pipeline
runs once for each file. The scores are complete or absent.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from kedro_azure_mlops.errors import OperationError

_PART = ".part"  # the folder of scores until all files are scored


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the files; return 1 if one cannot be scored, 2 if scoring cannot start."""
    parser = argparse.ArgumentParser(prog="python -m kedro_azure_mlops.deploy.batch_entry")
    parser.add_argument("--env", required=True, help="the configuration environment")
    parser.add_argument("--pipeline", required=True, help="the registered pipeline that runs")
    parser.add_argument("--reads", required=True, help="the catalog entry that is bound to --data")
    parser.add_argument("--makes", required=True, help="the entry that is bound to --scores")
    for name in ("--model", "--data", "--scores"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--digest", required=True, help="the model's digest; others are refused")
    parser.add_argument("--version", required=True, help="the model version in the scores")
    options = parser.parse_args(arguments)
    part = options.scores / _PART
    try:
        _score(options, part)
        for output in list(part.iterdir()):
            output.rename(options.scores / output.name)
    except Exception as error:
        refusal = _user_error(error)
        if refusal is None:
            raise
        status, cause = refusal
        print(f"{cause}\nNothing was scored.", file=sys.stderr)  # noqa: T201, the log of the job
        return status
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return 0


def _score(options: argparse.Namespace, part: Path) -> None:
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.runner import SequentialRunner

    from kedro_azure_mlops.config import bootstrap
    from kedro_azure_mlops.contract import UnusableModelError, refuse_changed_files
    from kedro_azure_mlops.deploy.batch import model_entries

    try:
        refuse_changed_files(options.model, options.digest)
    except UnusableModelError as error:
        raise OperationError(f"The uploaded model: {error}; deploy it again.") from error
    logging.getLogger("kedro.io.data_catalog").addFilter(_is_not_about_replacing)
    root = Path.cwd()
    bootstrap(root)
    pipeline = pipelines[options.pipeline]
    context = KedroSession.create(project_path=root, env=options.env).load_context()
    catalog, entries = context.catalog, context.config_loader["catalog"]
    for name in model_entries(catalog, pipeline):
        catalog[name] = _bind_model(catalog.get(name), options)
    for data, scores in _input_output_paths(options, entries, part):
        catalog[options.reads] = _bind(entries, options.reads, data)
        catalog[options.makes] = _bind(entries, options.makes, scores)
        # without the hooks of a run: a batch is not an experiment
        SequentialRunner().run(pipeline, catalog)


def _is_not_about_replacing(record: logging.LogRecord) -> bool:
    return "Replacing dataset" not in str(record.msg)


def _bind_model(dataset: Any, options: argparse.Namespace) -> Any:
    """Return a dataset of the uploaded model, in the form of the one it replaces."""
    from kedro.io import MemoryDataset

    from kedro_azure_mlops.models import Champion, RegisteredChampion, load_model

    model = load_model(options.model, dataset.trusted, options.digest)
    if isinstance(dataset, RegisteredChampion):
        model = Champion(model, options.version, options.digest)
    return MemoryDataset(model, copy_mode="assign")


def _input_output_paths(
    options: argparse.Namespace, entries: Mapping[str, Any], part: Path
) -> Iterator[tuple[Path, Path]]:
    """Yield each path to read and the path for its scores: the folder, or file by file."""
    part.mkdir(parents=True)
    output = PurePosixPath(_path_of(entries, options.makes))
    writes_folder = _accepts_folders(entries, options.makes)
    if _accepts_folders(entries, options.reads):
        yield options.data, part / (output.stem if writes_folder else output.name)
        return
    files = [options.data] if options.data.is_file() else sorted(options.data.rglob("*"))
    files = [file for file in files if file.is_file() and not file.name.startswith(".")]
    if not files:
        raise OperationError(f"{options.data} holds no file to score.")
    suffix = "" if writes_folder else output.suffix
    for file in files:
        subfolder = file.relative_to(options.data).parent if options.data.is_dir() else Path()
        target = part / subfolder / f"{file.stem}{suffix}"
        if target.exists():
            raise OperationError(f"The scores of {file.name} and another file have the same name.")
        yield file, target


def _accepts_folders(entries: Mapping[str, Any], name: str) -> bool:
    from kedro.io.core import parse_dataset_definition

    from kedro_azure_mlops.hooks.binding import entry_of
    from kedro_azure_mlops.serve.batches import CsvPieces, ScoredPieces

    entry = entry_of(entries, name) or {}
    kind, _ = parse_dataset_definition(dict(entry))
    is_file = PurePosixPath(_path_of(entries, name)).suffix and "path" not in entry
    return issubclass(kind, CsvPieces | ScoredPieces) or not is_file


def _path_of(entries: Mapping[str, Any], name: str) -> str:
    from kedro_azure_mlops.hooks.binding import entry_of, place_of

    entry = entry_of(entries, name)
    path = place_of(entry) if entry else None
    if path is None:
        raise OperationError(
            f"The entry {name} has no filepath or path: store it in a file, or name another one "
            "under deployment.batch in mlops.yml."
        )
    return path


def _bind(entries: Mapping[str, Any], name: str, path: Path) -> Any:
    from kedro.io import AbstractDataset

    from kedro_azure_mlops.hooks.binding import entry_of, moved

    entry = moved(name, entry_of(entries, name) or {}, path.as_posix())
    entry.pop("credentials", None)  # they belong to the replaced path
    return AbstractDataset.from_config(name, entry)


def _user_error(error: BaseException | None) -> tuple[int, BaseException] | None:
    """Return the first cause of an error that a user can fix, with its exit status."""
    from kedro_azure_mlops.cli import status_of

    while error is not None:
        status = status_of(error)
        if status is not None:
            return status, error
        error = error.__cause__
    return None


if __name__ == "__main__":
    sys.exit(main())
