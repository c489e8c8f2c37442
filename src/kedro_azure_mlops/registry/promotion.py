"""Move the champion of an environment: promote a version, or roll back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from kedro_azure_mlops.config import Gate
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.registry.gate import entry_rules, refuse_by
from kedro_azure_mlops.registry.interface import Registry, Version
from kedro_azure_mlops.registry.versions import CHAMPION, SINCE

Say = Callable[[str], None]
Report = Callable[..., None]  # as ci.report_outputs
Prove = Callable[[Path, Version], None]
"""Loads the files of a version and replays its own example; refuses one that fails."""

# tags that apply to a version in one registry, not to the model
_NOT_COPIED = (CHAMPION, "approval.", "promoted.", "rollback.", "mlflow.")
_PATH = "promoted.path"
ROLLBACK = "rollback"


@dataclass(frozen=True)
class Approval:
    """The approval of a model for an environment: by whom, and why."""

    by: str
    reason: str

    def tags(self, digest: str) -> dict[str, str]:
        """Return the approval as tags of the version that is approved."""
        return {
            "approval.by": self.by,
            "approval.reason": self.reason,
            "approval.digest": digest,
            "approval.time": _now(),
        }


@dataclass(frozen=True)
class Gateway:
    """The target of a promotion, and what it requires."""

    registry: Registry
    gate: Gate
    needs_approval: bool
    prove: Prove


def promote_version(
    source: Registry,
    version: Version,
    target: Gateway,
    approval: Approval | None,
    say: Say,
    report: Report = lambda **_: None,
) -> Version:
    """Make a version of one environment the champion of another, with exactly the same files.

    Parameters
    ----------
    report
        Called with ``moved`` as soon as it is known, and with ``version``, ``digest`` and
        ``before``: the number of the previous champion. ``champion`` is the version to roll back
        from, if there was a champion before: it is reported first, in case the process is killed.

    Raises
    ------
    RefusedError
        If an approval is missing, or a rule of the target's gate does not hold.
    OperationError
        If the files are not those that were registered, the model fails its own example, or
        another process is changing the target.
    """
    registry = target.registry
    if (source.place, source.name) == (registry.place, registry.name):
        raise OperationError(
            f"{source.env} and {registry.env} share the registered model {registry.name}: set "
            f"registry.name in mlops.yml of {registry.env}, such as {registry.name}-{registry.env}."
        )
    say(f"promoting {version} from {source.env} to {registry.env}")
    report(moved=False)
    if champion := _same_champion(registry, version):
        return _nothing_to_do(registry, champion, say, report)
    if target.needs_approval and approval is None:
        raise RefusedError(
            f"{registry.env} needs an approval: add --approved-by NAME --reason TEXT, which are "
            "stored with the version."
        )
    with registry.locked(f"the promotion of {version}") as lock:
        champion = registry.champion()
        if champion and champion.digest == version.digest:
            return _nothing_to_do(registry, champion, say, report)
        refuse_by(entry_rules(version, champion, target.gate), version, registry, say)
        say(f"fetching {version} from {source.place}")
        with TemporaryDirectory(prefix="promotion-") as folder:
            files = source.fetch(version, Path(folder) / "model")
            say(f"the digest is {version.digest}, as registered")
            target.prove(files, version)
            found = _registered(registry, files, _tags(source, version, registry, approval), say)
        before = champion.number if champion else ""
        back = found.number if before else ""
        report(version=found.number, digest=found.digest, before=before, champion=back)
        with _report_move(registry, found, report):
            lock.check()
            registry.make_champion(found, f"promotion from {source.env} version {version.number}")
    say(f"{found} is now champion of {registry.env}")
    return found


@contextmanager
def _report_move(registry: Registry, found: Version, report: Report) -> Iterator[None]:
    """Report that the champion has moved, even if a later step in the registry fails."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            moved = _same_champion(registry, found) is not None
            report(moved=moved, **({} if moved else {"champion": ""}))
        raise
    report(moved=True)


def _nothing_to_do(registry: Registry, champion: Version, say: Say, report: Report) -> Version:
    say(f"{champion} is already champion of {registry.env}, nothing to do")
    report(version=champion.number, digest=champion.digest, before=champion.number)
    return champion


