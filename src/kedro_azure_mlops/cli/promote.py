"""Promote the champion of one environment to the next."""

import click

from kedro_azure_mlops.ci import run_until_interrupted
from kedro_azure_mlops.cli import Command, env_option, refuse_ignored_options
from kedro_azure_mlops.terminal import prefixed_printer, show_next

_say = prefixed_printer("promote")


@click.command("promote", cls=Command, talks_to="registry")
@env_option("stage", or_base=False)
@click.option("--version", metavar="N", help="this version instead of the champion")
@click.option("--digest", metavar="D", help="the version with this digest, or a prefix of it")
@click.option("--approved-by", metavar="NAME", help="who approves it; requires --reason")
@click.option("--reason", metavar="TEXT", help="why; required with --approved-by")
@click.option(
    "--clear-lock", is_flag=True, help="only remove the lock of a promotion whose process has died"
)
def command(
    env: str,
    version: str | None,
    digest: str | None,
    approved_by: str | None,
    reason: str | None,
    clear_lock: bool,
) -> int:
    """Promote the champion of the previous environment, with the same digest.

    dev is promoted to stage, stage to prod (registry.promoted_from in mlops.yml). prod needs an
    approval. In CI it reports version, digest, whether the champion changed, and the previous one.
    Exit status 1: the promotion was refused.
    """
    from kedro_azure_mlops.registry import open_registry, promote

    if version and digest:
        raise click.UsageError("--version and --digest cannot be combined.")
    if clear_lock:
        refuse_ignored_options("--clear-lock", "--env")

    def work() -> int:
        if clear_lock:
            target = open_registry(env)
            holder = target.clear_lock()
            _say(f"cleared the lock of {holder}" if holder else f"{target.name} is not locked")
            return 0
        wanted = version or digest
        promote(env, version=wanted, approved_by=approved_by, reason=reason, say=_say)
        show_next(f"kedro mlops deploy online --env {env}")
        return 0

    interrupted = f"promote: interrupted; see: kedro mlops champion --env {env}"
    return run_until_interrupted(work, interrupted)
