"""``kedro run`` with a report and readable errors; imported by a project's ``cli.py``."""

import atexit
import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import click

from kedro_azure_mlops.cli import drop_output, exits_quietly_on_broken_pipe, quiet_kedro, status_of
from kedro_azure_mlops.writing import name_full_disks_of_logs, out_of_space

# Kedro's errors about data and parameters, by name because Kedro 1.0 does not have them.
_VALIDATION = {"DataValidationError", "ParameterValidationError"}

# Options that select nodes, by the parameter of `kedro run`.
_FILTERS = {
    "node_names": "--nodes",
    "from_nodes": "--from-nodes",
    "to_nodes": "--to-nodes",
    "namespaces": "--namespaces",
    "from_inputs": "--from-inputs",
    "to_outputs": "--to-outputs",
    "tags": "--tags",
}

_COLLECTION_THRESHOLD = 50_000  # objects created between two garbage collections


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run this project."""


def _run(**options: Any) -> dict[str, Any]:
    try:
        with exits_quietly_on_broken_pipe(), _fewer_collections():
            return _run_and_report(options)
    except OSError as error:  # while printing the report: the results are stored already
        full = out_of_space(error, (), "the output of this command")
        if full is None:
            raise
        drop_output()
        raise _refusal(str(full), full.exit_code) from error


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Keep Python from searching imports for cyclic garbage, also at exit.

    A run imports thousands of modules, whose objects are never freed. With the default threshold
    of 700 objects Python would scan them repeatedly, then three more times at exit. From the first
    node on it scans as often as usual, but only new objects: a cycle may hold tables. Open files
    are still closed at exit, because the handler registered first runs last.
    """
    from kedro_azure_mlops.hooks import hooks

    before = gc.get_threshold()

    def restore_threshold() -> None:
        gc.freeze()
        gc.set_threshold(*before)

    gc.set_threshold(max(before[0], _COLLECTION_THRESHOLD), *before[1:])
    hooks.before_first_node = restore_threshold
    atexit.unregister(gc.freeze)  # registered by an earlier run in this process
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        hooks.before_first_node = None
        gc.set_threshold(*before)


def _run_and_report(options: dict[str, Any]) -> dict[str, Any]:
    from kedro.framework.cli.project import run as kedro_run

    from kedro_azure_mlops.hooks import hooks
    from kedro_azure_mlops.safety import protect_output

    protect_output()
    quiet_kedro()
    name_full_disks_of_logs()
    hooks.waits = options.pop("wait", None)
    try:
        results = kedro_run.callback(**options)
    except Exception as error:
        refusal = _user_error(error, options)
        if refusal is None:
            raise
        raise refusal from error
    for report in _reports():
        if report in results:
            click.echo("\n" + results[report].load())
    return results


def _reports() -> list[str]:
    from kedro_azure_mlops.hooks import last_configuration

    found = last_configuration()
    return found.report if found else []


def _user_error(error: Exception, options: dict[str, Any]) -> click.ClickException | None:
    """Return an error that the user can fix with its message and exit status; None for a bug."""
    from kedro.framework.project import PACKAGE_NAME
    from kedro.io import DatasetError

    causes = list(_causes(error))
    for cause in causes:
        status = status_of(cause)
        if status is not None:
            return _refusal(str(cause), status)
        if _VALIDATION.intersection(kind.__name__ for kind in type(cause).__mro__):
            return _refusal(str(cause), getattr(cause, "exit_code", 2))
    prefix, name = f"{PACKAGE_NAME}.pipelines.", None
    if isinstance(error, ImportError) and error.__cause__ is None and prefix in str(error):
        # Kedro raises this for a missing folder; for a failed import the error has a cause.
        name = str(error).split(prefix)[1].split("'")[0]
    elif isinstance(error, ValueError) and "Failed to find the pipeline named" in str(error):
        name = str(error).split("'")[1]
    if name is not None:
        return _refusal(f"There is no pipeline {name}; see: kedro registry list", 2)
    if isinstance(error, DatasetError):
        from kedro_azure_mlops.catalog_entries import fault_of_entry

        source = options.get("conf_source")
        fault = fault_of_entry(error, options.get("env"), Path(source) if source else None)
        if fault or any(isinstance(cause, OSError) for cause in causes):
            return _refusal(fault or str(error), 2)
    why = _fault_of_filters(error, options) or _fault_of_configuration(error, options)
    return _refusal(why, 2) if why else None


def _fault_of_configuration(error: Exception, options: dict[str, Any]) -> str | None:
    """Return why the configuration cannot be read; None for any other error."""
    from omegaconf.errors import InterpolationResolutionError

    from kedro_azure_mlops.config import unresolved_in_words

    if isinstance(error, InterpolationResolutionError):
        source = options.get("conf_source")
        return unresolved_in_words(error, options.get("env"), Path(source) if source else None)
    if not _is_raised_by_config_loader(error):
        return None
    why = " ".join(line.strip() for line in str(error).splitlines()[:2])
    return f"The configuration cannot be read: {why or type(error).__name__}"


def _fault_of_filters(error: Exception, options: dict[str, Any]) -> str | None:
    """Return why the options select no nodes, and the command that lists them; else None."""
    chosen = {name: ",".join(options[name]) for name in _FILTERS if options.get(name)}
    if not chosen or not isinstance(error, ValueError) or not _is_raised_by_filters(error):
        return None
    why = str(error).rstrip(".")
    if "no nodes after applying" in why:
        why = f"No node matches {' '.join(f'{_FILTERS[name]} {chosen[name]}' for name in chosen)}"
        if list(chosen) == ["tags"]:  # no command lists them
            return f"{why}."
    pipelines = ",".join(options.get("pipelines") or filter(None, [options.get("pipeline")]))
    if "datasets named" in why:
        known = "kedro catalog describe-datasets" + (f" --pipelines {pipelines}" * bool(pipelines))
    else:
        known = f"kedro registry describe {pipelines if ',' not in pipelines else ''}".rstrip()
    return f"{why}; see: {known}"


def _is_raised_by_filters(error: BaseException) -> bool:
    """Return whether Kedro's session itself raised the error while it selected the nodes.

    A node, a hook or a pipeline's definition can also filter a pipeline: those errors are bugs.
    """
    before = ""
    for frame, _ in walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module == "kedro.pipeline.pipeline" and frame.f_code.co_name == "filter":
            return before.startswith("kedro.framework.session.")
        before = module
    return False


def _is_raised_by_config_loader(error: BaseException) -> bool:
    """Return whether an error of any type was raised in Kedro's config loader."""
    return any(
        str(frame.f_globals.get("__name__")).startswith("kedro.config.")
        for frame, _ in walk_tb(error.__traceback__)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


class _Refusal(click.ClickException):
    """An error shown like the errors of our commands."""

    def show(self, file: Any = None) -> None:
        from kedro_azure_mlops.terminal import show_error

        show_error("Error", self.message)


class _OperationFailure(_Refusal):
    exit_code = 2


def _refusal(message: str, exit_code: int) -> click.ClickException:
    return _Refusal(message) if exit_code == 1 else _OperationFailure(message)


def _run_command() -> click.Command:
    from kedro.framework.cli.project import run as kedro_run

    command = copy.copy(kedro_run)
    command.callback = _run
    text = "wait for other runs that use the same files (default), or exit with 2"
    option = click.Option(["--wait/--no-wait"], default=None, help=text)
    command.params = [*kedro_run.params, option]
    return command


run = _run_command()  # packaged projects import this name
cli.add_command(run)
