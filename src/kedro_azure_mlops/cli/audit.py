"""``kedro mlops audit``: known vulnerabilities of what is locked."""

import sys
from pathlib import Path

import click

from kedro_azure_mlops.cli import Command
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.terminal import fit, narrator, width_of


@click.command("audit", cls=Command)
@click.option("--timeout", default=30, show_default=True, help="seconds that an answer may take")
@click.option("--sbom", type=Path, metavar="FILE", help="write the bill of materials first")
def command(timeout: int, sbom: Path | None) -> int:
    r"""Look up every package of every lock in requirements/.

    Exit status: 0 all were looked up and no vulnerability counts; 1 some do, they are listed; 2 not
    all could be looked up, so nothing is known. The bill of materials (CycloneDX) lists what
    requirements/run.txt pins and needs no network.

    What does not matter here is written into requirements/audit-ignore.toml, and counts again from
    the day after `until` on:

    \b
        [[ignore]]
        id = "PYSEC-0000-000"  # or another name of it, such as its CVE
        package = "name"
        reason = "what is weak is never called: ..."
        until = 2030-01-31
    """
    from kedro_azure_mlops.audit import IGNORED, audit_locks, format_findings, write_sbom

    say, root = narrator("audit"), Path.cwd()
    if sbom:
        say(f"{write_sbom(root, sbom)} packages are in {sbom}")
    findings = audit_locks(root, timeout, say)
    if not findings:
        say("all packages of all locks were looked up: no vulnerability counts")
        return 0
    click.echo(fit(format_findings(findings), width_of(sys.stderr)), err=True)
    raise RefusedError(
        f"{len(findings)} known vulnerabilities.\n"
        f"One that does not matter here: {IGNORED.as_posix()}",
        next='upgrade to the release that fixes one: make lock ARGS="--upgrade-package NAME"',
    )
