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

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from kedro_azure_mlops.errors import OperationError

LOCKS = Path("requirements")
IGNORED = LOCKS / "audit-ignore.toml"
WHEELS = Path("wheels")

_UNKNOWN = (
    "So the vulnerabilities of the locked packages are unknown. Run this again on a machine that "
    "can reach the public Python package index, which lists them."
)
_NO_LOCK = "change to the project's folder, or lock its packages: make lock"
_TIMEOUT = 1800  # seconds per lock
_IGNORED_KEYS = {"id": str, "package": str, "reason": str, "until": date}
_VERSION = re.compile(r"""^__version__[^=]*= *["'](.+?)["']""", re.MULTILINE)


@dataclass(frozen=True)
class Pin:
    """A pinned package, and one of its hashes (``sha256:...``)."""

    name: str
    version: str
    hash: str


# Its vulnerabilities have been public for years: an index that lists none cannot be trusted.
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
    """A vulnerability that is not ignored, and the locks that pin the package."""

    vulnerability: Vulnerability
    locks: tuple[str, ...]
    remark: str = ""


@dataclass(frozen=True)
class Ignored:
    """A vulnerability that is ignored up to and including a date."""

    id: str
    package: str
    reason: str
    until: date

    def is_about(self, vulnerability: Vulnerability) -> bool:
        """Return whether this entry is about a vulnerability, under any of its names."""
        is_package = canonicalize_name(self.package) == vulnerability.package
        return is_package and self.id in vulnerability.names


def audit_locks(root: Path, timeout: int = 30, say: Callable[[str], None] = print) -> list[Finding]:
    """Look up every package of a project's locks; return the vulnerabilities not ignored.

    Parameters
    ----------
    root
        The project, with its locks in ``requirements/*.txt``. ``requirements/audit-ignore.toml``
        lists ignored vulnerabilities with their expiry dates. Packages with a wheel in
        ``wheels/`` are not on any index and are not looked up.
    timeout
        Seconds to wait for an answer from the index.
    say
        Called with progress and remarks.

    Raises
    ------
    OperationError
        If there is no lock, or one cannot be read or is empty; if a lookup failed, because the
        result would be meaningless; or if the index lists no vulnerability for a release that is
        known to have some.
    """
    _require("pip_audit", "pip-audit")
    ignored = read_ignored(root / IGNORED)
    locks = {path: read_pins(path) for path in sorted((root / LOCKS).glob("*.txt"))}
    if not locks:
        raise OperationError(f"there is no lock {root / LOCKS / '*.txt'}", next=_NO_LOCK)
    for path, locked in locks.items():
        if not locked:
            raise OperationError(f"{path} pins no package", next="make lock")
    try:
        affected = _look_up(locks, _wheel_releases(root / WHEELS), timeout, say)
    except OperationError as error:
        raise OperationError(f"{error}\n{_UNKNOWN}") from error
    return list(_not_ignored(affected, ignored, say))


def format_findings(findings: Sequence[Finding]) -> str:
    """Return findings as a table."""
    rows = [("package", "version", "vulnerability", "fixed in", "lock", "")]
    for finding in findings:
        one = finding.vulnerability
        fixed = ", ".join(one.fixed_in) or "no release"
        locks = ", ".join(finding.locks)
        rows.append((one.package, one.version, one.names[0], fixed, locks, finding.remark))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(map(str.ljust, row, widths)).rstrip()  # one cell per column
        for row in rows
    )


def read_pins(lock: Path) -> list[Pin]:
    """Return the pins of a lock, each release once, including those for other platforms.

    Raises
    ------
    OperationError
        If it cannot be read, or a line pins no version or has no hash, as in a merge conflict.
    """
    return list(dict.fromkeys(_pin(lock, line) for line in _lines(lock)))


def read_ignored(file: Path) -> list[Ignored]:
    """Return the ignored vulnerabilities; an empty list if the file does not exist.

    Raises
    ------
    OperationError
        If it is not valid TOML in UTF-8, or an entry has a missing, unknown or wrongly typed key.
    """
    if not file.is_file():
        return []
    content = _read_toml(file)
    entries = content.pop("ignore", [])
    if content or not isinstance(entries, list):
        other = ", ".join(content) or f"ignore = {entries!r}"
        raise OperationError(f"{file} may contain only [[ignore]], not {other}")
    return [_entry(file, number, entry) for number, entry in enumerate(entries, start=1)]


