"""Serve the champion on this machine, by the server that Azure ML runs; Ctrl-C ends it."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from operation.errors import OperationError
from operation.serving.code import copy_served_code
from operation.serving.example import example_request
from operation.serving.model import ServedModel, fetch_model
from operation.serving.process import HOST, refuse_used, serving

DEFAULT_ENV = "local"
WORK = Path("build/serve")
_PYTHON = Path(".venv-serve/bin/python")
_DOCKERFILE = "operation/serving/Dockerfile"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--port", type=int, default=5001, help="on loopback (default: 5001)")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="serve this model folder, as data/processed/model of the last run, not the champion",
    )
    parser.add_argument(
        "--plain", action="store_true", help="serve as the container does, without Azure's server"
    )
    parser.add_argument(
        "--prepare", action="store_true", help="write build/serve for `docker build`, and end"
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=_PYTHON,
        metavar="FILE",
        help=f"of an environment with requirements/serve.txt (default: {_PYTHON})",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Put model and code into ``build/serve`` and serve them."""
    root = Path.cwd()
    if not arguments.prepare:
        refuse_used(arguments.port)
        _refuse_no_environment(root / arguments.python)
    model = fetch_model(arguments.env, arguments.model, root, root / WORK / "model")
    copy_served_code(root / WORK / "code")
    if arguments.prepare:
        _tell_docker(model)
        return 0
    example = root / WORK / "request.json"
    example.write_text(example_request(model.folder) + "\n", encoding="utf-8", newline="\n")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _serve(arguments, root, model)
    except KeyboardInterrupt:
        print("serve: ended")
        return 0


def _serve(arguments: argparse.Namespace, root: Path, model: ServedModel) -> int:
    address = f"http://{HOST}:{arguments.port}"
    print(f"serve: starting with {model.label}", flush=True)
    code, python = root / WORK / "code", root / arguments.python
    with serving(python, code, model, arguments.port, plain=arguments.plain) as process:
        print(f"serve: ready at {address}, Ctrl-C ends it; {address}/metrics is for Prometheus")
        print("serve: the last reading of this request is far off:\n")
        print(
            f'  curl --silent --header "Content-Type: application/json" \\\n'
            f"    --data @{(WORK / 'request.json').as_posix()} {address}/score\n",
            flush=True,
        )
        process.wait()
    print(f"serve: the server ended with exit status {process.returncode}", file=sys.stderr)
    return 2


def _refuse_no_environment(python: Path) -> None:
    if os.name == "nt":
        raise OperationError("The server runs on Linux and macOS: use WSL on Windows.")
    if not python.is_file():
        raise OperationError(
            f"There is no {python}: `make serve` installs what serving needs into .venv-serve."
        )


def _tell_docker(model: ServedModel) -> None:
    print(f"serve: build/serve holds {model.label}, and the code; to make an image of it, type:\n")
    print(
        f"  docker build --file {_DOCKERFILE} --tag {{ cookiecutter.project_slug }}:{model.version} \\\n"
        f"    --build-arg MODEL_DIGEST={model.digest} \\\n"
        f"    --build-arg MODEL_VERSION={model.version} \\\n"
        "    --build-arg IMAGE_DIGEST=sha256:... .\n\n"
        "IMAGE_DIGEST is that of the base image: docs/model/serve.md says how to see it."
    )


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
