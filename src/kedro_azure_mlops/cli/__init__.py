"""The command line: ``kedro mlops COMMAND``, also ``python -m kedro_azure_mlops COMMAND``.

Kedro imports every plugin at every command, so this module imports click alone; a command's own
module is imported when it is run or its help is asked for.
"""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from kedro_azure_mlops.errors import OperationError, RefusedError

# Each is a module of this package with a click command called `command`.
COMMANDS = {
    "init": "write mlops.yml, azureml.yml and .amlignore into a Kedro project",
    "compile": "the pipeline as an Azure ML job in build/azureml",
    "local": "run the compiled job here, step by step",
    "submit": "send the pipeline to Azure ML as a job",
    "cancel": "stop a job on Azure ML",
    "schedule": "run the pipeline on Azure ML at set times",
    "provision": "make what Azure ML needs: workspace, storage, clusters",
    "doctor": "check this machine, the configuration and the access to Azure",
    "reproduce": "print or run the commands that make a model again",
    "register": "register the model of the last run",
    "gate": "show what the gate decided about the last run",
    "champion": "show the model in service, or all versions",
    "promote": "take the champion of one environment to the next",
    "rollback": "make the champion before this one champion again",
    "deploy": "bring the champion to an online or batch endpoint",
    "invoke": "send a request to an endpoint",
    "ab": "share traffic between two deployments",
    "serve": "serve the champion on this machine",
    "bundle": "pack the champion for a device without network",
    "drift": "compare the newest data with those of the training",
    "update": "take a newer release of the template",
    "audit": "look up known vulnerabilities of what is locked",
}


_SIGPIPE = 141  # as shells have it


class _Commands(click.Group):
    """A group whose commands are imported one by one, when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"{__name__}.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


# They report each parameter and dataset that is read: right in a run, noise in our commands.
_TALKATIVE = ("kedro.validation.parameter_validator", "kedro.io.data_catalog")


class Command(click.Command):
    """A command whose function returns its exit status and whose known errors are one message."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the function and end with its exit status."""
        quiet_kedro()
        for name in _TALKATIVE:
            logging.getLogger(name).addFilter(_is_important)
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            status = _end_without_reader()
        except Exception as error:
            code = status_of(error)
            if code is None:
                raise
            click.echo(f"{self.name}: {error}", err=True)
            status = code
        ctx.exit(status or 0)


def quiet_kedro() -> None:
    """Keep Kedro's line about its own logging configuration out of every command's answer."""
    logging.getLogger("kedro.framework.project").addFilter(_says_nothing_of_logging)
    for runner in ("sequential", "thread", "parallel"):
        logging.getLogger(f"kedro.runner.{runner}_runner").addFilter(_is_not_about_no_nodes)


def _is_important(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _is_not_about_no_nodes(record: logging.LogRecord) -> bool:
    """Drop the hint to repeat the command: our own message says what to change first."""
    return "No nodes ran." not in str(record.msg)


def _says_nothing_of_logging(record: logging.LogRecord) -> bool:
    return "logging conf" not in str(record.msg)


def status_of(error: BaseException) -> int | None:
    """Return the exit status of an error that a person can fix; None for a bug."""
    if isinstance(error, OperationError | RefusedError):
        return error.exit_code
    # Looked up, not imported: `update` works where Kedro does not.
    names = {"kedro.config": "MissingConfigException", "yaml": "YAMLError"}
    kinds = tuple(getattr(sys.modules[at], kind) for at, kind in names.items() if at in sys.modules)
    return 2 if isinstance(error, kinds) else None


def _end_without_reader() -> int:
    """Drop what is still to be printed, as in ``... | head -3``; return the status of SIGPIPE."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    return _SIGPIPE


@click.group(name="mlops", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def mlops() -> None:
    """Run, register, serve and monitor this project's pipeline and its models."""


@click.group(name="commands")
def commands() -> None:
    """Hold the group, as Kedro asks of a plugin."""


commands.add_command(mlops)


def env_option(default: str = "dev") -> Callable[..., Any]:
    """Return the option ``--env`` with a command's own default, or base where there is no such."""

    def choose(ctx: click.Context, param: click.Parameter, given: str | None) -> str:
        return given or _existing(default)

    text = f"an environment of the configuration (default: {default})"
    return click.option("--env", metavar="ENV", help=text, callback=choose)


def _existing(env: str) -> str:
    from pathlib import Path

    quiet_kedro()  # options are read before the command is invoked
    from kedro_azure_mlops.config import environments

    try:
        known = environments(Path.cwd())
    except OperationError:  # no project here: the command itself says so
        return env
    return env if env in known else "base"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; what tests and ``python -m`` call."""
    try:
        # click returns the status of ctx.exit() here, and whatever a --help leaves is 0
        status = mlops.main(arguments, prog_name="kedro mlops", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return 130
    return status if isinstance(status, int) else 0
