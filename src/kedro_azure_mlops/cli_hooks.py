"""Readable errors for Kedro's own commands; imported by every Kedro command."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.hooks import cli_hook_impl

__all__ = ["hooks"]

_JUPYTER = {"lab": "jupyterlab", "notebook": "notebook", "setup": "ipykernel"}
# In a rendered project: the lock with the package, the make target, the program, its command.
_NOTEBOOK = ("requirements/notebook.txt", "make notebook", "JupyterLab", "kedro jupyter lab")
_VIZ = ("requirements/dev.txt", "make viz", "kedro-viz", "kedro viz run")


class CommandHooks:
    """Hooks that run before each Kedro command."""

    @cli_hook_impl
    def before_command_run(self, project_metadata: Any, command_args: Sequence[str]) -> None:
        """Make errors visible, and refuse a command whose package is missing."""
        _show_errors()
        why = _missing_package(command_args, getattr(project_metadata, "project_path", None))
        if why:
            click.echo(why, err=True)
            sys.exit(2)


def _show_errors() -> None:
    """Make Kedro's errors show their message.

    Kedro 1.7 shows the exception being handled. Since 8.5, click shows an error only after it was
    handled, so users would just see "NoneType: None".
    """
    from kedro.framework.cli.utils import KedroCliError

    kedro_show = KedroCliError.show
    if hasattr(kedro_show, "__wrapped__"):
        return

    def show(self: KedroCliError, file: Any = None) -> None:
        try:
            raise self
        except KedroCliError:
            kedro_show(self, file)

    show.__wrapped__ = kedro_show  # type: ignore[attr-defined]
    KedroCliError.show = show  # type: ignore[method-assign]


def _missing_package(arguments: Sequence[str], root: Path | None) -> str | None:
    """Return why ``kedro jupyter`` or ``kedro viz`` cannot run, if a package is missing."""
    group, name, *_ = [*arguments, "", ""]
    if group == "viz":
        command, package, module, remedy = "viz", "kedro-viz", "kedro_viz", _VIZ
    elif group == "jupyter" and name in _JUPYTER:
        command, package, remedy = f"jupyter {name}", _JUPYTER[name], _NOTEBOOK
        module = package
    else:
        return None
    if find_spec(module):
        return None
    install = f"Install it: pip install {package}"
    lock, target, opened, without = remedy
    if root and (root / lock).is_file():
        install = (
            f"`{target}` installs {opened} and opens it. Without make:\n"
            f"uv pip install --require-hashes -r {lock} && {without}"
        )
    return f"kedro {command} needs the package {package}, which is not installed.\n{install}"


hooks = CommandHooks()
