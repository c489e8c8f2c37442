"""The Docker or conda environment of cloud jobs has exactly the packages that the locks pin."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.azure.environment import (
    DOCKERFILE,
    entity,
    pins,
    reference,
    requirements,
    version,
    write_conda_file,
    write_docker_context,
)
from kedro_azure_mlops.config import AzureML, Environment
from kedro_azure_mlops.errors import OperationError

LOCKS = ("requirements/run.txt", "requirements/job.txt")
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


def environment(**changes: Any) -> Environment:
    defaults = {"name": "plant", "kind": "docker", "image": IMAGE, "python": "3.12"}
    return Environment(**(defaults | changes))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    for name, text in (("run", LOCK), ("job", JOB_LOCK)):
        (tmp_path / "requirements" / f"{name}.txt").write_text(text, encoding="utf-8")
    shutil.copyfile(DOCKERFILE, tmp_path / "job.Dockerfile")
    return tmp_path


def append_line(name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / name).open("a", encoding="utf-8") as file:
            file.write("# changed\n")

    return change


@pytest.mark.parametrize("name", [*LOCKS, "job.Dockerfile"])
def test_the_version_depends_on_the_locks_and_the_dockerfile(root, name):
    configured = environment(dockerfile="job.Dockerfile")
    before = version(root, configured)
    assert version(root, configured) == before

    append_line(name)(root)

    assert version(root, configured) != before


@pytest.mark.parametrize("change", [{"image": "other:1"}, {"python": "3.13"}, {"kind": "conda"}])
def test_the_version_depends_on_the_image_python_and_kind(root, change):
    assert version(root, environment(**change)) != version(root, environment())


def test_a_job_refers_to_the_version_of_its_environment(root):
    config = AzureML(experiment="e", compute="c", environment=environment())

    assert reference(root, config) == f"azureml:plant:{version(root, environment())}"


def test_a_reference_to_an_existing_environment_is_unchanged(root):
    config = AzureML(experiment="e", compute="c", environment="azureml:shared@latest")

    assert reference(root, config) == "azureml:shared@latest"


def test_the_docker_context_contains_the_dockerfile_and_both_locks(root):
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
    assert lines.index("FROM ${IMAGE}") < lines.index(
        'ARG LOCKS="--require-hashes -r run.txt -r job.txt"'
    )
    assert "--find-links wheels ${LOCKS}" in text


def test_a_second_docker_context_replaces_the_first(root):
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


def add_wheel(root: Path, text: str = "wheel", name: str = "plug_in-1.0-py3-none-any.whl") -> str:
    """Write a wheel to ``wheels/`` and its pin to a lock; return its hash."""
    (root / "wheels").mkdir(exist_ok=True)
    (root / "wheels" / name).write_text(text, encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    with (root / LOCKS[0]).open("a", encoding="utf-8") as lock:
        lock.write(f"plug-in==1.0 \\\n    --hash=sha256:{digest}\n")
    return digest


def test_the_docker_context_contains_only_wheels_that_a_lock_names(root):
    add_wheel(root)
    (root / "wheels" / "other-1.0-py3-none-any.whl").touch()
    (root / "wheels" / "no wheel.whl").touch()

    folder = write_docker_context(root, environment())

    assert [file.name for file in (folder / "wheels").iterdir()] == ["plug_in-1.0-py3-none-any.whl"]


def test_the_version_depends_on_the_bytes_of_a_wheel(root):
    without = version(root, environment())
    add_wheel(root)
    before = version(root, environment())
    assert before != without

    (root / "wheels" / "plug_in-1.0-py3-none-any.whl").write_text("other", encoding="utf-8")

    assert version(root, environment()) != before


def test_a_wheel_that_differs_from_the_lock_is_rejected(root):
    add_wheel(root)
    write_docker_context(root, environment())
    (root / "wheels" / "plug_in-1.0-py3-none-any.whl").write_text("other", encoding="utf-8")

    with pytest.raises(OperationError, match=r"wheels/plug_in-1\.0.*its hash differs"):
        write_docker_context(root, environment())


def test_a_conda_environment_that_needs_a_local_wheel_is_rejected(root):
    conda = environment(kind="conda")
    config = AzureML(compute="c", environment=conda)
    assert reference(root, config)
    add_wheel(root)

    with pytest.raises(OperationError, match=r"plug-in==1\.0 from wheels/.*kind: docker, or put"):
        reference(root, config)

    (root / "wheels" / "plug_in-1.0-py3-none-any.whl").unlink()  # now it comes from an index
    assert "plug-in==1.0" in write_conda_file(root, conda).read_text(encoding="utf-8")


def test_the_configuration_can_name_other_locks(root):
    (root / "requirements.txt").write_text(LOCK, encoding="utf-8")
    configured = environment(locks=["requirements.txt"])

    folder = write_docker_context(root, configured)

    assert {file.name for file in folder.iterdir()} == {"Dockerfile", "requirements.txt"}
    assert 'ARG LOCKS="--require-hashes -r requirements.txt"' in (folder / "Dockerfile").read_text(
        encoding="utf-8"
    )


def test_a_lock_without_hashes_is_installed_without_require_hashes(root):
    (root / "requirements.txt").write_text("kedro==1.7.0\n", encoding="utf-8")

    folder = write_docker_context(root, environment(locks=["requirements.txt"]))

    assert 'ARG LOCKS="-r requirements.txt"' in (folder / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"locks": ["requirements/none.txt"]}, "There is no requirements/none.txt.*make lock"),
        ({"dockerfile": "none.Dockerfile"}, "There is no none.Dockerfile, named under"),
    ],
)
def test_missing_files_are_named(root, changes, message):
    with pytest.raises(OperationError, match=message):
        version(root, environment(**changes))


def test_options_and_addresses_in_a_lock_are_not_pins(root):
    lock = root / "lock.txt"
    lines = ["--index-url https://example.org/simple", "a @ https://example.org/a.whl", "b==1"]
    lock.write_text("\n".join(lines), encoding="utf-8")

    assert pins(lock) == {"b": "1"}


def test_the_azure_client_accepts_both_kinds(root):
    image = entity(root, environment())._to_rest_object().properties
    conda = entity(root, environment(kind="conda"))._to_rest_object().properties

    assert Path(image["build"]["contextUri"]) == root / "build" / "environment"
    assert conda["image"] == IMAGE
    assert len(yaml.safe_load(conda["condaFile"])["dependencies"][-1]["pip"]) == 3


def test_pins_are_those_for_this_platform(root):
    lock = root / "requirements" / "job.txt"

    assert len(requirements(lock)) == 3
    assert pins(lock)["adlfs"] == "2026.8.0"
    assert ("colorama" in pins(lock)) == (sys.platform == "win32")
