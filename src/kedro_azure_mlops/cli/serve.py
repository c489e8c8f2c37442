"""``kedro mlops serve``: serve the champion on this machine."""

from pathlib import Path

import click

from kedro_azure_mlops.cli import Command, env_option, refuse_ignored_options
from kedro_azure_mlops.serve.process import (
    LAST_PORT,
    PORT,
    PYTHON,
    WORK,
    Prepared,
    prepare,
    serve_model,
    write_image_context,
)
from kedro_azure_mlops.terminal import show


@click.command("serve", cls=Command, talks_to="registry", is_shown=False)
@env_option("local")
@click.option(
    "--port",
    type=click.IntRange(1, LAST_PORT),
    default=PORT,
    help=f"port on loopback (default: {PORT})",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="serve this model folder (such as the last run's) instead of the champion",
)
@click.option("--plain", is_flag=True, help="serve as the container does, without Azure's server")
@click.option("--record", is_flag=True, help="record answers, as recording.enabled does")
@click.option("--prepare", "prepares", is_flag=True, help="write build/serve for docker, and exit")
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"the Python of an environment with requirements/serve.txt (default: {PYTHON}, or this "
    "one if the stored model itself is served)",
)
def command(
    env: str,
    port: int,
    model: Path | None,
    plain: bool,
    record: bool,
    prepares: bool,
    python: Path | None,
) -> int:
    """Serve the champion on this machine with the server that Azure ML runs; Ctrl-C stops it."""
    if not prepares:
        return serve_model(
            env,
            model=model,
            port=port,
            plain=plain,
            record=record,
            python=python,
            say=show,
        )
    refuse_ignored_options("--prepare", "--env", "--model", "--record")
    prepared = prepare(env, model, record=record)
    write_image_context(prepared, Path.cwd())
    _print_docker(prepared)
    return 0


def _print_docker(prepared: Prepared) -> None:
    model, name = prepared.model, prepared.folder.parents[1].name.lower()
    show(
        f"serve: {WORK.as_posix()} holds {model.label} and the code; to build an image from "
        "it, run:\n\n"
        f"  docker build --tag {name}:{model.version} \\\n"
        f"    --build-arg MODEL_DIGEST={model.digest} \\\n"
        f"    --build-arg MODEL_VERSION={model.version} \\\n"
        f"    --build-arg IMAGE_DIGEST=sha256:... {WORK.as_posix()}\n\n"
        "IMAGE_DIGEST is the digest of the base image, which its registry shows:\n"
        "docker buildx imagetools inspect IMAGE (see ARG IMAGE in the Dockerfile)."
    )
