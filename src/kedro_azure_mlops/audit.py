"""Known vulnerabilities of locked packages (pip-audit), and a bill of materials (CycloneDX)."""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from kedro_azure_mlops.errors import OperationError

LOCKS = Path("requirements")
IGNORED = LOCKS / "audit-ignore.toml"
WHEELS = Path("wheels")

_UNKNOWN = (
    "So the vulnerabilities of the locked packages are unknown. Run this again on a machine that "
    "can reach the public Python package index, which lists them."
)
_LONGEST = 1800  # seconds that one lock may take
_IGNORED_KEYS = {"id": str, "package": str, "reason": str, "until": date}
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


@dataclass(frozen=True)
class Pin:
    """A pinned package, and one of its hashes (``sha256:...``)."""

    name: str
    version: str
    hash: str


# Its vulnerabilities have been public for years: an index that lists none is of no use.
_PROBE = Pin("jinja2", "2.4.1", "sha256:" + "0" * 64)


@dataclass(frozen=True)
class Vulnerability:
    """A known vulnerability of a locked package."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """A vulnerability that counts, and the locks that pin the package."""

    vulnerability: Vulnerability
    locks: tuple[str, ...]
    remark: str = ""


@dataclass(frozen=True)
class Ignored:
    """A vulnerability that does not count up to and including a day."""

    id: str
    package: str
    reason: str
    until: date

    def is_about(self, vulnerability: Vulnerability) -> bool:
        """Return whether this entry is about a vulnerability, under any of its names."""
        is_package = canonicalize_name(self.package) == vulnerability.package
        return is_package and self.id in vulnerability.names


def audit_locks(root: Path, timeout: int = 30, say: Callable[[str], None] = print) -> list[Finding]:
    """Look up every package of every lock of a project; return the vulnerabilities that count.

    Parameters
    ----------
    root
        The project, with its locks in ``requirements/*.txt``. Vulnerabilities that do not count,
        and until when, are in ``requirements/audit-ignore.toml``. Packages with a wheel in
        ``wheels/`` are on no index and are not looked up.
    timeout
        Seconds to wait for an answer from the index.
    say
        Called with progress and remarks.

    Raises
    ------
    OperationError
        If a lookup failed: the result would then mean nothing. Also if the index lists no
        vulnerability in a release that is known to have some.
    """
    try:
        _require("pip_audit", "pip-audit")
        ignored = read_ignored(root / IGNORED)
        locks = {path: read_pins(path) for path in sorted((root / LOCKS).glob("*.txt"))}
        if not locks or not all(locks.values()):
            raise OperationError(f"{LOCKS} has no lock, or an empty one: type make lock")
        found = _look_up(locks, _local(root / WHEELS), timeout, say)
    except OperationError as error:
        raise OperationError(f"{error}\n{_UNKNOWN}") from error
    return list(_counting(found, ignored, say))


def format_findings(findings: Sequence[Finding]) -> str:
    """Return findings as a table."""
    rows = [("package", "version", "vulnerability", "fixed in", "lock", "")]
    for found in findings:
        one = found.vulnerability
        fixed = ", ".join(one.fixed_in) or "no release"
        locks = ", ".join(found.locks)
        rows.append((one.package, one.version, one.names[0], fixed, locks, found.remark))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(map(str.ljust, row, widths)).rstrip()  # a cell each
        for row in rows
    )


def read_pins(lock: Path) -> list[Pin]:
    """Return the pins of a lock, each release once, including those for other platforms.

    Raises
    ------
    OperationError
        If a line pins no version or has no hash.
    """
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return list(dict.fromkeys(_pin(lock, line) for line in lines if line and line[0] != "-"))


def read_ignored(file: Path) -> list[Ignored]:
    """Return the vulnerabilities that do not count; none if there is no file.

    Raises
    ------
    OperationError
        If it is not valid TOML, or an entry has a missing, unknown or wrongly typed key.
    """
    if not file.is_file():
        return []
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise OperationError(f"{file} is not valid TOML: {error}") from error
    entries = found.pop("ignore", [])
    if found or not isinstance(entries, list):
        other = ", ".join(found) or f"ignore = {entries!r}"
        raise OperationError(f"{file} may hold only [[ignore]], not {other}")
    return [_entry(file, number, given) for number, given in enumerate(entries, start=1)]


def write_sbom(root: Path, file: Path) -> int:
    """Write the pins of ``requirements/run.txt`` as CycloneDX JSON; return the number of packages.

    Each package has its version, address and hashes; the same lock gives the same bytes. No network
    is needed.

    Raises
    ------
    OperationError
        If the lock cannot be read.

    References
    ----------
    CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/
    """
    _require("cyclonedx_py", "cyclonedx-bom")
    lock = root / LOCKS / "run.txt"
    process = subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "requirements", str(lock)),
            *("--pyproject", str(root / "pyproject.toml"), "--output-reproducible"),
            *("--no-validate", "--of", "JSON"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        raise OperationError(f"{lock} cannot be read: {process.stderr.strip()}")
    bill = _finished(json.loads(process.stdout), _version(root))
    text = json.dumps(bill, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if fault := _fault_of(text):
        raise OperationError(f"the bill of materials is not valid CycloneDX: {fault}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return len(bill["components"])


def _require(module: str, package: str) -> None:
    if find_spec(module) is None:
        raise OperationError(
            f"{package} is not installed here: uv pip install -r {LOCKS.as_posix()}/dev.txt"
        )


def _pin(lock: Path, line: str) -> Pin:
    named, *hashes = line.split(" --hash=")
    requirement = Requirement(named)
    versions = [one.version for one in requirement.specifier if one.operator == "=="]
    if len(versions) != 1 or not hashes:
        raise OperationError(f"{lock}: a line pins no version, or has no hashes: {named}")
    return Pin(canonicalize_name(requirement.name), versions[0], hashes[0].split()[0])


def _local(wheels: Path) -> set[tuple[str, str]]:
    """Return the names and versions of the wheels in a folder."""
    found = set()
    for wheel in wheels.glob("*.whl"):
        try:
            name, version, *_ = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename:
            continue
        found.add((str(name), str(version)))
    return found


def _look_up(
    locks: dict[Path, list[Pin]],
    local: set[tuple[str, str]],
    timeout: int,
    say: Callable[[str], None],
) -> dict[Vulnerability, list[str]]:
    """Look up the pins of all locks; return each vulnerability with the locks that have it."""
    found: dict[Vulnerability, list[str]] = {}
    known: dict[Pin, list[Vulnerability]] = {}
    with tempfile.TemporaryDirectory() as folder:
        say("looking up a package with known vulnerabilities")
        if not any(_ask([_PROBE], Path(folder), timeout).values()):
            raise OperationError(
                f"the index lists no vulnerability of {_PROBE.name} {_PROBE.version}, which has "
                "some, so its other answers mean nothing. Is it a mirror, or a proxy?"
            )
        for path, locked in locks.items():
            name = (LOCKS / path.name).as_posix()
            fresh = [pin for pin in locked if pin not in known]
            for pin in [pin for pin in fresh if (pin.name, pin.version) in local]:
                say(f"{pin.name} {pin.version} is in {WHEELS} and on no index: not looked up")
                known[pin] = []
                fresh.remove(pin)
            say(f"{name}, {len(locked)} packages, {len(fresh)} new")
            try:
                known |= _ask(fresh, Path(folder), timeout)
            except OperationError as error:
                raise OperationError(f"{name}: {error}") from error
            for one in (one for pin in locked for one in known[pin]):
                found.setdefault(one, []).append(path.stem)
    return found


def _ask(locked: list[Pin], folder: Path, timeout: int) -> dict[Pin, list[Vulnerability]]:
    """Run pip-audit on pinned packages, including those for other platforms.

    It reads and writes only in ``folder``: no earlier answer is reused.
    """
    found: dict[Pin, list[Vulnerability]] = {}
    for batch in _without_twins(locked):
        file, answer = folder / "asked.txt", folder / "answer.json"
        # Without markers: pip-audit silently skips packages for other platforms.
        file.write_text("".join(f"{p.name}=={p.version} --hash={p.hash}\n" for p in batch), "utf-8")
        answer.unlink(missing_ok=True)
        found |= _read(answer, batch, _pip_audit(file, answer, folder / "cache", timeout))
    return found


def _without_twins(locked: list[Pin]) -> Iterator[list[Pin]]:
    """Split pins so that no part has a package twice, as a lock for several Pythons may have."""
    left = locked
    while left:
        batch = {pin.name: pin for pin in reversed(left)}
        yield list(batch.values())
        left = [pin for pin in left if batch[pin.name] != pin]


def _pip_audit(file: Path, answer: Path, cache: Path, timeout: int) -> str:
    """Run pip-audit and return its messages."""
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
        raise OperationError(f"no answer after {_LONGEST // 60} minutes") from error
    if process.returncode not in {0, 1}:
        raise OperationError(f"pip-audit ended with {process.returncode}: {process.stderr}")
    return process.stderr


def _read(answer: Path, asked: list[Pin], complaint: str) -> dict[Pin, list[Vulnerability]]:
    """Read the answer; reject it unless it covers every package that was asked for."""
    lines = [line for line in complaint.splitlines() if line.strip()]
    why = lines[-1][:300] if lines else "pip-audit gives no reason"
    try:
        answers: list[dict[str, Any]] = json.loads(answer.read_text("utf-8"))["dependencies"]
        known = {
            (str(canonicalize_name(one["name"])), str(one.get("version"))): one for one in answers
        }
        silent = [pin for pin in asked if "vulns" not in known.get((pin.name, pin.version), {})]
        if silent:
            reasons = sorted({one["skip_reason"] for one in answers if one.get("skip_reason")})
            names = ", ".join(f"{pin.name} {pin.version}" for pin in silent[:5])
            more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
            raise OperationError(f"could not look up {names}{more}: {'; '.join(reasons) or why}")
        return {pin: _vulnerabilities(pin, known[pin.name, pin.version]["vulns"]) for pin in asked}
    except (OSError, ValueError) as error:
        raise OperationError(f"could not look up: {why}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise OperationError(
            "the output of pip-audit has an unknown format "
            f"({type(error).__name__}: {error}): install the release that {LOCKS}/dev.txt pins"
        ) from error


def _vulnerabilities(pin: Pin, listed: list[dict[str, Any]]) -> list[Vulnerability]:
    return [
        Vulnerability(
            pin.name,
            pin.version,
            (one["id"], *sorted(one.get("aliases", ()))),
            tuple(one["fix_versions"]),
        )
        for one in listed
    ]


def _counting(
    found: dict[Vulnerability, list[str]], ignored: list[Ignored], say: Callable[[str], None]
) -> Iterator[Finding]:
    """Yield the findings that count, and report the others."""
    today = datetime.now(UTC).date()
    for one, locks in sorted(found.items(), key=lambda item: (item[0].package, item[0].names)):
        entry = next((entry for entry in ignored if entry.is_about(one)), None)
        if entry and entry.until >= today:
            say(f"{entry.id} of {one.package} is ignored until {entry.until}")
            continue
        over = f"ignored until {entry.until}, which has passed" if entry else ""
        yield Finding(one, tuple(locks), over)
    for entry in ignored:
        if not any(entry.is_about(one) for one in found):
            say(f"{entry.id} of {entry.package} is in {IGNORED}, but in no lock: remove it")


def _entry(file: Path, number: int, given: Any) -> Ignored:
    where = f"{file}, entry {number}"
    keys = ", ".join(_IGNORED_KEYS)
    if not isinstance(given, dict):
        raise OperationError(f"{where}: it must be a table with {keys}, not {given!r}")
    if set(given) != set(_IGNORED_KEYS):
        raise OperationError(f"{where}: its keys must be {keys}, not {', '.join(given)}")
    for key, kind in _IGNORED_KEYS.items():
        value = given[key]
        if not isinstance(value, kind) or isinstance(value, datetime) or value == "":
            raise OperationError(f"{where}: {key} must be a {kind.__name__}, not {value!r}")
    return Ignored(**given)


def _version(root: Path) -> str:
    """Return the project's version, from pyproject.toml or the package that it names."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    if stated := project["project"].get("version"):
        return str(stated)
    package = project["tool"]["kedro"]["package_name"]
    source = root / project["tool"]["kedro"].get("source_dir", "src") / package / "__init__.py"
    return str(_VERSION.findall(source.read_text(encoding="utf-8"))[0])


def _finished(bill: dict[str, Any], version: str) -> dict[str, Any]:
    """Set the project's version, and identify each package by its address, not by its line."""
    described = bill["metadata"]["component"]
    described["version"] = version
    addresses = {one["bom-ref"]: one["purl"] for one in bill["components"]}
    for component in bill["components"]:
        component["bom-ref"] = addresses[component["bom-ref"]]
        component.pop("description", None)  # the lines of the lock, hashes and all
    once = {component["bom-ref"]: component for component in bill["components"]}
    bill["components"] = [once[address] for address in sorted(once)]
    bill["dependencies"] = [
        {"ref": described["bom-ref"], "dependsOn": sorted(once)},
        *({"ref": address} for address in sorted(once)),
    ]
    return bill


def _fault_of(text: str) -> str | None:
    """Return the violation of CycloneDX's schema; None if the text is valid."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return None if fault is None else str(fault)
