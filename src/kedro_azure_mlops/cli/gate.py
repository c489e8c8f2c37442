"""Show what the gate decided about the last run."""

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.terminal import show


@click.command("gate", cls=Command, talks_to="registry")
@env_option("local")
def command(env: str) -> int:
    """Show what the gate decided about the last run; exit status 1 if it refused."""
    from kedro_azure_mlops.registry import gate_verdict
    from kedro_azure_mlops.registry.facts import format_rule

    decision = gate_verdict(env)
    show(f"Gate: {'PASSED' if decision['passed'] else 'REFUSED'}")
    for rule in decision["rules"]:
        show(f"  {format_rule(rule)}")
    return 0 if decision["passed"] else 1
