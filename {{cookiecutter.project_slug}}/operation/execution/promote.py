"""Promote the champion of the environment before to this one: the same digest; exit 1 if refused.

dev is promoted to stage, stage to prod (promoted_from in registry.yml). prod needs an approval. In
CI it tells later steps version and digest, whether the champion moved, and which it was before.
"""

import argparse
from functools import partial
from pathlib import Path

from operation.ci import tell
from operation.errors import OperationError, RefusedError
from operation.interruption import until_interrupted
from operation.registry import open_registry
from operation.registry.config import RegistrySettings, read_registry_settings
from operation.registry.interface import Registry, Version
from operation.registry.promotion import Approval, Gateway, promote

DEFAULT_ENV = "stage"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="N", help="this version instead of the champion")
    which.add_argument("--digest", metavar="D", help="the version with this digest, or its start")
    parser.add_argument("--approved-by", metavar="NAME", help="who lets it in")
    parser.add_argument("--reason", metavar="TEXT", help="why")
    parser.add_argument(
        "--clear-lock", action="store_true", help="only take away what a dead promotion has left"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Fetch the version, check it, register it here and let it be champion."""
    return until_interrupted(
        partial(_execute, arguments), "promote: interrupted; see: make champion"
    )


def _execute(arguments: argparse.Namespace) -> int:
    root = Path.cwd()
    settings = read_registry_settings(root, arguments.env)
    target = open_registry(arguments.env, root)
    if arguments.clear_lock:
        holder = target.clear_lock()
        _say(f"cleared the lock of {holder}" if holder else f"{target.name} is not locked")
        return 0
    source = _source(settings, root)
    version = _wanted(source, arguments, root)
    gateway = Gateway(target, settings.gate, settings.config.approval)
    promote(source, version, gateway, _approval(arguments), _say, tell)
    return 0


def _source(settings: RegistrySettings, root: Path) -> Registry:
    before = settings.config.promoted_from
    if before is None:
        raise OperationError(
            f"Nothing is promoted to {settings.env}: its champions come from runs. To promote "
            "something else to it, set promoted_from in its registry.yml."
        )
    return open_registry(before, root)


def _wanted(source: Registry, arguments: argparse.Namespace, root: Path) -> Version:
    if name := arguments.version or arguments.digest:
        return source.version(name)
    champion = source.champion()
    if champion is None:
        before = read_registry_settings(root, source.env).config.promoted_from
        verb = "python -m operation.execution promote" if before else "kedro run"
        raise OperationError(
            f"{source.env} has no champion of {source.name} to promote. Make one first: "
            f"{verb} --env {source.env}"
        )
    return champion


def _approval(arguments: argparse.Namespace) -> Approval | None:
    by, reason = (arguments.approved_by or "").strip(), (arguments.reason or "").strip()
    if not by and not reason:
        return None
    if not by or not reason:
        raise RefusedError("An approval names who approves and why: --approved-by and --reason.")
    return Approval(by, reason)


def _say(text: str) -> None:
    print(f"promote: {text}", flush=True)
