"""The image of online deployments: a Dockerfile, the serving lock, and the wheels that it names."""

import hashlib
from pathlib import Path

import pytest

from kedro_azure_mlops.config import Deployment, ServingEnvironment
from kedro_azure_mlops.deploy.artifact import (
    environment_reference,
    serving_environment,
    write_build_context,
)
from kedro_azure_mlops.errors import OperationError

ENVIRONMENT = ServingEnvironment(name="plant-serving", image="python:3.12-slim")
WHEEL = "kedro_azure_mlops-0.2.0-py3-none-any.whl"
WHEEL_BYTES = b"a wheel"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project whose serving lock names the plugin, with its wheel in ``wheels``."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / WHEEL).write_bytes(WHEEL_BYTES)
    lock(
        tmp_path,
        "numpy==2.0.0",
        f"kedro-azure-mlops==0.2.0:{hashlib.sha256(WHEEL_BYTES).hexdigest()}",
    )
    return tmp_path


def lock(root: Path, *pins: str) -> None:
    lines = []
    for pin in pins:
        name, _, sha = pin.partition(":")
        lines += [f"{name} \\", f"    --hash=sha256:{sha or '0' * 64}"]
    (root / "requirements/serve.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def file_names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_build_context_contains_the_lock_and_the_wheels_that_it_names(root: Path) -> None:
    (root / "wheels/other-1.0-py3-none-any.whl").write_bytes(b"")

    folder = write_build_context(root, ENVIRONMENT)

    assert file_names(folder) == ["Dockerfile", "serve.txt", f"wheels/{WHEEL}"]
    lines = (folder / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "ARG IMAGE=python:3.12-slim" in lines
    text = (root / "requirements/serve.txt").read_text(encoding="utf-8")
    assert (folder / "serve.txt").read_text(encoding="utf-8") == text


def test_no_wheel_is_included_if_the_lock_lacks_the_plugin(root: Path) -> None:
    lock(root, "numpy==2.0.0")
    assert file_names(write_build_context(root, ENVIRONMENT)) == ["Dockerfile", "serve.txt"]


def test_a_changed_wheel_is_rejected(root: Path) -> None:
    (root / "wheels" / WHEEL).write_bytes(b"another")
    with pytest.raises(OperationError, match=f"wheels/{WHEEL} is not the wheel that the locks"):
        write_build_context(root, ENVIRONMENT)


def test_the_version_depends_on_the_lock_and_the_image(root: Path) -> None:
    reference = environment_reference(root, ENVIRONMENT)
    assert reference.startswith("azureml:plant-serving:")
    assert environment_reference(root, ENVIRONMENT) == reference
    other_image = ENVIRONMENT.model_copy(update={"image": "python:3.13-slim"})
    assert environment_reference(root, other_image) != reference
    lock(root, "numpy==2.1.0")
    assert environment_reference(root, ENVIRONMENT) != reference


def test_a_project_without_a_serving_lock_is_rejected(root: Path) -> None:
    (root / "requirements/serve.txt").unlink()
    with pytest.raises(OperationError, match=r"There is no requirements/serve\.txt"):
        environment_reference(root, ENVIRONMENT)


def test_an_environment_must_be_configured() -> None:
    with pytest.raises(OperationError, match=r"names no deployment\.environment"):
        serving_environment(Deployment(endpoint="heat"))
    assert serving_environment(Deployment(endpoint="heat", environment=ENVIRONMENT)) == ENVIRONMENT
