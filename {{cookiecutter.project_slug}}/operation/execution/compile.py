"""Compile the pipeline to an Azure ML job in build/azureml, or --check that it compiles.

--check writes nothing; where there is such a file, it has to be what the project compiles to.
"""

import argparse
import difflib
import sys

from operation.azureml.compilation.job import as_yaml, compile_job, write_job
from operation.azureml.compilation.steps import job_file
from operation.azureml.project import read_project, split_parameters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--params", default="", metavar="NAME=VALUE,...", help="parameters as inputs of the job"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the file, if there is one; write nothing"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Write the job, or compare it with the one that is there (exit status 1 if it differs)."""
    parameters = split_parameters(arguments.params)
    if arguments.check:
        return _check(arguments.env, parameters)
    file = write_job(arguments.env, parameters)
    print(f"compile: wrote {file.relative_to(file.parents[2])}")
    return 0


def _check(env: str, parameters: dict[str, str]) -> int:
    project = read_project(env, parameters)
    file = job_file(project.root, env)
    name = file.relative_to(project.root).as_posix()
    wanted = as_yaml(compile_job(project, parameters))
    if not file.is_file():
        print(f"compile: {env} compiles; there is no {name} to compare with")
        return 0
    there = file.read_text(encoding="utf-8")
    if there == wanted:
        print(f"compile: {name} is current")
        return 0
    changes = difflib.unified_diff(
        there.splitlines(), wanted.splitlines(), name, "compiled now", n=1
    )
    print("\n".join(changes))
    print(
        f"compile: {name} is not what the project compiles to, type: make compile ENV={env}",
        file=sys.stderr,
    )
    return 1
