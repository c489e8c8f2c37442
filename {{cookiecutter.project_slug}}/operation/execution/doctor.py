"""Say what is wrong with this machine, the configuration and the access to Azure, and what to do.

Checks all environments, or the one that --env names. Exit status 1: there is a fault.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from operation.azureml.config import refuse_no_project
from operation.azureml.health.cloud import cloud, sign_in
from operation.azureml.health.here import Check, compiles, environments, machine

DEFAULT_ENV = "all"


def execute(arguments: argparse.Namespace) -> int:
    """Print a line for each check as it is made."""
    root = Path.cwd()
    refuse_no_project(root)
    names = environments(root) if arguments.env == DEFAULT_ENV else [arguments.env]
    faults = _tell("this machine", machine(root))
    configured = {env: compiles(root, env) for env in names}
    for env, check in configured.items():
        faults += _tell(env, [check])
    signed_in = sign_in()
    faults += _tell("Azure", [signed_in])
    if signed_in.is_ok:
        for env in (env for env, check in configured.items() if check.is_ok):
            faults += _tell(f"Azure, {env}", cloud(root, env))
    print(f"doctor: {faults or 'no'} fault{'' if faults == 1 else 's'}")
    return 1 if faults else 0


def _tell(title: str, checks: Iterable[Check]) -> int:
    print(title)
    faults = 0
    for check in checks:
        print(f"  {'ok   ' if check.is_ok else 'FAULT'}  {check.text}", flush=True)
        faults += not check.is_ok
    return faults
