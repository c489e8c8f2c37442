"""``kedro mlops audit``: known vulnerabilities in the locked packages."""

import sys
from pathlib import Path

import click

from kedro_azure_mlops.cli import Command
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.terminal import fit, prefixed_printer, width_of


@click.command("audit", cls=Command)
@click.option("--timeout", default=30, show_default=True, help="seconds to wait for an answer")
@click.option("--sbom", type=Path, metavar="FILE", help="write the bill of materials first")
def command(timeout: int, sbom: Path | None) -> int:
    """Look up every package of every lock in requirements/.

    Exit status: 0 no vulnerability was found, apart from ignored ones; 1 some were found and are
    listed; 2 not all packages could be looked up, so the result is unknown. The bill of materials
    (CycloneDX) lists the packages in requirements/run.txt and needs no network.

    To ignore a vulnerability that does not matter here, add it to requirements/audit-ignore.toml;
    it is reported again from the day after `until`:

    \b
        [[ignore]]
        id = "PYSEC-0000-000"  # or an alias of it, such as its CVE
        package = "name"
        reason = "the vulnerable function is never called: ..."
        until = 2030-01-31
    """  # noqa: D301, click looks for the character, not for its escape
    from kedro_azure_mlops.audit import IGNORED, audit_locks, format_findings, write_sbom

    say, root = prefixed_printer("audit"), Path.cwd()
    if sbom:
        say(f"wrote {write_sbom(root, sbom)} packages to {sbom}")
    findings = audit_locks(root, timeout, say)
    if not findings:
        say("looked up all packages of all locks: no vulnerability, apart from ignored ones")
        return 0
    click.echo(fit(format_findings(findings), width_of(sys.stderr)), err=True)
    raise RefusedError(
        f"{len(findings)} known vulnerabilities.\n"
        f"List those that do not matter here in {IGNORED.as_posix()}",
        next='upgrade to the release that fixes one: make lock ARGS="--upgrade-package NAME"',
    )
