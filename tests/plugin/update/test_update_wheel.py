"""An update that only changes the plugin's version: the wheel and its pin in the locks."""

import hashlib
from pathlib import Path

import pytest

from tests.plugin.update.updating import Files, Project, Template, lines

OLD = "wheels/kedro_azure_mlops-0.1.0-py3-none-any.whl"
NEW = "wheels/kedro_azure_mlops-0.2.0-py3-none-any.whl"
NO_LOCKING = "lock:\n\techo no index >&2; exit 1\n"


def wheel(version: str) -> bytes:
    """Incompressible bytes; releases share most of their modules."""
    names = [f"module {number}" for number in range(180)]
    names += [f"module {number} of {version}" for number in range(180, 200)]
    return b"PK\x03\x04" + b"".join(hashlib.sha512(name.encode()).digest() for name in names)


def files(version: str) -> Files:
    """The files that a release of the plugin changes."""
    pin = (
        f"kedro-azure-mlops=={version} \\\n"
        f"    --hash=sha256:{hashlib.sha256(wheel(version)).hexdigest()}\n"
        "    # via -r requirements/run.in\n"
    )
    return {
        f"wheels/kedro_azure_mlops-{version}-py3-none-any.whl": wheel(version),
        "requirements/run.in": f"kedro-azure-mlops=={version}\n" + lines("need", 5),
        "requirements/run.txt": "adlfs==1.0\n" + pin + "zipp==1.0\n",
    }


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template whose second release has another wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    template = Template(folder / "wheels", "https://templates.example/wheels.git")
    template.release("v0.1.0", files("0.1.0") | {"a.py": lines("a"), "Makefile": NO_LOCKING})
    template.release("v0.2.0", files("0.2.0") | {OLD: None})
    return template


@pytest.fixture
def project(template: Template, tmp_path: Path) -> Project:
    """A project made from the first release."""
    return template.project("v0.1.0", tmp_path)


def test_only_the_wheel_and_its_pin_are_replaced(project: Project) -> None:
    before = project.snapshot()["files"]
    outcome = project.update()
    assert outcome.status == 0, outcome.printed
    after = project.snapshot()["files"]
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == {OLD, NEW, "requirements/run.in", "requirements/run.txt", ".cruft.json"}
    assert not project.has(OLD)
    for name, content in files("0.2.0").items():
        assert after[name] == (content if isinstance(content, bytes) else content.encode())
    assert project.update("--abort").status == 0
    assert project.snapshot()["files"] == before


def test_a_users_lock_names_the_new_wheel_even_if_locking_fails(
    project: Project,
) -> None:
    mine = files("0.1.0")["requirements/run.txt"] + "own==3.0\n"
    need = files("0.1.0")["requirements/run.in"] + "own\n"
    project.edit({"requirements/run.txt": mine, "requirements/run.in": need})
    outcome = project.update()
    assert outcome.status == 0, outcome.printed
    assert "no index" in outcome.out
    assert "make lock" in outcome.out
    assert project.has(NEW)
    assert not project.has(OLD)
    expected = files("0.2.0")["requirements/run.txt"] + "own==3.0\n"
    assert project.text("requirements/run.txt") == expected
    assert project.text("requirements/run.in") == files("0.2.0")["requirements/run.in"] + "own\n"
    assert ("locked", "requirements/run.txt") in outcome.report


def test_a_deleted_wheel_is_not_restored(project: Project) -> None:
    project.edit({OLD: None})
    outcome = project.update()
    assert outcome.status == 0, outcome.printed
    assert not project.has(NEW)
    assert NEW in outcome.out
    assert project.text("requirements/run.txt") == files("0.2.0")["requirements/run.txt"]
