"""`kedro mlops audit`: what it says is so, and what it cannot know it does not say."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from kedro_azure_mlops import audit as subject
from kedro_azure_mlops.cli import main
from tests.plugin.unit.weakness_service import PROBED, Service, running

TEMPLATE = Path(__file__).parents[3] / "{{cookiecutter.project_slug}}"
FOUND = {"id": "PYSEC-7", "aliases": ["CVE-7"], "fixed_in": ["99.1"], "summary": "seeded"}
HASH = "--hash=sha256:" + "0" * 64
# two small locks; `colorama` is for Windows, `twice` has a release for each of two Pythons
LOCKS = {
    "run": (
        f"# made by: make lock\nalpha==1.0 \\\n    {HASH}\n    # via -r run.in\n"
        f"colorama==0.4 ; sys_platform == 'win32' \\\n    {HASH}\n"
        f"twice==1.0 ; python_version < '3.0' \\\n    {HASH}\n"
        f"twice==2.0 ; python_version >= '3.0' \\\n    {HASH}\n"
    ),
    "serve": f"Alpha==1.0 \\\n    {HASH}\nbeta-x==3.0 \\\n    {HASH}\n",
}
PYPROJECT = """
[project]
name = "audited"
dynamic = ["version"]

[tool.kedro]
package_name = "audited"
source_dir = "src"
"""


@dataclass
class Outcome:
    """The output of the command."""

    returncode: int
    stdout: str
    stderr: str


Audit = Callable[..., Outcome]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project with two small locks."""
    (tmp_path / "requirements").mkdir()
    for name, text in LOCKS.items():
        (tmp_path / "requirements" / f"{name}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (tmp_path / "src" / "audited").mkdir(parents=True)
    (tmp_path / "src" / "audited" / "__init__.py").write_text('__version__ = "0.1.0"\n', "utf-8")
    return tmp_path


@pytest.fixture
def call(
    service: Service, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Call the command in a folder."""

    def called(folder: Path, *options: str, **environment: str) -> Outcome:
        monkeypatch.chdir(folder)
        for name, value in (service.environment | environment).items():
            monkeypatch.setenv(name, value)
        status = main(["audit", *options])
        return Outcome(status, *capfd.readouterr())

    return called


@pytest.fixture
def audit(small: Path, call: Callable[..., Outcome]) -> Audit:
    """Call the command in the small project."""

    def called(*options: str, ignore: str = "", **environment: str) -> Outcome:
        (small / "requirements" / "audit-ignore.toml").write_text(ignore, encoding="utf-8")
        return call(small, *options, **environment)

    return called


@pytest.fixture
def without_processes(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pip-audit answer at once, for tests that are not about how it is called."""

    def answer(file: Path, target: Path, *_: Any) -> str:
        found = []
        for name, version in re.findall(r"^(\S+)==(\S+)", file.read_text("utf-8"), re.MULTILINE):
            service.asked.append(f"{name}=={version}")
            known = service.known.get(f"{name}=={version}", service.known.get(name, []))
            listed = [{**one, "fix_versions": one["fixed_in"]} for one in known]
            found.append({"name": name, "version": version, "vulns": listed})
        target.write_text(json.dumps({"dependencies": found}), encoding="utf-8")
        return ""

    monkeypatch.setattr(subject, "_pip_audit", answer)


def entry(days: int, **changes: str) -> str:
    day = datetime.now(UTC).date() + timedelta(days=days)
    given = {"id": "PYSEC-7", "package": "beta_x", "reason": "never called"} | changes
    lines = [f'{key} = "{value}"' for key, value in given.items()]
    return "\n".join(["[[ignore]]", *lines, f"until = {day}", ""])


class TestAudit:
    def test_all_is_well_only_after_every_package_of_every_lock_was_asked_for(
        self, call: Callable[..., Outcome], service: Service, tmp_path: Path
    ) -> None:
        """With the locks that a rendered project has."""
        shutil.copytree(TEMPLATE / "requirements", tmp_path / "requirements")
        wheels = list((TEMPLATE / "wheels").glob("*.whl"))
        (tmp_path / "wheels").mkdir()
        for wheel in wheels:
            (tmp_path / "wheels" / wheel.name).touch()
        service.knows()
        checked = call(tmp_path)
        assert checked.returncode == 0, checked.stderr
        assert "no vulnerability counts" in checked.stdout
        pinned = {
            re.sub(r"\[.*\]", "", line.split()[0]).lower()
            for lock in (tmp_path / "requirements").glob("*.txt")
            for line in lock.read_text(encoding="utf-8").splitlines()
            if "==" in line.partition(";")[0] and not line.startswith(("#", " "))
        }
        ours = {pin for pin in pinned if pin.startswith("kedro-azure-mlops==")}
        assert len(pinned) > 200
        assert ours
        assert {pin.replace("_", "-") for pin in pinned - ours} <= set(service.asked)
        assert len(service.asked) == len(set(service.asked)), "once each, though in several locks"

    def test_what_lies_in_wheels_is_on_no_index_and_is_named(
        self, audit: Audit, service: Service, small: Path
    ) -> None:
        service.knows(alpha=404)
        assert audit().returncode == 2
        (small / "wheels").mkdir()
        (small / "wheels" / "alpha-1.0-py3-none-any.whl").touch()
        passed = audit()
        assert passed.returncode == 0, passed.stderr
        assert passed.stdout.count("alpha 1.0 is in wheels") == 1
        (small / "wheels" / "alpha-1.0-py3-none-any.whl").rename(
            small / "wheels" / "alpha-2.0-py3-none-any.whl"
        )
        assert audit().returncode == 2, "another release is looked up"

    def test_packages_for_other_machines_and_both_of_two_releases_are_asked_for(
        self, audit: Audit, service: Service
    ) -> None:
        service.knows()
        assert audit().returncode == 0
        ours = {"alpha==1.0", "colorama==0.4", "twice==1.0", "twice==2.0", "beta-x==3.0"}
        assert set(service.asked) == ours | {PROBED}

    def test_a_vulnerability_is_named_with_its_fix(self, audit: Audit, service: Service) -> None:
        service.knows(alpha=[FOUND], colorama=[{**FOUND, "id": "PYSEC-8", "fixed_in": []}])
        found = audit()
        assert found.returncode == 1
        lines = [line.split() for line in found.stderr.splitlines()]
        assert ["alpha", "1.0", "PYSEC-7", "99.1", "run,", "serve"] in lines
        assert ["colorama", "0.4", "PYSEC-8", "no", "release", "run"] in lines
        assert "make lock" in found.stderr

    @pytest.mark.parametrize("reported", [404, 503, 403, "half", "page", "never"])
    def test_what_was_not_looked_up_is_not_well(
        self, audit: Audit, service: Service, reported: int | str
    ) -> None:
        service.knows(beta_x=reported, alpha=[])
        failed = audit("--timeout", "2")
        assert failed.returncode == 2
        assert "requirements/serve.txt" in failed.stderr
        assert "could not look up" in failed.stderr
        assert reported != 404 or "beta-x 3.0" in failed.stderr
        assert "locked packages are unknown" in failed.stderr
        assert "no vulnerability counts" not in failed.stdout

    def test_no_network_is_said(self, audit: Audit, service: Service) -> None:
        service.knows()
        nobody = "http://127.0.0.1:9"
        failed = audit(HTTPS_PROXY=nobody, https_proxy=nobody)
        assert failed.returncode == 2
        assert "locked packages are unknown" in failed.stderr
        assert service.asked == []

    def test_an_index_that_knows_of_no_vulnerability_anywhere_is_not_believed(
        self, audit: Audit, service: Service
    ) -> None:
        service.knows(**{PROBED: []})
        failed = audit()
        assert failed.returncode == 2
        assert "other answers mean nothing" in failed.stderr

    @pytest.mark.parametrize(("kept", "code"), [("id", 2), ("id fix_versions", 1)])
    def test_an_answer_of_another_form_is_not_read_as_well(
        self, audit: Audit, monkeypatch: pytest.MonkeyPatch, kept: str, code: int
    ) -> None:
        """Of a release of pip-audit that leaves something out of what it says."""
        known = {"id": "PYSEC-7", "fix_versions": ["99.1"]}
        known = {name: value for name, value in known.items() if name in kept.split()}

        def answer(file: Path, target: Path, *_: Any) -> str:
            asked = re.findall(r"^(\S+)==(\S+)", file.read_text("utf-8"), re.MULTILINE)
            found = [{"name": n, "version": v, "vulns": [known]} for n, v in asked]
            target.write_text(json.dumps({"dependencies": found}), encoding="utf-8")
            return ""

        monkeypatch.setattr(subject, "_pip_audit", answer)
        asked = audit()
        assert asked.returncode == code, asked.stderr
        assert ("unknown format" in asked.stderr) == (code == 2)
        assert ("locked packages are unknown" in asked.stderr) == (code == 2)

    def test_a_tool_that_is_missing_is_named(
        self, audit: Audit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subject, "find_spec", lambda name: None)
        for options, name in (((), "pip-audit"), (("--sbom", "x.json"), "cyclonedx-bom")):
            failed = audit(*options)
            assert failed.returncode == 2
            assert f"{name} is not installed here: uv pip install" in failed.stderr

    @pytest.mark.usefixtures("without_processes")
    def test_a_lock_without_pins_is_not_well(
        self, audit: Audit, service: Service, small: Path
    ) -> None:
        service.knows()
        lock = small / "requirements/empty.txt"
        for text in ("", "alpha>=1.0 \\\n    " + HASH + "\n", "alpha==1.0\n"):
            lock.write_text(text, encoding="utf-8")
            failed = audit()
            assert failed.returncode == 2, text
        lock.unlink()
        assert audit().returncode == 0


@pytest.mark.usefixtures("without_processes")
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
            (entry(30, comment="x"), "its keys must be id, package, reason, until"),
            (entry(30).replace("reason", "why"), "its keys must be id, package, reason, until"),
            (entry(30, reason=""), "reason must be a str"),
            (entry(30).replace("until = ", "until = 'soon' # "), "until must be a date"),
            ("ignored = []\n", "may hold only [[ignore]], not ignored"),
            ("ignore = [1]\n", "entry 1: it must be a table with id, package, reason, until"),
            ("ignore = 1\n", "may hold only [[ignore]], not ignore = 1"),
            ("[[ignore\n", "is not valid TOML"),
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


class TestBillOfMaterials:
    def test_lists_what_the_run_set_pins(self, small: Path, call: Callable[..., Outcome]) -> None:
        text = (TEMPLATE / "requirements" / "run.txt").read_text(encoding="utf-8")
        (small / "requirements" / "run.txt").write_text(text, encoding="utf-8")
        nowhere = "http://127.0.0.1:9"
        made = call(small, "--sbom", "build/sbom.json", HTTPS_PROXY=nowhere, https_proxy=nowhere)
        assert made.returncode == 2, "the look-up has no network, the bill needs none"
        first = (small / "build" / "sbom.json").read_text(encoding="utf-8")
        bill = json.loads(first)
        described = bill["metadata"]["component"]
        assert (described["name"], described["version"]) == ("audited", "0.1.0")
        lines = [
            line.partition(" #")[0]
            for line in text.replace("\\\n", " ").splitlines()
            if line and not line.startswith(("#", " "))
        ]
        assert len(bill["components"]) == len(lines) > 50
        assert f"wrote {len(lines)} packages to build" in made.stdout
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
        assert "timestamp" not in first
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
        subject.write_sbom(small, small / "again.json")
        assert (small / "again.json").read_text(encoding="utf-8") == first

    @pytest.mark.usefixtures("without_processes")
    def test_is_written_beside_a_look_up(self, audit: Audit, service: Service, small: Path) -> None:
        service.knows(beta_x=[FOUND])
        assert audit("--sbom", "sbom.json").returncode == 1
        assert (small / "sbom.json").exists()

    def test_is_not_made_of_a_lock_that_is_not_there(
        self, audit: Audit, service: Service, small: Path
    ) -> None:
        (small / "requirements" / "run.txt").unlink()
        failed = audit("--sbom", "sbom.json")
        assert failed.returncode == 2
        assert "run.txt cannot be read" in failed.stderr
        assert not (small / "sbom.json").exists()