def roll_back(
    registry: Registry,
    to: str | None,
    reason: str,
    say: Say,
    *,
    prove: Prove,
    expected: str | None = None,
) -> Version:
    """Make the previous champion, or an earlier one, champion again.

    Parameters
    ----------
    expected
        The number of the version that must still be champion.

    Raises
    ------
    RefusedError
        If no earlier champion is recorded, or another version has become champion.
    OperationError
        If its files are not those that were registered, it fails its own example, or another
        process is changing the registry.
    """
    with registry.locked(f"a rollback: {reason}") as lock:
        champion, versions = registry.champion(), registry.versions()
        if champion is None:
            raise RefusedError(f"{registry.name} has no champion, nothing to roll back.")
        if expected and champion.number != expected:
            raise RefusedError(
                f"Version {champion.number} is now champion of {registry.env}, not {expected}: "
                "nothing was changed."
            )
        earlier = registry.version(to) if to else _previous(registry, champion, versions)
        if earlier.number == champion.number:
            raise RefusedError(f"{earlier} is already the champion.")
        if earlier.number not in {change.number for change in changes(versions)}:
            raise RefusedError(f"{earlier} was never champion: promote it, or name one that was.")
        say(f"checking the files of {earlier}")
        with TemporaryDirectory(prefix="rollback-") as folder:
            prove(registry.fetch(earlier, Path(folder) / "model"), earlier)
        lock.check()
        registry.make_champion(earlier, f"{ROLLBACK} ({reason})")
        registry.tag(champion, {"rollback.reason": reason, "rollback.time": _now()})
    say(f"{earlier} is champion of {registry.env} again, instead of version {champion.number}")
    return earlier


def _previous(registry: Registry, champion: Version, versions: list[Version]) -> Version:
    number = previous_champion(versions, champion.number)
    if number is None:
        raise RefusedError(
            f"No champion of {registry.env} is recorded before {champion}. To list them, run: "
            f"kedro mlops champion --env {registry.env} --history"
        )
    return registry.version(number)


def _same_champion(registry: Registry, version: Version) -> Version | None:
    champion = registry.champion()
    return champion if champion and champion.digest == version.digest else None


def _registered(registry: Registry, files: Path, tags: dict[str, str], say: Say) -> Version:
    """Register the files, or reuse a registered version of them, such as an earlier champion."""
    existing = registry.find(tags["digest"])
    if existing is None:
        say(f"registering it as {registry.name} in {registry.place}")
        return registry.register(files, tags)
    registry.fetch(existing, files.with_name("there"))
    registry.tag(existing, tags)
    return existing


def _tags(
    source: Registry, version: Version, target: Registry, approval: Approval | None
) -> dict[str, str]:
    """Return the tags of a version, with the path of its promotion and its approval."""
    if not version.digest:
        raise OperationError(f"{version} has no digest: register it again with a run.")
    copied = {k: v for k, v in version.tags.items() if not k.startswith(_NOT_COPIED)}
    origin = f"{source.env} {source.name}:{version.number}"
    path = [text for text in (version.tags.get(_PATH), origin, target.env) if text]
    if version.tags.get(_PATH):  # the earlier path ends with the source
        path[0] = path[0].rpartition(" > ")[0]
    promoted = {"promoted.from": origin, _PATH: " > ".join(path), "promoted.time": _now()}
    return copied | promoted | (approval.tags(version.digest) if approval else {})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, order=True)
class Change:
    """A version became champion."""

    time: str
    number: str
    how: str


def changes(versions: Sequence[Version]) -> list[Change]:
    """List the changes of the champion, oldest first."""
    return sorted(
        Change(name.removeprefix(SINCE), version.number, text)
        for version in versions
        for name, text in version.tags.items()
        if name.startswith(SINCE)
    )


def previous_champion(versions: Sequence[Version], champion: str) -> str | None:
    """Return the number of the version that a rollback restores; None if there is none.

    A rollback undoes the last change: after two rollbacks in a row the third-newest champion is in
    service again, not the one that was rolled back first. Versions of the same files, from runs on
    the same data, count as one.
    """
    digests = {version.number: version.digest for version in versions}
    stack: list[str] = []
    for change in changes(versions):
        if change.how.startswith(ROLLBACK) and change.number in stack:
            while stack[-1] != change.number:
                stack.pop()
        elif stack and digests[stack[-1]] == digests[change.number]:
            stack[-1] = change.number
        else:
            stack.append(change.number)
    if stack[-1:] == [champion]:
        stack.pop()
    return stack[-1] if stack else None
