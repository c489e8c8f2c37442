"""``kedro mlops bundle``: the champion as one archive for an offline device."""

import hashlib
import platform
import re
from pathlib import Path
from textwrap import indent

import click

from kedro_azure_mlops.cli import Command, env_option, refuse_ignored_options
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve.wheels import PLATFORMS, Wheels, this_machine
from kedro_azure_mlops.terminal import prefixed_printer, show

_say = prefixed_printer("bundle")
_PYTHON = ".".join(platform.python_version_tuple()[:2])


@click.command("bundle", cls=Command, talks_to="registry")
@env_option("local")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="bundle this model folder (such as the last run's) instead of the champion",
)
@click.option(
    "--wheels-for",
    type=click.Choice(PLATFORMS),
    default=this_machine(),
    help=f"the device (default: {this_machine()}, this machine)",
)
@click.option(
    "--python",
    default=_PYTHON,
    metavar="VERSION",
    help=f"the device's Python (default: {_PYTHON}, as on this machine)",
)
@click.option("--no-wheels", is_flag=True, help="leave out the wheels and download nothing")
def command(
    env: str, model: Path | None, wheels_for: str | None, python: str, no_wheels: bool
) -> int:
    """Write the champion as one archive for a device: model, code, runner and wheels."""
    from kedro_azure_mlops.serve.bundle import WITH_WHEELS, WITHOUT_WHEELS, write_bundle

    if no_wheels:
        refuse_ignored_options("--no-wheels", "--env", "--model")
    wheels = None if no_wheels else _wheels(wheels_for, python)
    root = Path.cwd()
    archive = write_bundle(env, model, wheels, root, say=_say)
    content = archive.read_bytes()
    _say(f"wrote {archive.relative_to(root).as_posix()}, {len(content) / 1e6:.1f} MB")
    show(f"  sha256 {hashlib.sha256(content).hexdigest()}")
    if wheels:
        show(f"On the device, unpack it and run: {WITH_WHEELS}")
    else:
        show("On the device, unpack it and install the packages that it lacks first:\n")
        show(indent(WITHOUT_WHEELS, "  ") + "\n")
    return 0


def _wheels(wheels_for: str | None, python: str) -> Wheels:
    if wheels_for is None:
        raise OperationError(
            f"Name the device with --wheels-for {' or '.join(PLATFORMS)}, or add --no-wheels."
        )
    if not re.fullmatch(r"3\.\d{1,2}", python):
        raise OperationError(f"--python {python} is not a version such as 3.11.")
    return Wheels(wheels_for, python)
