"""``deployment.yml`` is read strictly: a message names the file, the key and what is allowed."""

from pathlib import Path

import pytest

from operation.deployment.config import read_deployment
from operation.errors import OperationError
from operation.tests.helpers import Project

ENVIRONMENTS = ("dev", "stage", "prod")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return Project.copy_to(tmp_path_factory.mktemp("deployment") / "project", database)


def test_each_environment_has_endpoints_of_its_own(copied: Project) -> None:
    configs = [read_deployment(copied.path, env) for env in ENVIRONMENTS]
    names = [name for config in configs for name in (config.endpoint, config.batch_endpoint)]
    assert len(set(names)) == 6
    assert all(len(name) <= 32 for name in names)


def test_dev_is_quick_and_prod_is_careful(copied: Project) -> None:
    dev, prod = (read_deployment(copied.path, env) for env in ("dev", "prod"))
    assert (dev.traffic, dev.seconds_between_steps) == ([100], 0)
    assert (prod.traffic, prod.seconds_between_steps) == ([10, 50, 100], 600)


def test_a_long_name_leaves_room_for_batch(copied: Project) -> None:
    long = "a" * 31 + "b"
    copied.configure("stage", "deployment.yml", f"endpoint: {long}\n")
    name = read_deployment(copied.path, "stage").batch_endpoint
    assert name.endswith("-batch")
    assert len(name) <= 32


def test_an_environment_without_an_endpoint_is_told(copied: Project) -> None:
    with pytest.raises(OperationError, match="dev, stage or prod"):
        read_deployment(copied.path, "local")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trafic: [100]", "deployment.yml: unknown key 'trafic'; allowed are endpoint, auth_mode"),
        ("traffic: [10, 50]", "traffic must rise and end with 100"),
        ("traffic: [50, 10, 100]", "traffic must rise and end with 100"),
        ("traffic: []", "traffic must rise and end with 100"),
        ("traffic: [0, 100]", "traffic.0: Input should be greater than or equal to 1 (it is 0)"),
        ("auth_mode: none", "auth_mode: Input should be 'aad_token' or 'key' (it is 'none')"),
        ("instance_count: 0", "instance_count: Input should be greater than or equal to 1"),
        ("mirror: {percent: 60, seconds: 1}", "mirror.percent: Input should be less than or equal"),
        ("keep_old_hours: -1", "keep_old_hours: Input should be greater than or equal to 0"),
        ("metrics: [speed]", "metrics.0: Input should be 'requests', 'errors'"),
        ("batch: {endpoint: x}", "batch.endpoint: Azure takes 3 to 32 letters"),
    ],
)
def test_what_is_wrong_is_named(copied: Project, text: str, said: str) -> None:
    copied.configure("dev", "deployment.yml", f"endpoint: heat\n{text}\n")
    with pytest.raises(OperationError) as error:
        read_deployment(copied.path, "dev")
    assert said in str(error.value)
    assert str(error.value).startswith("operation/configuration/")


@pytest.mark.parametrize("name", ["ab", "1ab", "a_b", "ab-", "a" * 33])
def test_names_that_azure_does_not_take_are_refused(copied: Project, name: str) -> None:
    copied.configure("dev", "deployment.yml", f"endpoint: {name}\n")
    with pytest.raises(OperationError, match=r"dev/deployment\.yml: endpoint: Azure takes 3"):
        read_deployment(copied.path, "dev")


@pytest.mark.parametrize("name", ["abc", "a1-b", "a" * 32])
def test_names_that_azure_takes_are_accepted(copied: Project, name: str) -> None:
    copied.configure("dev", "deployment.yml", f"endpoint: {name}\n")
    assert read_deployment(copied.path, "dev").endpoint == name
