"""Look up known weaknesses of every locked package: python -m tools.audit (make audit).

Exit status 0: every package of every lock was looked up and none has a known weakness that counts;
1: some have, they are listed; 2: not all could be looked up, so nothing is known.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from tools.audit_ignored import Ignored, IgnoreListError, read_ignored
from tools.locks import Pin, pins

LOCKS = Path("requirements")
IGNORED = LOCKS / "audit-ignore.toml"
_NOTHING_KNOWN = (
    "audit: so nothing is known about the weaknesses of what is locked. Run it again where this "
    "machine reaches the public Python package index, whose list of them is asked."
)
_LONGEST = 1800  # seconds that one lock may take
# A release whose weakness is known for years: who knows of none in it, finds none in ours either.
_PROBE = Pin("jinja2", "2.4.1", "sha256:" + "0" * 64)


class NotLookedUpError(Exception):
    """Something could not be looked up (exit status 2)."""


@dataclass(frozen=True)
class Weakness:
    """A known weakness of a locked package."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]


def main() -> int:
    """Look up all locks and say what was found."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--timeout", type=int, default=30, help="seconds that an answer may take")
    timeout = parser.parse_args().timeout
    try:
        ignored = read_ignored(IGNORED)
        locks = {path: pins(path) for path in sorted(LOCKS.glob("*.txt"))}
        if not locks or not all(locks.values()):
            raise NotLookedUpError(f"there is no lock, or an empty one, in {LOCKS}: type make lock")
        found = _look_up(locks, timeout)
    except (NotLookedUpError, IgnoreListError, ValueError) as error:
        print(f"audit: {error}\n{_NOTHING_KNOWN}", file=sys.stderr)
        return 2
    return _verdict(found, ignored)


def _look_up(locks: dict[Path, list[Pin]], timeout: int) -> dict[Weakness, list[str]]:
    """Ask for each lock; return each weakness with the locks that have it."""
    found: dict[Weakness, list[str]] = {}
    known: dict[Pin, list[Weakness]] = {}
    with tempfile.TemporaryDirectory() as folder:
        print("audit: asking for a package whose weakness is known", flush=True)
        if not any(ask([_PROBE], Path(folder), timeout).values()):
            raise NotLookedUpError(
                f"the service knows of no weakness in {_PROBE.name} {_PROBE.version}, which has "
                "some: what it says of other packages means nothing. Is it a mirror, or a proxy?"
            )
        for path, locked in locks.items():
            fresh = [pin for pin in locked if pin not in known]
            print(f"audit: {path.as_posix()}, {len(locked)} packages, {len(fresh)} new", flush=True)
            try:
                known |= ask(fresh, Path(folder), timeout)
            except NotLookedUpError as error:
                raise NotLookedUpError(f"{path.as_posix()}: {error}") from error
            for weakness in (weakness for pin in locked for weakness in known[pin]):
                found.setdefault(weakness, []).append(path.stem)
    return found


def ask(locked: list[Pin], folder: Path, timeout: int) -> dict[Pin, list[Weakness]]:
    """Ask pip-audit about pinned packages, also those for other machines than this one.

    Parameters
    ----------
    folder
        For what pip-audit reads and writes: nothing of an earlier day is believed.

    Raises
    ------
    NotLookedUpError
        If it says nothing of one of them.
    """
    found = {}
    for batch in _without_twins(locked):
        file, answer = folder / "asked.txt", folder / "answer.json"
        # Without the markers: pip-audit leaves out, and does not mention, what is not for here.
        file.write_text("".join(f"{p.name}=={p.version} --hash={p.hash}\n" for p in batch), "utf-8")
        answer.unlink(missing_ok=True)
        found |= _read(answer, batch, _pip_audit(file, answer, folder / "cache", timeout))
    return found


def _without_twins(locked: list[Pin]) -> Iterator[list[Pin]]:
    """Part pins so that none has a package twice, as a lock for several Pythons may have."""
    left = locked
    while left:
        batch = {pin.name: pin for pin in reversed(left)}
        yield list(batch.values())
        left = [pin for pin in left if batch[pin.name] != pin]


def _pip_audit(file: Path, answer: Path, cache: Path, timeout: int) -> str:
    """Run pip-audit and return what it complains of."""
    command = [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(file), "--output", str(answer)),
        *("--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
        *("--cache-dir", str(cache), "--timeout", str(timeout)),
    ]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_LONGEST
        )
    except subprocess.TimeoutExpired as error:
        raise NotLookedUpError(f"no answer after {_LONGEST // 60} minutes") from error
    if process.returncode not in {0, 1}:
        raise NotLookedUpError(f"pip-audit ended with {process.returncode}: {process.stderr}")
    return process.stderr


def _read(answer: Path, asked: list[Pin], complaint: str) -> dict[Pin, list[Weakness]]:
    """Read the answer, and believe it only if it speaks of every package that was asked for."""
    try:
        return _told(answer, asked, complaint)
    except (AttributeError, KeyError, TypeError) as error:
        raise NotLookedUpError(
            "the answer of pip-audit has another form than the one that is read here "
            f"({type(error).__name__}: {error}): take the release that requirements/dev.txt pins, "
            "or mend tools/audit.py"
        ) from error


def _told(answer: Path, asked: list[Pin], complaint: str) -> dict[Pin, list[Weakness]]:
    lines = [line for line in complaint.splitlines() if line.strip()]
    why = lines[-1][:300] if lines else "pip-audit says nothing"
    try:
        told: list[dict[str, Any]] = json.loads(answer.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, ValueError) as error:
        raise NotLookedUpError(f"could not look up: {why}") from error
    known = {(canonicalize_name(one["name"]), one.get("version")): one for one in told}
    silent = [pin for pin in asked if "vulns" not in known.get((pin.name, pin.version), {})]
    if silent:
        reasons = {one.get("skip_reason") for one in told if "skip_reason" in one}
        names = ", ".join(f"{pin.name} {pin.version}" for pin in silent[:5])
        more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
        raise NotLookedUpError(
            f"could not look up {names}{more}: {'; '.join(sorted(filter(None, reasons))) or why}"
        )
    return {pin: _weaknesses(pin, known[(pin.name, pin.version)]["vulns"]) for pin in asked}


def _weaknesses(pin: Pin, told: list[dict[str, Any]]) -> list[Weakness]:
    return [
        Weakness(
            pin.name,
            pin.version,
            (one["id"], *sorted(one.get("aliases", ()))),
            tuple(one["fix_versions"]),
        )
        for one in told
    ]


def _verdict(found: dict[Weakness, list[str]], ignored: list[Ignored]) -> int:
    """Say what counts of what was found."""
    today = datetime.now(UTC).date()
    counting = []
    for weakness, locks in sorted(found.items(), key=lambda item: (item[0].package, item[0].names)):
        entry = next((e for e in ignored if e.is_about(weakness.package, weakness.names)), None)
        if entry and entry.until >= today:
            print(f"audit: {entry.id} of {weakness.package} is ignored until {entry.until}")
            continue
        over = f"ignored until {entry.until}, which has passed" if entry else ""
        counting.append((weakness, ", ".join(locks), over))
    for entry in ignored:
        if not any(entry.is_about(w.package, w.names) for w in found):
            print(f"audit: {entry.id} of {entry.package} is in {IGNORED} and in no lock: remove it")
    if not counting:
        print("audit: all packages of all locks were looked up, no weakness counts")
        return 0
    rows = [
        (w.package, w.version, w.names[0], ", ".join(w.fixed_in) or "no release", locks, over)
        for w, locks, over in counting
    ]
    print(*_table(rows), sep="\n", file=sys.stderr)
    print(
        f"audit: {len(rows)} known weaknesses. Take the release that mends it: make lock "
        f'ARGS="--upgrade-package NAME"; one that does not matter here: {IGNORED.as_posix()}',
        file=sys.stderr,
    )
    return 1


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    table = [("package", "version", "weakness", "fixed in", "lock", ""), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
