"""Print what the gate decided about the last run; exit status 1 if it refused."""

import sys
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project


def execute(env: str) -> int:
    """Answer with the decision that the last run has stored."""
    bootstrap_project(Path.cwd())
    with KedroSession.create(env=env) as session:
        catalog = session.load_context().catalog
        if not catalog.exists("gate"):
            print("gate: no run has reached the gate yet, type: make run", file=sys.stderr)
            return 2
        decision = catalog.load("gate")
    print(f"Gate: {'PASSED' if decision['passed'] else 'REFUSED'}")
    for rule in decision["rules"]:
        print(f"  {'ok' if rule['passed'] else 'NO'}  {rule['reason']}")
    return 0 if decision["passed"] else 1