def write_sbom(root: Path, file: Path) -> int:
    """Write the pins of ``requirements/run.txt`` as CycloneDX JSON; return the number of packages.

    Each package has its version, address and hashes; the same lock gives the same bytes. It works
    offline.

    Raises
    ------
    OperationError
        If the lock or the project's version cannot be read, or the file cannot be written.

    References
    ----------
    CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/
    """
    _require("cyclonedx_py", "cyclonedx-bom")
    lock = root / LOCKS / "run.txt"
    if not lock.exists():
        raise OperationError(f"{lock} cannot be read: there is no such file", next=_NO_LOCK)
    for line in _lines(lock):
        _parsed(lock, line)  # cyclonedx_py skips lines that it does not understand
    version = _version(root)
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
        raise OperationError(f"no bill of materials of {lock}: {process.stderr.strip()}")
    bill = _with_addresses(json.loads(process.stdout), version)
    text = json.dumps(bill, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if fault := _schema_violation(text):
        raise OperationError(f"the bill of materials is not valid CycloneDX: {fault}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OperationError(
            f"{file} cannot be written: {error.strerror}: {error.filename}",
            next="name a file, such as --sbom build/sbom.json",
        ) from error
    return len(bill["components"])


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OperationError(
            f"{file} cannot be read: {getattr(error, 'strerror', error)}",
            next="make it a readable text file in UTF-8",
        ) from error


def _read_toml(file: Path) -> dict[str, Any]:
    text = _read(file)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OperationError(f"{file} is not valid TOML: {error}") from error


def _require(module: str, package: str) -> None:
    if find_spec(module) is None:
        raise OperationError(
            f"{package} is not installed: uv pip install -r {LOCKS.as_posix()}/dev.txt"
        )


def _lines(lock: Path) -> list[str]:
    """Return the requirements of a lock, each on one line with its hashes."""
    text = _read(lock).replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line and line[0] != "-"]


def _parsed(lock: Path, line: str) -> tuple[Requirement, list[str]]:
    """Return a requirement and its hashes."""
    named, *hashes = (part.strip() for part in line.split(" --hash="))
    try:
        if any(" " in one for one in hashes):
            raise InvalidRequirement(f"text after a hash: {line}")
        return Requirement(named), hashes
    except InvalidRequirement as error:
        raise OperationError(
            f"{lock}: a line is not a requirement: {line}",
            next="resolve the merge conflicts in it, if any, then: make lock",
        ) from error


def _pin(lock: Path, line: str) -> Pin:
    requirement, hashes = _parsed(lock, line)
    versions = [one.version for one in requirement.specifier if one.operator == "=="]
    if len(versions) != 1 or not hashes:
        raise OperationError(
            f"{lock}: a line pins no version, or has no hashes: {line}", next="make lock"
        )
    return Pin(canonicalize_name(requirement.name), versions[0], hashes[0])


def _wheel_releases(wheels: Path) -> set[tuple[str, str]]:
    """Return the names and versions of the wheels in a folder."""
    releases = set()
    for wheel in wheels.glob("*.whl"):
        try:
            name, version, *_ = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename:
            continue
        releases.add((str(name), str(version)))
    return releases


def _look_up(
    locks: dict[Path, list[Pin]],
    local: set[tuple[str, str]],
    timeout: int,
    say: Callable[[str], None],
) -> dict[Vulnerability, list[str]]:
    """Look up the pins of all locks; return each vulnerability with the locks that have it."""
    affected: dict[Vulnerability, list[str]] = {}
    known: dict[Pin, list[Vulnerability]] = {}
    with tempfile.TemporaryDirectory() as folder:
        say("looking up a package with known vulnerabilities")
        if not any(_audit_pins([_PROBE], Path(folder), timeout).values()):
            raise OperationError(
                f"the index lists no vulnerability of {_PROBE.name} {_PROBE.version}, which has "
                "some, so its other answers cannot be trusted. Is it a mirror, or a proxy?"
            )
        for path, locked in locks.items():
            name = (LOCKS / path.name).as_posix()
            fresh = [pin for pin in locked if pin not in known]
            for pin in [pin for pin in fresh if (pin.name, pin.version) in local]:
                say(f"{pin.name} {pin.version} is in {WHEELS} and not on any index: skipped")
                known[pin] = []
                fresh.remove(pin)
            say(f"{name}, {len(locked)} packages, {len(fresh)} new")
            try:
                known |= _audit_pins(fresh, Path(folder), timeout)
            except OperationError as error:
                raise OperationError(f"{name}: {error}") from error
            for one in (one for pin in locked for one in known[pin]):
                affected.setdefault(one, []).append(path.stem)
    return affected


def _audit_pins(locked: list[Pin], folder: Path, timeout: int) -> dict[Pin, list[Vulnerability]]:
    """Run pip-audit on pinned packages, including those for other platforms.

    It reads and writes only in ``folder``, so no cached answer is reused.
    """
    results: dict[Pin, list[Vulnerability]] = {}
    for batch in _split_duplicates(locked):
        file, answer = folder / "asked.txt", folder / "answer.json"
        # Without markers: pip-audit silently skips packages for other platforms.
        file.write_text("".join(f"{p.name}=={p.version} --hash={p.hash}\n" for p in batch), "utf-8")
        answer.unlink(missing_ok=True)
        results |= _read_answer(answer, batch, _pip_audit(file, answer, folder / "cache", timeout))
    return results


