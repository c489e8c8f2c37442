"""Print what the gate decided about the last run; exit status 1 if it refused."""

import argparse
import sys
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

DEFAULT_ENV = "local"


def execute(arguments: argparse.Namespace) -> int:
    """Answer with the decision of the last run that reached the gate."""
    env = arguments.env
    bootstrap_project(Path.cwd())
    with KedroSession.create(env=env) as session:
        context = session.load_context()
        catalog, model = context.catalog, context.params["model_name"]
        if not catalog.exists("gate"):
            print("gate: no run has reached the gate yet, type: make run", file=sys.stderr)
            return 2
        decision = catalog.load("gate")
    if decision["model"] != model:
        print(
            f"gate: the last run was of {decision['model']}, not of {model}: give its --env, or "
            f"run: kedro run --env {env}",
            file=sys.stderr,
        )
        return 2
    print(f"Gate: {'PASSED' if decision['passed'] else 'REFUSED'}")
    for rule in decision["rules"]:
        print(f"  {'ok' if rule['passed'] else 'NO'}  {rule['reason']}")
    return 0 if decision["passed"] else 1
