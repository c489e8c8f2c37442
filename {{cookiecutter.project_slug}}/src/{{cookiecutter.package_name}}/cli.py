"""The project's own ``kedro run``: the same command, with a report after it and errors in words."""

import copy
from collections.abc import Iterator
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation import DataValidationError
from kedro.validation.exceptions import ParameterValidationError

from .errors import ProjectError
from .output import protect_output

_EXPECTED = (
    ProjectError,
    DataValidationError,
    ParameterValidationError,
    MissingConfigException,
)
_REPORTS = ("report", "backtest_report")  # catalog entries that are shown at the end of a run
_PIPELINES = f"{__package__}.pipelines."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run this project."""


def _run(**options: Any) -> dict[str, Any]:
    protect_output()
    try:
        results = kedro_run.callback(**options)
    except Exception as error:
        refusal = _in_words(error)
        if refusal is None:
            raise
        raise refusal from error
    for report in _REPORTS:
        if report in results:
            click.echo("\n" + results[report].load())
    return results


def _in_words(error: Exception) -> click.ClickException | None:
    """Turn an error that a person can mend into its message and exit status; None for a bug."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, _EXPECTED):
            return _refusal(str(cause), getattr(cause, "exit_code", 2))
    if isinstance(error, ImportError) and error.__cause__ is None and _PIPELINES in str(error):
        # Kedro's words for a folder that is not there; one that cannot be imported has a cause.
        name = str(error).split(_PIPELINES)[1].split("'")[0]
        return _refusal(f"There is no pipeline {name}; see: kedro registry list", 2)
    if isinstance(error, DatasetError) and any(isinstance(cause, OSError) for cause in causes):
        return _refusal(str(error), 2)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _refusal(message: str, exit_code: int) -> click.ClickException:
    refusal = click.ClickException(message)
    refusal.exit_code = exit_code
    return refusal


run = copy.copy(kedro_run)
run.callback = _run
cli.add_command(run)
