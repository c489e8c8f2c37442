"""The environment of cloud jobs holds exactly what the locks name, by Docker and by conda."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from operation.azureml.config import AzureML, Environment
from operation.azureml.environment import (
    LOCKS,
    entity,
    reference,
    version,
    write_conda_file,
    write_docker_context,
)
from operation.azureml.locks import pins, requirements
from operation.tests.helpers import ROOT

IMAGE = "mcr.microsoft.com/azureml/base:1"
LOCK = """\
# made by a machine
pandas==2.3.3 ; python_full_version < '3.13' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:cc
"""
JOB_LOCK = LOCK + "adlfs==2026.8.0 \\\n    --hash=sha256:dd\n"


def environment(**changes: str) -> Environment:
    given = {"name": "anomalies", "kind": "docker", "image": IMAGE, "python": "3.12"}
    return Environment(**(given | changes))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    for name, text in (("run", LOCK), ("job", JOB_LOCK)):
        (tmp_path / "requirements" / f"{name}.txt").write_text(text, encoding="utf-8")
    dockerfile = "operation/azureml/job.Dockerfile"
    (tmp_path / dockerfile).parent.mkdir(parents=True)
    text = (ROOT / dockerfile).read_text(encoding="utf-8")
    (tmp_path / dockerfile).write_text(text, encoding="utf-8")
    return tmp_path


def add_a_line(name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / name).open("a", encoding="utf-8") as file:
            file.write("# changed\n")

    return change


@pytest.mark.parametrize("name", [*LOCKS, "operation/azureml/job.Dockerfile"])
def test_what_it_is_made_of_makes_the_version(root, name):
    before = version(root, environment())
    assert version(root, environment()) == before

    add_a_line(name)(root)

    assert version(root, environment()) != before


@pytest.mark.parametrize("change", [{"image": "other:1"}, {"python": "3.13"}, {"kind": "conda"}])
def test_what_it_is_built_upon_makes_the_version(root, change):
    assert version(root, environment(**change)) != version(root, environment())


def test_a_job_refers_to_its_version(root):
    config = AzureML(experiment="e", compute="c", environment=environment())

    assert reference(root, config) == f"azureml:anomalies:{version(root, environment())}"


def test_an_environment_that_others_made_stays_as_it_is_called(root):
    config = AzureML(experiment="e", compute="c", environment="azureml:shared@latest")

    assert reference(root, config) == "azureml:shared@latest"


def test_the_docker_context_is_the_dockerfile_and_both_locks(root):
    folder = write_docker_context(root, environment())

    assert folder == root / "build" / "environment"
    assert {file.name for file in folder.iterdir()} == {"Dockerfile", "run.txt", "job.txt"}
    for lock in LOCKS:
        assert (folder / Path(lock).name).read_bytes() == (root / lock).read_bytes()


def test_the_dockerfile_names_the_configured_image_and_python(root):
    text = (write_docker_context(root, environment()) / "Dockerfile").read_text(encoding="utf-8")
    lines = text.splitlines()

    assert lines.index(f"ARG IMAGE={IMAGE}") < lines.index("FROM ${IMAGE}")
    assert lines.index("FROM ${IMAGE}") < lines.index("ARG PYTHON=3.12")
    assert "--require-hashes -r /tmp/run.txt -r /tmp/job.txt" in text


def test_a_second_context_keeps_nothing_of_the_first(root):
    (write_docker_context(root, environment()) / "left.over").touch()

    assert not (write_docker_context(root, environment()) / "left.over").exists()


def test_the_conda_file_has_each_pin_with_its_hashes_once(root):
    conda = yaml.safe_load(write_conda_file(root, environment()).read_text(encoding="utf-8"))

    *programs, packages = conda["dependencies"]
    assert programs == ["python=3.12", "pip>=24"]
    assert packages["pip"] == [
        "adlfs==2026.8.0 --hash=sha256:dd",
        "colorama==0.4.6 ; sys_platform == 'win32' --hash=sha256:cc",
        "pandas==2.3.3 ; python_full_version < '3.13' --hash=sha256:aa --hash=sha256:bb",
    ]


def test_the_projects_own_conda_file_has_all_of_both_locks(root):
    for lock in LOCKS:
        (root / lock).write_bytes((ROOT / lock).read_bytes())

    conda = yaml.safe_load(write_conda_file(root, environment()).read_text(encoding="utf-8"))

    text = "\n".join(conda["dependencies"][-1]["pip"])
    for lock in LOCKS:
        words = (ROOT / lock).read_text(encoding="utf-8").replace("\\", " ").split()
        wanted = [word for word in words if "==" in word or word.startswith("--hash=")]
        assert len(wanted) > 100
        assert [word for word in wanted if word not in text] == []


def test_azures_client_takes_both_kinds(root):
    image = entity(root, environment())._to_rest_object().properties
    conda = entity(root, environment(kind="conda"))._to_rest_object().properties

    assert Path(image["build"]["contextUri"]) == root / "build" / "environment"
    assert conda["image"] == IMAGE
    assert len(yaml.safe_load(conda["condaFile"])["dependencies"][-1]["pip"]) == 3


def test_pins_are_those_of_this_machine(root):
    lock = root / "requirements" / "job.txt"

    assert len(requirements(lock)) == 3
    assert pins(lock)["adlfs"] == "2026.8.0"
    assert ("colorama" in pins(lock)) == (sys.platform == "win32")
