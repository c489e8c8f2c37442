"""`make audit` and `make sbom`: what they say is so, and what they cannot know they do not say."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import InstalledProject, clean_environment

pytestmark = pytest.mark.slow

SERVICE = Path(__file__).parent / "weakness_service.py"
PROBE = [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["2.5"], "summary": "known for years"}]
PROBED = "jinja2==2.4.1"
FOUND = {"id": "PYSEC-7", "aliases": ["CVE-7"], "fixed_in": ["99.1"], "summary": "seeded"}
HASH = "--hash=sha256:" + "0" * 64
# two small locks; `colorama` is for Windows, `twice` has a release for each of two Pythons
LOCKS = {
    "run": (
        f"# made by: make lock\nalpha==1.0 \\\n    {HASH}\n"
        f"colorama==0.4 ; sys_platform == 'win32' \\\n    {HASH}\n"
        f"twice==1.0 ; python_version < '3.0' \\\n    {HASH}\n"
        f"twice==2.0 ; python_version >= '3.0' \\\n    {HASH}\n"
    ),
    "serve": f"Alpha==1.0 \\\n    {HASH}\nbeta-x==3.0 \\\n    {HASH}\n",
}


@dataclass
class Service:
    """The list of known weaknesses, as a test wants it."""

    folder: Path
    environment: dict[str, str]

    def knows(self, **packages: Any) -> None:  # noqa: ANN401
        named = {name.replace("_", "-"): told for name, told in packages.items()}
        (self.folder / "known.json").write_text(json.dumps({PROBED: PROBE} | named))
        (self.folder / "asked.txt").write_text("")

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked.txt").read_text(encoding="utf-8").split()


@pytest.fixture(scope="module")
def whole(install: Callable[..., InstalledProject]) -> InstalledProject:
    return install(project_slug="audited")


@pytest.fixture(scope="module")
def service(whole: InstalledProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    process = subprocess.Popen(
        [whole.path / ".venv/bin/python", SERVICE, folder],
        cwd=whole.path,
        env=clean_environment(PYTHONPATH="."),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        port, authority = process.stdout.readline().split()
        way = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "REQUESTS_CA_BUNDLE": authority}
        yield Service(folder, way | {"https_proxy": way["HTTPS_PROXY"], "NO_PROXY": ""})
        process.communicate("", timeout=60)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def small(install: Callable[..., InstalledProject]) -> InstalledProject:
    project = install(project_slug="small")
    for lock in (project.path / "requirements").glob("*.txt"):
        lock.unlink()
    for name, text in LOCKS.items():
        (project.path / "requirements" / f"{name}.txt").write_text(text, encoding="utf-8")
    return project


@pytest.fixture
def audit(
    small: InstalledProject, service: Service
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    ignored = small.path / "requirements/audit-ignore.toml"
    shipped = ignored.read_text(encoding="utf-8")

    def call(*options: str, ignore: str = "", **environment: str) -> Any:  # noqa: ANN401
        ignored.write_text(ignore or shipped, encoding="utf-8")
        command = [".venv/bin/python", "-m", "tools.audit", *options]
        return small.run(*command, **service.environment | environment)

    yield call
    ignored.write_text(shipped, encoding="utf-8")


# makes pip-audit answer with the same weakness for whatever it is asked
OTHER_RELEASE = """
import json, re, sys
from pathlib import Path
from tools import audit
told = json.loads(sys.argv.pop())
def answer(file, answer, cache, timeout):
    asked = re.findall(r"^(\\S+)==(\\S+)", Path(file).read_text(), re.MULTILINE)
    found = [{"name": n, "version": v, "vulns": [told]} for n, v in asked]
    answer.write_text(json.dumps({"dependencies": found}))
    return ""
