"""``kedro run`` with a report after it and errors in words; a project's ``cli.py`` imports it."""

import copy
from collections.abc import Iterator
from typing import Any

import click

from kedro_azure_mlops.cli import quiet_kedro, status_of

# Kedro's errors about data and parameters, by name: Kedro 1.0 does not have them
_VALIDATION = {"DataValidationError", "ParameterValidationError"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run this project."""


def _run(**options: Any) -> dict[str, Any]:
    from kedro.framework.cli.project import run as kedro_run

    from kedro_azure_mlops.safety import protect_output

    protect_output()
    quiet_kedro()
    try:
        results = kedro_run.callback(**options)
    except Exception as error:
        refusal = _in_words(error)
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


def _in_words(error: Exception) -> click.ClickException | None:
    """Turn an error that a person can fix into its message and exit status; None for a bug."""
    from kedro.framework.project import PACKAGE_NAME
    from kedro.io import DatasetError

    causes = list(_causes(error))
    for cause in causes:
        status = status_of(cause)
        if status is not None:
            return _refusal(str(cause), status)
        if _VALIDATION.intersection(kind.__name__ for kind in type(cause).__mro__):
            return _refusal(str(cause), getattr(cause, "exit_code", 2))
    inside = f"{PACKAGE_NAME}.pipelines."
    if isinstance(error, ImportError) and error.__cause__ is None and inside in str(error):
        # Kedro's words for a folder that does not exist; one that cannot be imported has a cause.
        name = str(error).split(inside)[1].split("'")[0]
        return _refusal(f"There is no pipeline {name}; see: kedro registry list", 2)
    if isinstance(error, ValueError) and "Failed to find the pipeline named" in str(error):
        name = str(error).split("'")[1]
        return _refusal(f"There is no pipeline {name}; see: kedro registry list", 2)
    if isinstance(error, DatasetError) and any(isinstance(cause, OSError) for cause in causes):
        return _refusal(str(error), 2)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


class _NotTried(click.ClickException):
    exit_code = 2


def _refusal(message: str, exit_code: int) -> click.ClickException:
    return click.ClickException(message) if exit_code == 1 else _NotTried(message)


def _run_command() -> click.Command:
    from kedro.framework.cli.project import run as kedro_run

    command = copy.copy(kedro_run)
    command.callback = _run
    return command


run = _run_command()  # a packaged project looks for it
cli.add_command(run)
