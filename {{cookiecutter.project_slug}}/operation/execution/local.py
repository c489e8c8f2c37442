"""Run the compiled job here, each step in a copy of what would be uploaded; 1 if a step fails."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

from operation.azureml.cloud.repetition import Repetition, repetition_of
from operation.azureml.compilation.job import write_job
from operation.azureml.local.run import run_job
from operation.azureml.local.tracking import tracking_of
from operation.azureml.project import split_parameters
from operation.errors import OperationError
from operation.interruption import until_interrupted

WORK = "build/local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--step", metavar="NAME", help="run this step alone, with what earlier steps have made"
    )
    parser.add_argument(
        "--from-outputs",
        type=Path,
        metavar="DIR",
        help="with --step: take that from DIR/<step>/<output>, as submit --download writes it",
    )
    parser.add_argument("--force", action="store_true", help="reuse nothing")
    parser.add_argument(
        "--params", default="", metavar="NAME=VALUE,...", help="other values of the job's inputs"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="other data for an input of the job; may be given several times",
    )
    parser.add_argument(
        "--file", type=Path, help="run this job file instead of compiling the project"
    )
    parser.add_argument(
        "--job",
        metavar="NAME",
        help="repeat the failed step of this job on Azure ML, or --step, with what it was given",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the job, or one step of it."""
    if arguments.from_outputs and not arguments.step:
        raise OperationError("--from-outputs DIR goes with --step NAME.")
    root, inputs = Path.cwd(), dict(map(_pair, arguments.input))
    what = _what(arguments, split_parameters(arguments.params), root)

    def work() -> int:
        verdict = run_job(
            what.file,
            what.work,
            only=what.step,
            from_outputs=what.outputs,
            force=arguments.force,
            parameters=what.parameters,
            inputs={**what.inputs, **inputs},
            say=_say,
            tracking=tracking_of(root, arguments.env),
            verb=_repeated(arguments),
        )
        return 0 if verdict.succeeded else 1

    said = "local: interrupted; what was running is ended and will run anew"
    return until_interrupted(work, said)


def _what(arguments: argparse.Namespace, given: dict[str, str], root: Path) -> Repetition:
    """Find the job to run; one that is compiled now takes any parameter, others their inputs."""
    if arguments.job:
        if arguments.file or arguments.from_outputs:
            raise OperationError("--job NAME goes with neither --file nor --from-outputs.")
        what = repetition_of(arguments.env, arguments.job, arguments.step, root, _say)
        return replace(what, parameters={**what.parameters, **given})
    name = arguments.file.stem if arguments.file else arguments.env
    return Repetition(
        file=arguments.file or write_job(arguments.env, given, for_once=True),
        work=root / WORK / name,
        step=arguments.step,
        outputs=arguments.from_outputs,
        parameters=given if arguments.file else {},
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise OperationError(f"--input {text}: write NAME=PATH.")
    return name, path


def _repeated(arguments: argparse.Namespace) -> str:
    """Write the command that was typed, but for --step and --force."""
    words = ["python", "-m", "operation.execution", "local", "--env", arguments.env]
    words += ["--from-outputs", str(arguments.from_outputs)] if arguments.from_outputs else []
    words += ["--params", arguments.params] if arguments.params else []
    for pair in arguments.input:
        words += ["--input", pair]
    words += ["--file", str(arguments.file)] if arguments.file else []
    words += ["--job", arguments.job] if arguments.job else []
    return shlex.join(words)


def _say(line: str) -> None:
    print(line, flush=True)
