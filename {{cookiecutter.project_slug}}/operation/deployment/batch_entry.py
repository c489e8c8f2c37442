"""What a job of the batch endpoint runs: scores the files of a folder by the model beside the code.

``python -m operation.deployment.batch_entry --env ENV --model DIR --digest D --version N
--readings FOLDER --scores FOLDER`` writes a file of scores for each file of readings.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project

from {{ cookiecutter.package_name }}.errors import ProjectError
from {{ cookiecutter.package_name }}.schemas import BadDataError

from operation.errors import OperationError

_CONFIGURATION = "operation/configuration"
_FOLDER = "scores"  # in what the job makes: it is whole or not there


def main(arguments: Sequence[str] | None = None) -> int:
    """Score; 1 if a file holds what cannot be scored, 2 if scoring could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m operation.deployment.batch_entry")
    parser.add_argument("--env", required=True, help="whose parameters say what can be scored")
    for name in ("--model", "--readings", "--scores"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--digest", required=True, help="of the model: another one is refused")
    parser.add_argument("--version", required=True, help="what the scores call the model")
    try:
        _score(parser.parse_args(arguments))
    except BadDataError as error:
        print(f"{error}\nNothing was scored.", file=sys.stderr)  # noqa: T201, the log of the job
        return 1
    except (OperationError, ProjectError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _score(given: argparse.Namespace) -> None:
    from {{ cookiecutter.package_name }}.batches import NewReadings, NewScores
    from {{ cookiecutter.package_name }}.models import Champion, digest, load_detector
    from {{ cookiecutter.package_name }}.pipelines.score.nodes import score_new_readings

    found = digest(given.model)
    if found != given.digest:
        raise OperationError(
            f"The model beside the code has the digest {found}, not {given.digest}: deploy it "
            "again."
        )
    parameters = _parameters(given.env)
    readings = NewReadings(
        filepath=str(given.readings),
        rows=parameters["score"]["rows_per_piece"],
        **parameters["validation"],
    )
    model = Champion(load_detector(given.model), given.version)
    scores = score_new_readings(readings.load(), model)
    given.scores.mkdir(parents=True, exist_ok=True)
    NewScores(filepath=str(given.scores / _FOLDER)).save(scores)


def _parameters(env: str) -> dict[str, dict]:
    bootstrap_project(Path.cwd())
    loader = OmegaConfigLoader(_CONFIGURATION, env=env, **settings.CONFIG_LOADER_ARGS)
    return loader["parameters"]


if __name__ == "__main__":
    sys.exit(main())
