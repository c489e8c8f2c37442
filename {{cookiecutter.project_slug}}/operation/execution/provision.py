"""Create what an environment needs in Azure ML: workspace, clusters, environment, datastores.

python operation/execution/provision.py --env dev --dry-run
"""

import click
import kedro_azure_mlops as mlops
from kedro_azure_mlops.cli import Command, env_option


@click.command("provision", cls=Command)
@env_option("dev")
@click.option("--dry-run", is_flag=True, help="print the plan and change nothing")
def main(env: str, dry_run: bool) -> int:
    """Print what is missing, then create it; exit status 1 if something cannot be changed."""
    items = mlops.provision(env, dry_run=dry_run, say=click.echo)
    return int(any(item.is_stuck for item in items))


if __name__ == "__main__":
    main()
