"""The command line: ``kedro mlops COMMAND``, also ``python -m kedro_azure_mlops COMMAND``.

Kedro imports every plugin at every command, so this module imports only click. The module of a
command is imported when the command runs or shows its help.
"""

import contextlib
import importlib
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import click
from click.core import ParameterSource

from kedro_azure_mlops.errors import OperationError, RefusedError

# Each command is a module of this package that defines a click command named `command`. The groups
# are those of the help, in order of use.
GROUPS = {
    "Start": {
        "init": "write mlops.yml, azureml.yml and .amlignore into a Kedro project",
        "doctor": "check this machine, the configuration and the access to Azure",
        "compile": "write the pipeline as an Azure ML job, in build/azureml",
        "local": "run the compiled job here, step by step",
    },
    "Run on Azure": {
        "provision": "create the Azure resources: workspace, storage, clusters",
        "submit": "submit the pipeline to Azure ML as a job",
        "cancel": "stop a job on Azure ML",
        "schedule": "run the pipeline on Azure ML on a schedule",
    },
    "Models": {
        "gate": "show what the gate decided about the last run",
        "register": "register the model of the last run",
        "champion": "show the model in service, or all versions",
        "promote": "promote the champion of one environment to the next",
        "rollback": "make the previous champion champion again",
        "reproduce": "print or run the commands that reproduce a model",
    },
    "Serve": {
        "serve": "serve the champion on this machine",
        "deploy": "deploy the champion to an online or batch endpoint",
        "invoke": "send a request to an endpoint",
        "ab": "split traffic between two deployments (A/B test)",
        "bundle": "pack the champion for an offline device",
    },
    "Monitor": {
        "monitor": "compare recent requests to the champion with its training data",
    },
    "Update": {
        "update": "merge a newer release of the template",
        "audit": "look up known vulnerabilities of the locked packages",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}


_SIGPIPE = 141  # the status that shells report


@contextlib.contextmanager
def exits_quietly_on_broken_pipe() -> Iterator[None]:
    """Exit silently when the reader of the output is gone, as in ``... | head -3``.

    The exit status is that of a program killed by SIGPIPE. SIGPIPE itself stays ignored: it would
    also kill a command whose connection to Azure breaks.
    """
    try:
        yield
        sys.stdout.flush()  # otherwise the interpreter does, and complains
    except BaseException as error:
        is_lost = isinstance(error, BrokenPipeError) and _drop_unread()
        # Rich drops the output itself and exits with 1.
        if is_lost or (
            isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
        ):
            raise click.exceptions.Exit(_SIGPIPE) from None
        with contextlib.suppress(ValueError):  # the stream is closed
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                _drop_unread()
        raise


def _drop_unread() -> bool:
    """Drop the output of streams that lost their reader; return whether there are any."""
    lost = [stream for stream in (sys.stdout, sys.stderr) if _has_lost_reader(stream)]
    for stream in lost:
        drop_output(stream)
    return bool(lost)


def drop_output(stream: Any = None) -> None:
    """Drop the output that a stream, by default stdout, has yet to print."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, (stream or sys.stdout).fileno())
    os.close(null)


def _has_lost_reader(stream: Any) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return stream is sys.stdout
    try:
        watch = select.poll()
        watch.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))
    except (AttributeError, OSError, ValueError):  # not a file
        return False


@contextlib.contextmanager
def _shown_usage_errors(name: str) -> Iterator[None]:
    """Show a usage error like any other error, with the help command as the next step."""
    try:
        yield
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2: its message is the help
            raise
        from kedro_azure_mlops.terminal import show_error

        context = getattr(error, "ctx", None)
        helps = f"{context.command_path} --help" if context else None
        show_error(name, OperationError(error.format_message(), next=helps))
        raise click.exceptions.Exit(error.exit_code) from error


class _BaseCommand(click.Command):
    """The base of all commands: exits if its output has no reader, and shows usage errors.

    Parameters
    ----------
    prefix
        The name at the beginning of errors and of the header, by default the command's own.
    """

    def __init__(self, *args: Any, prefix: str | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._prefix = prefix or self.name or ""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with exits_quietly_on_broken_pipe(), _shown_usage_errors(self._prefix):
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with exits_quietly_on_broken_pipe(), _shown_usage_errors(self._prefix):
            return super().invoke(ctx)


class Group(_BaseCommand, click.Group):
    """A group whose actions behave like our commands."""


class _Commands(Group):
    """A group that imports each command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"{__name__}.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text("Each command shows its options with --help.")
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:9}", text) for name, text in group.items()])


# They log every parameter and dataset that is read, which is noise outside of a run.
_CHATTY_LOGGERS = ("kedro.validation.parameter_validator", "kedro.io.data_catalog")


