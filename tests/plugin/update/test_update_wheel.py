"""An update that is a version bump: another wheel, its pin in the locks, and nothing else."""

import hashlib
from pathlib import Path

import pytest

from tests.plugin.update.updating import Files, Project, Template, lines

OLD = "wheels/kedro_azure_mlops-0.1.0-py3-none-any.whl"
NEW = "wheels/kedro_azure_mlops-0.2.0-py3-none-any.whl"
NO_LOCKING = "lock:\n\techo no index >&2; exit 1\n"


def wheel(version: str) -> bytes:
    """Bytes as a compressed archive has them; releases have most of their modules in common."""
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


def test_the_wheel_and_its_pin_are_replaced_and_nothing_else(project: Project) -> None:
    before = project.picture()["files"]
    done = project.update()
    assert done.status == 0, done.said
    after = project.picture()["files"]
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == {OLD, NEW, "requirements/run.in", "requirements/run.txt", ".cruft.json"}
    assert not project.has(OLD)
    for name, content in files("0.2.0").items():
        assert after[name] == (content if isinstance(content, bytes) else content.encode())
    assert project.update("--abort").status == 0
    assert project.picture()["files"] == before


def test_locks_of_the_users_own_name_the_new_wheel_even_if_none_can_be_made(
    project: Project,
) -> None:
    mine = files("0.1.0")["requirements/run.txt"] + "own==3.0\n"
    need = files("0.1.0")["requirements/run.in"] + "own\n"
    project.edit({"requirements/run.txt": mine, "requirements/run.in": need})
    done = project.update()
    assert done.status == 0, done.said
    assert "no index" in done.out
    assert "make lock" in done.out
    assert project.has(NEW)
    assert not project.has(OLD)
    expected = files("0.2.0")["requirements/run.txt"] + "own==3.0\n"
    assert project.text("requirements/run.txt") == expected
    assert project.text("requirements/run.in") == files("0.2.0")["requirements/run.in"] + "own\n"
    assert ("locked", "requirements/run.txt") in done.report


def test_a_team_on_an_index_of_its_own_gets_no_wheel_back(project: Project) -> None:
    project.edit({OLD: None})
    done = project.update()
    assert done.status == 0, done.said
    assert not project.has(NEW)
    assert NEW in done.out
    assert project.text("requirements/run.txt") == files("0.2.0")["requirements/run.txt"]
