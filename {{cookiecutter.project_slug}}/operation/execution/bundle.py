"""Write the champion as one archive for a device without network: model, code, runner, wheels."""

import argparse
import hashlib
import platform
import re
from pathlib import Path

from operation.errors import OperationError
from operation.serving.bundle import write_bundle
from operation.serving.model import fetch_model
from operation.serving.wheels import PLATFORMS, Wheels, this_machine

DEFAULT_ENV = "local"
_PYTHON = ".".join(platform.python_version_tuple()[:2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="bundle this model folder, as data/processed/model of the last run, not the champion",
    )
    parser.add_argument(
        "--wheels-for",
        choices=PLATFORMS,
        default=this_machine(),
        help=f"the device (default: {this_machine()}, this machine)",
    )
    parser.add_argument(
        "--python",
        default=_PYTHON,
        metavar="VERSION",
        help=f"of the device (default: {_PYTHON}, as here)",
    )
    parser.add_argument(
        "--no-wheels", action="store_true", help="leave the wheels out: nothing is downloaded"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Fetch the model, fill the archive, and say what it is."""
    root = Path.cwd()
    wheels = None if arguments.no_wheels else _wheels(arguments)
    model = fetch_model(arguments.env, arguments.model, root, root / "build" / "bundle" / "model")
    print(f"bundle: packing {model.label}", flush=True)
    if wheels:
        print(
            f"bundle: downloading wheels for {wheels.platform}, Python {wheels.python}", flush=True
        )
    archive = write_bundle(model, wheels, root)
    content = archive.read_bytes()
    print(f"bundle: wrote {archive.relative_to(root)}, {len(content) / 1e6:.1f} MB")
    print(f"  sha256 {hashlib.sha256(content).hexdigest()}")
    print("On the device, unpack it and type: sh install.sh")
    return 0


def _wheels(arguments: argparse.Namespace) -> Wheels:
    if arguments.wheels_for is None:
        raise OperationError(
            f"Name the device with --wheels-for {' or '.join(PLATFORMS)}, or give --no-wheels."
        )
    if not re.fullmatch(r"3\.\d{1,2}", arguments.python):
        raise OperationError(f"--python {arguments.python}: write it as 3.11.")
    return Wheels(arguments.wheels_for, arguments.python)