class Command(_BaseCommand):
    """A command whose function returns the exit status; known errors are shown as one block.

    Parameters
    ----------
    talks_to
        The part of the environment that the header names: "workspace" (on Azure) or "registry".
    is_shown
        Whether to show a spinner. A server prints its own lines.
    """

    def __init__(
        self,
        *args: Any,
        talks_to: Literal["workspace", "registry"] | None = None,
        is_shown: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self._talks_to, self._is_shown = talks_to, is_shown

    def invoke(self, ctx: click.Context) -> Any:
        """Run the function and exit with the status that it returns."""
        from kedro_azure_mlops.progress import shown_activity
        from kedro_azure_mlops.terminal import escape_unencodable

        quiet_kedro()
        for name in _CHATTY_LOGGERS:
            logging.getLogger(name).addFilter(_is_important)
        with exits_quietly_on_broken_pipe():
            escape_unencodable(sys.stdout)
            name = self._prefix
            self._show_header(name, ctx)
            with shown_activity(name) if self._is_shown else contextlib.nullcontext():
                status = self._status(name, ctx)
            ctx.exit(status or 0)

    def _show_header(self, name: str, ctx: click.Context) -> None:
        from pathlib import Path

        from kedro_azure_mlops.terminal import project_name, show_header, shows_header

        if shows_header():
            # a group sets ctx.obj to its env; Kedro sets an object that is not a string
            env = ctx.params.get("env") or ctx.obj
            env = env if isinstance(env, str) else None
            target = _target_of(self._talks_to, env) if self._talks_to and env else None
            show_header(name, env, project_name(Path.cwd()), target)

    def _status(self, name: str, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from kedro_azure_mlops.terminal import show_error

            shown = user_error(error, ctx.params.get("env") or ctx.obj)
            if shown is None:
                raise
            show_error(name, shown)
            return status_of(shown)


def _target_of(kind: str, env: str) -> str | None:
    """Return the workspace or registry of an environment, if the configuration names one."""
    from pathlib import Path

    from kedro_azure_mlops.config import read_azureml, read_mlops

    root = Path.cwd()
    try:
        if kind == "registry":
            config = read_mlops(root, env)
            if config.registry.kind == "mlflow":
                named = os.environ.get("MLFLOW_TRACKING_URI")
                return f"MLflow at {config.registry.uri or named or config.tracking.uri}"
            if config.registry.shared_registry:
                return f"registry {config.registry.shared_registry}"
        workspace = read_azureml(root, env).workspace.name
    except Exception:  # noqa: BLE001, the command itself reports the error
        return None
    return f"workspace {workspace}" if workspace else None


def quiet_kedro() -> None:
    """Suppress Kedro's messages about its logging configuration and about retries."""
    logging.getLogger("kedro.framework.project").addFilter(_is_not_about_logging)
    for runner in ("sequential", "thread", "parallel"):
        logging.getLogger(f"kedro.runner.{runner}_runner").addFilter(_is_not_retry_hint)


def _is_important(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _is_not_retry_hint(record: logging.LogRecord) -> bool:
    """Drop the hint to repeat the command: our own message names the change to make first."""
    return "No nodes ran." not in str(record.msg)


def _is_not_about_logging(record: logging.LogRecord) -> bool:
    return "logging conf" not in str(record.msg)


def user_error(error: Exception, env: Any = None) -> Exception | None:
    """Return the error that the user can fix, a full disk if that is the cause; None for a bug."""
    from kedro_azure_mlops.writing import out_of_space

    full = out_of_space(error, (), "the output of this command")
    if full or status_of(error) is not None:
        return full or error
    omegaconf = sys.modules.get("omegaconf.errors")
    if omegaconf and isinstance(error, omegaconf.InterpolationResolutionError):
        from kedro_azure_mlops.config import unresolved_in_words

        return OperationError(unresolved_in_words(error, env if isinstance(env, str) else None))
    return None


def status_of(error: BaseException) -> int | None:
    """Return the exit status of an error that the user can fix; None for a bug."""
    if isinstance(error, OperationError | RefusedError):
        return error.exit_code
    # Look them up instead of importing them: `update` works without Kedro.
    names = {"kedro.config": "MissingConfigException", "yaml": "YAMLError"}
    types = tuple(
        getattr(sys.modules[module], name)
        for module, name in names.items()
        if module in sys.modules
    )
    return 2 if isinstance(error, types) else None


@click.group(name="mlops", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def mlops() -> None:
    """Run, register, serve and monitor this project's pipeline and its models."""


@click.group(name="commands")
def commands() -> None:
    """Contain the group, as Kedro requires of a plugin."""


commands.add_command(mlops)


def env_option(default: str = "dev", *, or_base: bool = True) -> Callable[..., Any]:
    """Return the option ``--env``; in a project without the default, base is used, if allowed."""

    def choose(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
        return value or (_existing_or_base(default) if or_base else default)

    text = f"an environment of the configuration (default: {default})"
    return click.option("--env", metavar="ENV", help=text, callback=choose)


def _existing_or_base(env: str) -> str:
    from pathlib import Path

    quiet_kedro()  # options are parsed before the command is invoked
    from kedro_azure_mlops.config import environments

    try:
        known = environments(Path.cwd())
    except OperationError:  # no project here: the command itself reports it
        return env
    return env if env in known else "base"


def refuse_ignored_options(option: str, *used: str) -> None:
    """Refuse every option of the current command that another option would ignore.

    Parameters
    ----------
    option
        The option that was given, such as ``--prepare``.
    used
        The options that it uses.

    Raises
    ------
    UsageError
        If any other option was given.
    """
    context = click.get_current_context()
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    ]
    if ignored := [name for name in given if name not in {option, *used}]:
        raise click.UsageError(f"{option} cannot be combined with {' or '.join(ignored)}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; called by tests and ``python -m``."""
    try:
        # click returns the status of ctx.exit(); anything else, as after --help, means 0.
        status = mlops.main(arguments, prog_name="kedro mlops", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return 130
    return status if isinstance(status, int) else 0