audit._pip_audit = answer
sys.exit(audit.main())
"""
Audit = Callable[..., subprocess.CompletedProcess[str]]


def entry(days: int, **changes: str) -> str:
    day = datetime.now(UTC).date() + timedelta(days=days)
    given = {"id": "PYSEC-7", "package": "beta_x", "reason": "never called"} | changes
    lines = [f'{key} = "{value}"' for key, value in given.items()]
    return "\n".join(["[[ignore]]", *lines, f"until = {day}", ""])


class TestAudit:
    def test_all_is_well_only_after_every_package_of_every_lock_was_asked_for(
        self, whole: InstalledProject, service: Service
    ) -> None:
        service.knows()
        checked = whole.make("audit", **service.environment)
        assert checked.returncode == 0, checked.stderr
        assert "no weakness counts" in checked.stdout
        pinned = {
            line.split()[0].lower()
            for lock in (whole.path / "requirements").glob("*.txt")
            for line in lock.read_text(encoding="utf-8").splitlines()
            if "==" in line.partition(";")[0] and not line.startswith(("#", " "))
        }
        wanted = {line.partition("[")[0] if "[" in line else line for line in pinned}
        assert len(wanted) > 200
        names = {line.partition("==")[0].replace("_", "-") for line in wanted}
        assert names <= {line.partition("==")[0] for line in service.asked}
        assert len(service.asked) == len(set(service.asked))  # once each, though in several locks

    def test_packages_for_other_machines_and_both_of_two_releases_are_asked_for(
        self, audit: Audit, service: Service
    ) -> None:
        service.knows()
        assert audit().returncode == 0
        ours = {"alpha==1.0", "colorama==0.4", "twice==1.0", "twice==2.0", "beta-x==3.0"}
        assert set(service.asked) == ours | {PROBED}

    def test_a_weakness_is_named_with_what_mends_it(self, audit: Audit, service: Service) -> None:
        service.knows(alpha=[FOUND], colorama=[{**FOUND, "id": "PYSEC-8", "fixed_in": []}])
        found = audit()
        assert found.returncode == 1
        lines = [line.split() for line in found.stderr.splitlines()]
        assert ["alpha", "1.0", "PYSEC-7", "99.1", "run,", "serve"] in lines
        assert ["colorama", "0.4", "PYSEC-8", "no", "release", "run"] in lines
        assert "make lock" in found.stderr

    @pytest.mark.parametrize("told", [404, 503, 403, "half", "page", "never"])
    def test_what_was_not_looked_up_is_not_well(
        self, audit: Audit, service: Service, told: int | str
    ) -> None:
        service.knows(beta_x=told, alpha=[])
        failed = audit("--timeout", "2")
        assert failed.returncode == 2
        assert "requirements/serve.txt" in failed.stderr
        assert "could not look up" in failed.stderr
        assert told != 404 or "beta-x 3.0" in failed.stderr
        assert "nothing is known" in failed.stderr
        assert "no weakness counts" not in failed.stdout

    def test_no_network_is_said(self, audit: Audit, service: Service) -> None:
        service.knows()
        nobody = "http://127.0.0.1:9"
        failed = audit(HTTPS_PROXY=nobody, https_proxy=nobody)
        assert failed.returncode == 2
        assert "nothing is known" in failed.stderr
        assert service.asked == []

    def test_a_list_that_knows_of_no_weakness_anywhere_is_not_believed(
        self, audit: Audit, service: Service
    ) -> None:
        service.knows(**{PROBED: []})
        failed = audit()
        assert failed.returncode == 2
        assert "means nothing" in failed.stderr

    @pytest.mark.parametrize(("kept", "code"), [("id", 2), ("id fix_versions", 1)])
    def test_an_answer_of_another_form_is_not_read_as_well(
        self, small: InstalledProject, kept: str, code: int
    ) -> None:
        """Of a release of pip-audit that leaves something out of what it says of a weakness."""
        told = {"id": "PYSEC-7", "fix_versions": ["99.1"]}
        told = {name: value for name, value in told.items() if name in kept.split()}
        asked = small.run(".venv/bin/python", "-c", OTHER_RELEASE, json.dumps(told))
        assert asked.returncode == code, asked.stderr
        assert ("another form" in asked.stderr) == (code == 2)
        assert ("nothing is known" in asked.stderr) == (code == 2)
        assert ("Traceback" in asked.stderr) is False

    def test_a_lock_without_pins_is_not_well(
        self, audit: Audit, service: Service, small: InstalledProject
    ) -> None:
        service.knows()
        lock = small.path / "requirements/empty.txt"
        for text in ("", "alpha>=1.0 \\\n    " + HASH + "\n", "alpha==1.0\n"):
            lock.write_text(text, encoding="utf-8")
            failed = audit()
            assert failed.returncode == 2, text
        lock.unlink()
        assert audit().returncode == 0


class TestIgnoring:
    @pytest.mark.parametrize("name", ["PYSEC-7", "CVE-7"])
    def test_counts_for_nothing_until_its_day(
        self, audit: Audit, service: Service, name: str
    ) -> None:
        service.knows(beta_x=[FOUND])
        for days in (0, 30):
            passed = audit(ignore=entry(days, id=name))
            assert passed.returncode == 0, passed.stderr
            assert f"{name} of beta-x is ignored until" in passed.stdout
        over = audit(ignore=entry(-1, id=name))
        assert over.returncode == 1
        assert "which has passed" in over.stderr

    def test_is_of_one_weakness_of_one_package(self, audit: Audit, service: Service) -> None:
        service.knows(beta_x=[FOUND])
        for other in ({"id": "PYSEC-70"}, {"package": "alpha"}):
            found = audit(ignore=entry(30, **other))
            assert found.returncode == 1
            assert "in no lock: remove it" in found.stdout

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (entry(30, comment="x"), "give id, package, reason, until"),
            (entry(30).replace("reason", "why"), "give id, package, reason, until"),
            (entry(30, reason=""), "reason must be a str"),
            (entry(30).replace("until = ", "until = 'soon' # "), "until must be a date"),
            ("ignored = []\n", "holds [[ignore]] and nothing else"),
            ("ignore = [1]\n", "entry 1: it must be a table with id, package, reason, until"),
            ("ignore = 1\n", "holds [[ignore]] and nothing else, not ignore = 1"),
            ("[[ignore\n", "is no TOML"),
        ],
    )
    def test_a_list_that_cannot_be_read_is_refused(
        self, audit: Audit, service: Service, text: str, message: str
    ) -> None:
        service.knows()
        refused = audit(ignore=text)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert service.asked == []


VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()))
"""