def _split_duplicates(locked: list[Pin]) -> Iterator[list[Pin]]:
    """Split pins into batches without duplicate packages; locks for several Pythons have some."""
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
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise OperationError(f"no answer after {_TIMEOUT // 60} minutes") from error
    if process.returncode not in {0, 1}:
        raise OperationError(f"pip-audit ended with {process.returncode}: {process.stderr}")
    return process.stderr


def _read_answer(
    answer: Path, requested: list[Pin], messages: str
) -> dict[Pin, list[Vulnerability]]:
    """Read the answer; reject it unless it covers every requested package."""
    lines = [line for line in messages.splitlines() if line.strip()]
    why = lines[-1][:300] if lines else "pip-audit gives no reason"
    try:
        answers: list[dict[str, Any]] = json.loads(answer.read_text("utf-8"))["dependencies"]
        known = {
            (str(canonicalize_name(one["name"])), str(one.get("version"))): one for one in answers
        }
        unanswered = [
            pin for pin in requested if "vulns" not in known.get((pin.name, pin.version), {})
        ]
        if unanswered:
            reasons = sorted({one["skip_reason"] for one in answers if one.get("skip_reason")})
            names = ", ".join(f"{pin.name} {pin.version}" for pin in unanswered[:5])
            more = f" and {len(unanswered) - 5} more" if len(unanswered) > 5 else ""
            raise OperationError(f"could not look up {names}{more}: {'; '.join(reasons) or why}")
        return {
            pin: _vulnerabilities(pin, known[pin.name, pin.version]["vulns"]) for pin in requested
        }
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


def _not_ignored(
    affected: dict[Vulnerability, list[str]], ignored: list[Ignored], say: Callable[[str], None]
) -> Iterator[Finding]:
    """Yield the findings that are not ignored, and report the ignored ones."""
    today = datetime.now(UTC).date()
    for one, locks in sorted(affected.items(), key=lambda item: (item[0].package, item[0].names)):
        entry = next((entry for entry in ignored if entry.is_about(one)), None)
        if entry and entry.until >= today:
            say(f"{entry.id} of {one.package} is ignored until {entry.until}")
            continue
        over = f"ignored until {entry.until}, which has passed" if entry else ""
        yield Finding(one, tuple(locks), over)
    for entry in ignored:
        if not any(entry.is_about(one) for one in affected):
            say(f"{entry.id} of {entry.package} is in {IGNORED}, but not in any lock: remove it")


def _entry(file: Path, number: int, entry: Any) -> Ignored:
    where = f"{file}, entry {number}"
    keys = ", ".join(_IGNORED_KEYS)
    if not isinstance(entry, dict):
        raise OperationError(f"{where}: it must be a table with {keys}, not {entry!r}")
    if set(entry) != set(_IGNORED_KEYS):
        raise OperationError(f"{where}: its keys must be {keys}, not {', '.join(entry)}")
    for key, kind in _IGNORED_KEYS.items():
        value = entry[key]
        if not isinstance(value, kind) or isinstance(value, datetime) or value == "":
            raise OperationError(f"{where}: {key} must be a {kind.__name__}, not {value!r}")
    return Ignored(**entry)


def _version(root: Path) -> str:
    """Return the project's version, from pyproject.toml or the package that it names."""
    file = root / "pyproject.toml"
    project = _read_toml(file)
    if stated := project.get("project", {}).get("version"):
        return str(stated)
    where, kedro = str(file), project.get("tool", {}).get("kedro", {})
    if "package_name" in kedro:
        source = root / kedro.get("source_dir", "src") / kedro["package_name"] / "__init__.py"
        if found := _VERSION.search(_read(source)):
            return found[1]
        where = f"{file} and {source}"
    raise OperationError(
        "the project has no version", where=where, next='add one: __version__ = "0.1.0"'
    )


def _with_addresses(bill: dict[str, Any], version: str) -> dict[str, Any]:
    """Set the project's version, and identify packages by address instead of line number."""
    described = bill["metadata"]["component"]
    described["version"] = version
    bill.setdefault("components", [])
    for component in bill["components"]:
        component["bom-ref"] = component.get("purl", component["name"])  # local files have none
        component.pop("description", None)  # the lines of the lock, including the hashes
    once = {component["bom-ref"]: component for component in bill["components"]}
    bill["components"] = [once[address] for address in sorted(once)]
    bill["dependencies"] = [
        {"ref": described["bom-ref"], "dependsOn": sorted(once)},
        *({"ref": address} for address in sorted(once)),
    ]
    return bill


def _schema_violation(text: str) -> str | None:
    """Return the violation of CycloneDX's schema; None if the text is valid."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return None if fault is None else str(fault)
