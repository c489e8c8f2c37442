"""`kedro mlops audit` reports known vulnerabilities, and fails if a look-up is incomplete."""

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
from kedro_azure_mlops.errors import OperationError
from tests.plugin.unit.vulnerability_service import PROBED, Service, running

TEMPLATE = Path(__file__).parents[3] / "{{cookiecutter.project_slug}}"
VULNERABILITY = {"id": "PYSEC-7", "aliases": ["CVE-7"], "fixed_in": ["99.1"], "summary": "seeded"}
HASH = "--hash=sha256:" + "0" * 64
# two small locks: `colorama` is only for Windows, `twice` has one release per Python version
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
# In a lock, a merge conflict may be in lines of their own or between the hashes of one package.
CONFLICTS = [
    f"<<<<<<< HEAD\nalpha==1.0 \\\n    {HASH}\n=======\nalpha==2.0 \\\n    {HASH}\n>>>>>>> other\n",
    f"alpha==1.0 \\\n    {HASH} \\\n<<<<<<< HEAD\n    {HASH} \\\n=======\n    {HASH}\n>>>>>>> x\n",
]


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
def small_project(tmp_path: Path) -> Path:
    """A project with two small locks."""
    (tmp_path / "requirements").mkdir()
    for name, text in LOCKS.items():
        (tmp_path / "requirements" / f"{name}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (tmp_path / "src" / "audited").mkdir(parents=True)
    (tmp_path / "src" / "audited" / "__init__.py").write_text('__version__ = "0.1.0"\n', "utf-8")
    return tmp_path


@pytest.fixture
def audit_in(
    service: Service, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command in a folder."""

    def run(folder: Path, *options: str, **environment: str) -> Outcome:
        monkeypatch.chdir(folder)
        for name, value in (service.environment | environment).items():
            monkeypatch.setenv(name, value)
        status = main(["audit", *options])
        return Outcome(status, *capfd.readouterr())

    return run


@pytest.fixture
def audit(small_project: Path, audit_in: Callable[..., Outcome]) -> Audit:
    """Run the command in the small project."""

    def run(*options: str, ignore: str = "", **environment: str) -> Outcome:
        (small_project / "requirements" / "audit-ignore.toml").write_text(ignore, encoding="utf-8")
        return audit_in(small_project, *options, **environment)

    return run


@pytest.fixture
def without_processes(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the pip-audit process by a function, for tests that do not need the process."""

    def answer(file: Path, target: Path, *_: Any) -> str:
        dependencies = []
        for name, version in re.findall(r"^(\S+)==(\S+)", file.read_text("utf-8"), re.MULTILINE):
            service.requested.append(f"{name}=={version}")
            records = service.answers.get(f"{name}=={version}", service.answers.get(name, []))
            vulnerabilities = [{**record, "fix_versions": record["fixed_in"]} for record in records]
            dependencies.append({"name": name, "version": version, "vulns": vulnerabilities})
        target.write_text(json.dumps({"dependencies": dependencies}), encoding="utf-8")
        return ""

    monkeypatch.setattr(subject, "_pip_audit", answer)


def entry(days: int, **changes: str) -> str:
    day = datetime.now(UTC).date() + timedelta(days=days)
    values = {"id": "PYSEC-7", "package": "beta_x", "reason": "never called"} | changes
    lines = [f'{key} = "{value}"' for key, value in values.items()]
    return "\n".join(["[[ignore]]", *lines, f"until = {day}", ""])


class TestAudit:
    def test_every_package_of_every_lock_is_looked_up_before_success(
        self, audit_in: Callable[..., Outcome], service: Service, tmp_path: Path
    ) -> None:
        """Audit the locks of a rendered project."""
        shutil.copytree(TEMPLATE / "requirements", tmp_path / "requirements")
        wheels = list((TEMPLATE / "wheels").glob("*.whl"))
        (tmp_path / "wheels").mkdir()
        for wheel in wheels:
            (tmp_path / "wheels" / wheel.name).touch()
        service.set_answers()
        result = audit_in(tmp_path)
        assert result.returncode == 0, result.stderr
        assert "no vulnerability, apart from ignored ones" in result.stdout
        pinned = {
            re.sub(r"\[.*\]", "", line.split()[0]).lower()
            for lock in (tmp_path / "requirements").glob("*.txt")
            for line in lock.read_text(encoding="utf-8").splitlines()
            if "==" in line.partition(";")[0] and not line.startswith(("#", " "))
        }
        plugin_pins = {pin for pin in pinned if pin.startswith("kedro-azure-mlops==")}
        assert len(pinned) > 200
        assert plugin_pins
        assert {pin.replace("_", "-") for pin in pinned - plugin_pins} <= set(service.requested)
        assert len(service.requested) == len(set(service.requested)), "one look-up per package"

    def test_packages_in_wheels_are_named_instead_of_looked_up(
        self, audit: Audit, service: Service, small_project: Path
    ) -> None:
        service.set_answers(alpha=404)
        assert audit().returncode == 2
        (small_project / "wheels").mkdir()
        (small_project / "wheels" / "alpha-1.0-py3-none-any.whl").touch()
        passed = audit()
        assert passed.returncode == 0, passed.stderr
        assert passed.stdout.count("alpha 1.0 is in wheels") == 1
        (small_project / "wheels" / "alpha-1.0-py3-none-any.whl").rename(
            small_project / "wheels" / "alpha-2.0-py3-none-any.whl"
        )
        assert audit().returncode == 2, "another release is looked up"

    def test_packages_for_every_platform_and_python_are_looked_up(
        self, audit: Audit, service: Service
    ) -> None:
        service.set_answers()
        assert audit().returncode == 0
        pins = {"alpha==1.0", "colorama==0.4", "twice==1.0", "twice==2.0", "beta-x==3.0"}
        assert set(service.requested) == pins | {PROBED}

    def test_a_vulnerability_is_reported_with_its_fix(self, audit: Audit, service: Service) -> None:
        service.set_answers(
            alpha=[VULNERABILITY], colorama=[{**VULNERABILITY, "id": "PYSEC-8", "fixed_in": []}]
        )
        result = audit()
        assert result.returncode == 1
        lines = [line.split() for line in result.stderr.splitlines()]
        assert ["alpha", "1.0", "PYSEC-7", "99.1", "run,", "serve"] in lines
        assert ["colorama", "0.4", "PYSEC-8", "no", "release", "run"] in lines
        assert "make lock" in result.stderr

    @pytest.mark.parametrize("response", [404, 503, 403, "half", "page", "never"])
    def test_a_failed_look_up_fails_the_audit(
        self, audit: Audit, service: Service, response: int | str
    ) -> None:
        service.set_answers(beta_x=response, alpha=[])
        failed = audit("--timeout", "2")
        assert failed.returncode == 2
        assert "requirements/serve.txt" in failed.stderr
        assert "could not look up" in failed.stderr
        assert response != 404 or "beta-x 3.0" in failed.stderr
        assert "locked packages are unknown" in failed.stderr
        assert "no vulnerability, apart from ignored ones" not in failed.stdout

    def test_a_missing_network_is_reported(self, audit: Audit, service: Service) -> None:
        service.set_answers()
        unreachable = "http://127.0.0.1:9"
        failed = audit(HTTPS_PROXY=unreachable, https_proxy=unreachable)
        assert failed.returncode == 2
        assert "locked packages are unknown" in failed.stderr
        assert service.requested == []

    def test_an_index_without_any_vulnerability_is_not_trusted(
        self, audit: Audit, service: Service
    ) -> None:
        service.set_answers(**{PROBED: []})
        failed = audit()
        assert failed.returncode == 2
        assert "other answers cannot be trusted" in failed.stderr

    @pytest.mark.parametrize(("keys", "code"), [("id", 2), ("id fix_versions", 1)])
    def test_an_unknown_output_format_of_pip_audit_fails_the_audit(
        self, audit: Audit, monkeypatch: pytest.MonkeyPatch, keys: str, code: int
    ) -> None:
        """A release of pip-audit may omit a key from its output."""
        known = {"id": "PYSEC-7", "fix_versions": ["99.1"]}
        known = {name: value for name, value in known.items() if name in keys.split()}

        def answer(file: Path, target: Path, *_: Any) -> str:
            pins = re.findall(r"^(\S+)==(\S+)", file.read_text("utf-8"), re.MULTILINE)
            audited = [{"name": n, "version": v, "vulns": [known]} for n, v in pins]
            target.write_text(json.dumps({"dependencies": audited}), encoding="utf-8")
            return ""

        monkeypatch.setattr(subject, "_pip_audit", answer)
        result = audit()
        assert result.returncode == code, result.stderr
        assert ("unknown format" in result.stderr) == (code == 2)
        assert ("locked packages are unknown" in result.stderr) == (code == 2)

    def test_a_missing_tool_is_named(self, audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subject, "find_spec", lambda name: None)
        for options, name in (((), "pip-audit"), (("--sbom", "x.json"), "cyclonedx-bom")):
            failed = audit(*options)
            assert failed.returncode == 2
            assert f"{name} is not installed: uv pip install" in failed.stderr

    @pytest.mark.usefixtures("without_processes")
    def test_a_lock_without_pins_fails_the_audit(
        self, audit: Audit, service: Service, small_project: Path
    ) -> None:
        service.set_answers()
        lock = small_project / "requirements/empty.txt"
        for text in ("", "alpha>=1.0 \\\n    " + HASH + "\n", "alpha==1.0\n", *CONFLICTS):
            lock.write_text(text, encoding="utf-8")
            failed = audit()
            assert failed.returncode == 2, text
            assert "requirements/empty.txt" in failed.stderr
            assert "make lock" in failed.stderr
        lock.unlink()
        assert audit().returncode == 0

    @pytest.mark.usefixtures("without_processes")
    @pytest.mark.parametrize("name", ["run.txt", "audit-ignore.toml"])
    @pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
    def test_a_file_that_is_not_utf_8_is_named(
        self,
        audit_in: Callable[..., Outcome],
        service: Service,
        small_project: Path,
        name: str,
        encoding: str,
    ) -> None:
        service.set_answers()
        file = small_project / "requirements" / name
        text = (file.read_text("utf-8") if file.exists() else "") + "# gepr\xfcft\n"
        file.write_text(text, encoding=encoding)
        failed = audit_in(small_project)
        assert failed.returncode == 2
        assert f"{name} cannot be read: 'utf-8' codec can't decode" in failed.stderr
        assert "next: make it a readable text file in UTF-8" in failed.stderr
        assert service.requested == []
        file.write_text(text, encoding="utf-8")
        assert audit_in(small_project).returncode == 0

    def test_a_folder_in_place_of_a_lock_is_named(self, audit: Audit, small_project: Path) -> None:
        (small_project / "requirements" / "x.txt").mkdir()
        failed = audit()
        assert failed.returncode == 2
        assert "x.txt cannot be read: Is a directory" in failed.stderr

    @pytest.mark.parametrize("options", [(), ("--sbom", "x.json")], ids=["audit", "sbom"])
    def test_a_folder_without_locks_gets_no_advice_about_the_network(
        self, audit_in: Callable[..., Outcome], tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        failed = audit_in(tmp_path, *options)
        assert failed.returncode == 2
        assert "next: change to the project's folder" in failed.stderr
        assert "index" not in failed.stderr


@pytest.mark.usefixtures("without_processes")
class TestIgnoring:
    @pytest.mark.parametrize("name", ["PYSEC-7", "CVE-7"])
    def test_an_entry_suppresses_a_vulnerability_until_its_date(
        self, audit: Audit, service: Service, name: str
    ) -> None:
        service.set_answers(beta_x=[VULNERABILITY])
        for days in (0, 30):
            passed = audit(ignore=entry(days, id=name))
            assert passed.returncode == 0, passed.stderr
            assert f"{name} of beta-x is ignored until" in passed.stdout
        expired = audit(ignore=entry(-1, id=name))
        assert expired.returncode == 1
        assert "which has passed" in expired.stderr

    def test_an_entry_matches_one_vulnerability_of_one_package(
        self, audit: Audit, service: Service
    ) -> None:
        service.set_answers(beta_x=[VULNERABILITY])
        for other in ({"id": "PYSEC-70"}, {"package": "alpha"}):
            result = audit(ignore=entry(30, **other))
            assert result.returncode == 1
            assert "not in any lock: remove it" in result.stdout

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (entry(30, comment="x"), "its keys must be id, package, reason, until"),
            (entry(30).replace("reason", "why"), "its keys must be id, package, reason, until"),
            (entry(30, reason=""), "reason must be a str"),
            (entry(30).replace("until = ", "until = 'soon' # "), "until must be a date"),
            ("ignored = []\n", "may contain only [[ignore]], not ignored"),
            ("ignore = [1]\n", "entry 1: it must be a table with id, package, reason, until"),
            ("ignore = 1\n", "may contain only [[ignore]], not ignore = 1"),
            ("[[ignore\n", "is not valid TOML"),
        ],
    )
    def test_an_invalid_list_is_rejected(
        self, audit: Audit, service: Service, text: str, message: str
    ) -> None:
        service.set_answers()
        refused = audit(ignore=text)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert service.requested == []


class TestBillOfMaterials:
    def test_it_lists_the_packages_that_the_run_lock_pins(
        self, small_project: Path, audit_in: Callable[..., Outcome]
    ) -> None:
        text = (TEMPLATE / "requirements" / "run.txt").read_text(encoding="utf-8")
        (small_project / "requirements" / "run.txt").write_text(text, encoding="utf-8")
        unreachable = "http://127.0.0.1:9"
        result = audit_in(
            small_project,
            "--sbom",
            "build/sbom.json",
            HTTPS_PROXY=unreachable,
            https_proxy=unreachable,
        )
        assert result.returncode == 2, "only the look-up needs the network"
        first = (small_project / "build" / "sbom.json").read_text(encoding="utf-8")
        bill = json.loads(first)
        described = bill["metadata"]["component"]
        assert (described["name"], described["version"]) == ("audited", "0.1.0")
        lines = [
            line.partition(" #")[0]
            for line in text.replace("\\\n", " ").splitlines()
            if line and not line.startswith(("#", " "))
        ]
        assert len(bill["components"]) == len(lines) > 50
        assert f"wrote {len(lines)} packages to build" in result.stdout
        components = {listed["name"].lower(): listed for listed in bill["components"]}
        for line in lines:
            name, version = line.split()[0].split("==")
            component = components[name.partition("[")[0].lower()]
            assert component["version"] == version
            assert component["purl"].lower() == f"pkg:pypi/{component['name'].lower()}@{version}"
            hashes = [h["content"] for r in component["externalReferences"] for h in r["hashes"]]
            assert sorted(hashes) == sorted(
                part.split(":")[1] for part in line.split() if "sha256" in part
            )
        assert "timestamp" not in first
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
        subject.write_sbom(small_project, small_project / "again.json")
        assert (small_project / "again.json").read_text(encoding="utf-8") == first

    @pytest.mark.usefixtures("without_processes")
    def test_it_is_written_even_if_the_audit_finds_a_vulnerability(
        self, audit: Audit, service: Service, small_project: Path
    ) -> None:
        service.set_answers(beta_x=[VULNERABILITY])
        assert audit("--sbom", "sbom.json").returncode == 1
        assert (small_project / "sbom.json").exists()

    def test_it_is_not_written_if_the_run_lock_is_missing(
        self, audit: Audit, service: Service, small_project: Path
    ) -> None:
        (small_project / "requirements" / "run.txt").unlink()
        failed = audit("--sbom", "sbom.json")
        assert failed.returncode == 2
        assert "run.txt cannot be read" in failed.stderr
        assert not (small_project / "sbom.json").exists()

    @pytest.mark.parametrize("text", CONFLICTS)
    def test_it_never_lists_both_sides_of_a_merge_conflict(
        self, audit: Audit, small_project: Path, text: str
    ) -> None:
        (small_project / "requirements" / "run.txt").write_text(text, encoding="utf-8")
        failed = audit("--sbom", "sbom.json")
        assert failed.returncode == 2
        assert re.search(r"run\.txt: a line is not a requirement: .*<<<<<<< HEAD", failed.stderr)
        assert "next: resolve the merge conflicts in it" in failed.stderr
        assert not (small_project / "sbom.json").exists()

    @pytest.mark.parametrize(
        ("line", "version"),
        [
            ("alpha==1.0", "1.0"),
            (f"alpha @ https://files.example/alpha-1.0-py3-none-any.whl {HASH}", None),
            ("alpha @ file:///wheels/alpha-1.0-py3-none-any.whl", None),
        ],
    )
    def test_it_lists_packages_that_the_audit_cannot_look_up(
        self, small_project: Path, line: str, version: str | None
    ) -> None:
        lock, bill = small_project / "requirements/run.txt", small_project / "sbom.json"
        lock.write_text(f"{line}\n", encoding="utf-8")
        with pytest.raises(OperationError, match="pins no version, or has no hashes"):
            subject.read_pins(lock)
        assert subject.write_sbom(small_project, bill) == 1
        (listed,) = json.loads(bill.read_text(encoding="utf-8"))["components"]
        assert (listed["name"], listed.get("version")) == ("alpha", version)
        lock.write_text("", encoding="utf-8")
        assert subject.write_sbom(small_project, bill) == 0

    @pytest.mark.parametrize(
        ("path", "why"), [("src", "Is a directory"), ("pyproject.toml/x.json", "File exists")]
    )
    def test_a_path_that_cannot_be_written_is_named(
        self, audit: Audit, small_project: Path, path: str, why: str
    ) -> None:
        failed = audit("--sbom", path)
        assert failed.returncode == 2
        assert f"{path} cannot be written: {why}" in failed.stderr
        assert "next: name a file, such as --sbom build/sbom.json" in failed.stderr
        assert (small_project / "pyproject.toml").read_text("utf-8") == PYPROJECT

    @pytest.mark.parametrize(
        ("line", "version"),
        [
            ("__version__ = '0.1.0'", "0.1.0"),
            ('__version__: str = "0.2.0"  # next: 0.3', "0.2.0"),
            ("version = '0.1.0'", None),
        ],
    )
    def test_it_has_the_version_of_the_package(
        self, small_project: Path, line: str, version: str | None
    ) -> None:
        source = small_project / "src" / "audited" / "__init__.py"
        source.write_text(f"{line}\n", encoding="utf-8")
        bill = small_project / "sbom.json"
        if version is None:
            with pytest.raises(OperationError, match="the project has no version") as error:
                subject.write_sbom(small_project, bill)
            assert str(source) in str(error.value)
            assert not bill.exists()
            return
        subject.write_sbom(small_project, bill)
        described = json.loads(bill.read_text(encoding="utf-8"))["metadata"]["component"]
        assert described["version"] == version