def test_the_bill_of_materials_lists_what_the_run_set_pins(whole: InstalledProject) -> None:
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9"}
    made = whole.make("sbom", **nowhere)
    assert made.returncode == 0, made.stderr
    first = whole.read("build/sbom.json")
    bill = json.loads(first)
    described = bill["metadata"]["component"]
    assert (described["name"], described["version"]) == ("audited", "0.1.0")
    lock = whole.read("requirements/run.txt").replace("\\\n", " ")
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    assert len(bill["components"]) == len(lines)
    found = {one["name"].lower(): one for one in bill["components"]}
    for line in lines:
        name, version = line.split()[0].split("==")
        component = found[name.partition("[")[0].lower()]
        assert component["version"] == version
        assert component["purl"].lower() == f"pkg:pypi/{component['name'].lower()}@{version}"
        hashes = [h["content"] for r in component["externalReferences"] for h in r["hashes"]]
        assert sorted(hashes) == sorted(
            part.split(":")[1] for part in line.split() if "sha256" in part
        )
    assert whole.make("sbom", **nowhere).returncode == 0
    assert whole.read("build/sbom.json") == first
    assert "timestamp" not in first
    checked = whole.run(".venv/bin/python", "-c", VALIDATE, "build/sbom.json")
    assert checked.stdout == "None\n", checked.stdout + checked.stderr


def test_a_lock_that_is_not_there_makes_no_bill(small: InstalledProject) -> None:
    lock = small.path / "requirements/run.txt"
    text = lock.read_text(encoding="utf-8")
    lock.unlink()
    failed = small.run(".venv/bin/python", "-m", "tools.sbom")
    lock.write_text(text, encoding="utf-8")
    assert failed.returncode == 2
    assert "requirements/run.txt cannot be read" in failed.stderr
    assert not small.has_file("build/sbom.json")
