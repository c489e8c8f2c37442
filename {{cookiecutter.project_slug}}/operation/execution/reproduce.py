"""Print the commands that make the model of a run again; --go runs them and compares the scores."""

import argparse
import os
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from {{ cookiecutter.package_name }}.binding import place_of, port_of
from {{ cookiecutter.package_name }}.tracking.config import TrackingConfig, choose_server

from operation.azureml.reproduction.data import find_data, unchecked
from operation.azureml.reproduction.job import find_job
from operation.azureml.reproduction.plan import Reproduction, Scores, refuse_unknown_code, reproduce
from operation.azureml.reproduction.run import RecordedRun, find_run
from operation.azureml.utils import workspace
from operation.errors import OperationError

DEFAULT_ENV = "local"
_SQLITE = "sqlite:///"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", metavar="ID", help="a run on the tracking server, or a local job")
    which.add_argument("--job", metavar="NAME", help="a job on Azure ML, of the workspace of --env")
    parser.add_argument("--go", action="store_true", help="run the commands too")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="a file that the run has read, if it is not where it was; may be repeated",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="try it though its changes were not committed"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Answer with the commands, and after --go with 0 if the scores are the same, else 1."""
    root = Path.cwd()
    config, catalog = _configuration(arguments.env)
    server = None if os.environ.get("MLFLOW_TRACKING_URI") else config.tracking_uri
    choose_server(config, root)  # after which MLflow names it in the environment, too
    run = _run(arguments, config.scores)
    refuse_unknown_code(run, root, arguments.anyway)
    found = find_data(run.data, arguments.data, catalog, root)
    scores = Scores(config.scores, PurePosixPath(catalog[port_of(config.scores)]).name)
    plan = reproduce(run, found, server, scores, root)
    for warning in (*plan.warnings, *unchecked(run.data, found)):
        print(f"reproduce: {warning}", file=sys.stderr)
    return _go(plan, run, root) if arguments.go else _show(plan, run)


def _run(arguments: argparse.Namespace, scores: str) -> RecordedRun:
    if not arguments.job:
        return find_run(_client(), arguments.run)
    if arguments.env == DEFAULT_ENV:
        raise OperationError("--job NAME needs the environment of its workspace: --env dev.")
    return find_job(workspace(arguments.env), arguments.job, arguments.env, port_of(scores))


def _configuration(env: str) -> tuple[TrackingConfig, dict[str, str]]:
    """Read the tracking server of an environment, and where its catalog reads each port."""
    bootstrap_project(Path.cwd())
    with KedroSession.create(env=env) as session:
        loader: Any = session.load_context().config_loader
        places = {name: place_of(entry) for name, entry in loader["catalog"].items()}
        config = TrackingConfig(**loader["mlflow"])
    return config, {port_of(name): place for name, place in places.items() if place}


def _client() -> Any:
    import mlflow

    uri = mlflow.get_tracking_uri()
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).is_file():
        raise OperationError(f"No run is tracked at {uri}; MLFLOW_TRACKING_URI names a server.")
    return mlflow.MlflowClient()


def _show(plan: Reproduction, run: RecordedRun) -> int:
    print(*plan.commands, sep="\n")
    print(f"# The scores of run {run.id} have the SHA-256 {run.scores}")
    return 0


def _go(plan: Reproduction, run: RecordedRun, root: Path) -> int:
    for command in plan.commands:
        print(f"$ {command}", flush=True)
        command.run(root)
    made = plan.scores()
    if made == run.scores:
        print(f"reproduce: the same scores as run {run.id}: {made}")
        return 0
    print(f"reproduce: other scores than run {run.id}:\n  then {run.scores}\n  now  {made}")
    return 1
