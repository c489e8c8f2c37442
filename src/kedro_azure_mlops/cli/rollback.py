"""Make the previous champion champion again."""

import click

from kedro_azure_mlops.ci import run_until_interrupted
from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.terminal import prefixed_printer

_say = prefixed_printer("rollback")


@click.command("rollback", cls=Command, talks_to="registry")
@env_option("local")
@click.option("--to", metavar="N", help="this earlier champion instead of the previous one")
@click.option("--if-champion", metavar="N", help="only if this version is still the champion")
@click.option(
    "--reason", metavar="TEXT", default="", help="why (required); recorded with the version"
)
def command(env: str, to: str | None, if_champion: str | None, reason: str) -> int:
    """Make the previous champion of an environment champion again; exit status 1 if refused.

    The files of the earlier champion are checked first.
    """
    from kedro_azure_mlops.registry import rollback

    def work() -> int:
        rollback(env, reason=reason, to=to, if_champion=if_champion, say=_say)
        return 0

    interrupted = f"rollback: interrupted; see: kedro mlops champion --env {env}"
    return run_until_interrupted(work, interrupted)
