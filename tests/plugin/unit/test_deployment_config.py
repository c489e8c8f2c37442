"""The section ``deployment`` is read strictly: messages name file, key and allowed values."""

from pathlib import Path

import pytest

from kedro_azure_mlops.config import deployment_of
from kedro_azure_mlops.errors import OperationError
from tests.plugin.helpers import Project

ENVIRONMENTS = ("dev", "stage", "prod")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return Project.copy_to(tmp_path_factory.mktemp("deployment") / "project", database)


def configure(project: Project, env: str, *lines: str) -> None:
    text = "".join(f"  {line}\n" for line in lines)
    project.configure(env, "mlops.yml", f"deployment:\n{text}")


def test_each_environment_has_endpoints_of_its_own(copied: Project) -> None:
    configs = [deployment_of(copied.path, env) for env in ENVIRONMENTS]
    names = [name for config in configs for name in (config.endpoint, config.batch_endpoint)]
    assert len(set(names)) == 6
    assert all(len(str(name)) <= 32 for name in names)


def test_dev_is_quick_and_prod_is_careful(copied: Project) -> None:
    dev, prod = (deployment_of(copied.path, env) for env in ("dev", "prod"))
    assert (dev.traffic, dev.seconds_between_steps) == ([100], 0)
    assert (prod.traffic, prod.seconds_between_steps) == ([10, 50, 100], 600)


def test_an_environment_overrides_single_keys_of_base(copied: Project) -> None:
    base = copied.path / "conf/base/mlops.yml"
    before = base.read_text(encoding="utf-8")
    try:
        base.write_text(
            f"{before}deployment:\n  instance_type: small\n  instance_count: 2\n", encoding="utf-8"
        )
        configure(copied, "stage", "endpoint: heat", "instance_count: 3")
        found = deployment_of(copied.path, "stage")
    finally:
        base.write_text(before, encoding="utf-8")
    assert (found.instance_type, found.instance_count) == ("small", 3)


def test_a_long_name_leaves_room_for_batch(copied: Project) -> None:
    configure(copied, "stage", f"endpoint: {'a' * 31}b")
    name = deployment_of(copied.path, "stage").batch_endpoint
    assert name.endswith("-batch")
    assert len(name) <= 32


def test_a_batch_endpoint_may_have_a_name_of_its_own(copied: Project) -> None:
    configure(copied, "stage", "endpoint: heat", "batch: {compute: cpu, endpoint: nightly}")
    assert deployment_of(copied.path, "stage").batch_endpoint == "nightly"


def test_an_environment_without_an_endpoint_is_named(copied: Project) -> None:
    with pytest.raises(
        OperationError, match=r"^conf/local/mlops\.yml names no deployment\.endpoint.*prod"
    ):
        deployment_of(copied.path, "local")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trafic: [100]", "deployment: unknown key 'trafic'; allowed are endpoint, target"),
        ("traffic: [10, 50]", "traffic must rise and end with 100"),
        ("traffic: [50, 10, 100]", "traffic must rise and end with 100"),
        ("traffic: []", "traffic must rise and end with 100"),
        ("traffic: [0, 100]", "traffic.0: must be greater than or equal to 1 (it is 0)"),
        ("auth_mode: none", "auth_mode: must be 'aad_token' or 'key' (it is 'none')"),
        ("instance_count: 0", "instance_count: must be greater than or equal to 1"),
        ("mirror: {percent: 60, seconds: 1}", "mirror.percent: must be less than or equal"),
        ("keep_old_hours: -1", "keep_old_hours: must be greater than or equal to 0"),
        ("metrics: [speed]", "metrics.0: must be 'requests', 'errors'"),
        ("batch: {endpoint: x}", "batch.endpoint: Azure allows 3 to 32 letters"),
        ("batch: {pipeline: score}", "batch.compute: is missing"),
        ("environment: {name: serving}", "environment.image: is missing"),
        ("target: edge", "target: must be 'managed' or 'kubernetes' (it is 'edge')"),
        ("kubernetes: {instance_type: small}", "kubernetes.compute: is missing"),
        ("kubernetes: {compute: aks, limits: {cpu: 1}}", "kubernetes.limits.memory: is missing"),
    ],
)
def test_what_is_wrong_is_named(copied: Project, text: str, said: str) -> None:
    configure(copied, "dev", "endpoint: heat", text)
    with pytest.raises(OperationError) as error:
        deployment_of(copied.path, "dev")
    assert said in str(error.value)
    assert str(error.value).startswith("conf/dev/mlops.yml: deployment")


@pytest.mark.parametrize("name", ["ab", "1ab", "a_b", "ab-", "a" * 33])
def test_names_that_azure_does_not_take_are_refused(copied: Project, name: str) -> None:
    configure(copied, "dev", f"endpoint: {name}")
    with pytest.raises(
        OperationError, match=r"dev/mlops\.yml: deployment\.endpoint: Azure allows 3"
    ):
        deployment_of(copied.path, "dev")


@pytest.mark.parametrize("name", ["abc", "a1-b", "a" * 32])
def test_names_that_azure_takes_are_accepted(copied: Project, name: str) -> None:
    configure(copied, "dev", f"endpoint: {name}")
    assert deployment_of(copied.path, "dev").endpoint == name


@pytest.mark.parametrize("cpu", ["2", "0.5", "500m", 2, 0.5])
@pytest.mark.parametrize("memory", ["512Mi", "1.5Gi", "2G", "134217728"])
def test_quantities_that_kubernetes_takes_are_accepted(
    copied: Project, cpu: str | float, memory: str
) -> None:
    requests = f"{{cpu: {cpu}, memory: '{memory}'}}"
    cluster = f"kubernetes: {{compute: aks, requests: {requests}}}"
    configure(copied, "dev", "endpoint: heat", "target: kubernetes", cluster)
    found = deployment_of(copied.path, "dev").cluster
    assert found is not None
    assert (found.requests.cpu, found.requests.memory) == (str(cpu), memory)
    assert deployment_of(copied.path, "dev", "managed").cluster is None
