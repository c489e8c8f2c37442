"""The section ``deployment`` is read strictly: messages name file, key and allowed values."""

from pathlib import Path

import pytest

from kedro_azure_mlops.config import deployment_of
from kedro_azure_mlops.errors import OperationError
from tests.plugin.helpers import Project

ENVIRONMENTS = ("dev", "stage", "prod")


@pytest.fixture(scope="module")
def project_copy(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return Project.copy_to(tmp_path_factory.mktemp("deployment") / "project", database)


def configure(project: Project, env: str, *lines: str) -> None:
    text = "".join(f"  {line}\n" for line in lines)
    project.configure(env, "mlops.yml", f"deployment:\n{text}")


def test_each_environment_has_its_own_endpoints(project_copy: Project) -> None:
    configs = [deployment_of(project_copy.path, env) for env in ENVIRONMENTS]
    names = [name for config in configs for name in (config.endpoint, config.batch_endpoint)]
    assert len(set(names)) == 6
    assert all(len(str(name)) <= 32 for name in names)


def test_dev_moves_all_traffic_in_one_step_and_prod_gradually(project_copy: Project) -> None:
    dev, prod = (deployment_of(project_copy.path, env) for env in ("dev", "prod"))
    assert (dev.traffic, dev.seconds_between_steps) == ([100], 0)
    assert (prod.traffic, prod.seconds_between_steps) == ([10, 50, 100], 600)


def test_an_environment_overrides_single_keys_of_base(project_copy: Project) -> None:
    base = project_copy.path / "conf/base/mlops.yml"
    before = base.read_text(encoding="utf-8")
    try:
        base.write_text(
            f"{before}deployment:\n  instance_type: small\n  instance_count: 2\n", encoding="utf-8"
        )
        configure(project_copy, "stage", "endpoint: heat", "instance_count: 3")
        config = deployment_of(project_copy.path, "stage")
    finally:
        base.write_text(before, encoding="utf-8")
    assert (config.instance_type, config.instance_count) == ("small", 3)


def test_a_long_endpoint_name_is_shortened_for_the_batch_suffix(project_copy: Project) -> None:
    configure(project_copy, "stage", f"endpoint: {'a' * 31}b")
    name = deployment_of(project_copy.path, "stage").batch_endpoint
    assert name.endswith("-batch")
    assert len(name) <= 32


def test_a_batch_endpoint_may_have_its_own_name(project_copy: Project) -> None:
    configure(project_copy, "stage", "endpoint: heat", "batch: {compute: cpu, endpoint: nightly}")
    assert deployment_of(project_copy.path, "stage").batch_endpoint == "nightly"


def test_an_environment_without_an_endpoint_is_named(project_copy: Project) -> None:
    with pytest.raises(
        OperationError, match=r"^conf/local/mlops\.yml does not set deployment\.endpoint.*prod"
    ):
        deployment_of(project_copy.path, "local")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trafic: [100]", "deployment: unknown key 'trafic'; allowed keys: endpoint, target"),
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
def test_invalid_keys_and_values_are_named(project_copy: Project, text: str, message: str) -> None:
    configure(project_copy, "dev", "endpoint: heat", text)
    with pytest.raises(OperationError) as error:
        deployment_of(project_copy.path, "dev")
    assert message in str(error.value)
    assert str(error.value).startswith("conf/dev/mlops.yml: deployment")


@pytest.mark.parametrize("name", ["ab", "1ab", "a_b", "ab-", "a" * 33])
def test_endpoint_names_that_azure_forbids_are_rejected(project_copy: Project, name: str) -> None:
    configure(project_copy, "dev", f"endpoint: {name}")
    with pytest.raises(
        OperationError, match=r"dev/mlops\.yml: deployment\.endpoint: Azure allows 3"
    ):
        deployment_of(project_copy.path, "dev")


@pytest.mark.parametrize("name", ["abc", "a1-b", "a" * 32])
def test_endpoint_names_that_azure_allows_are_accepted(project_copy: Project, name: str) -> None:
    configure(project_copy, "dev", f"endpoint: {name}")
    assert deployment_of(project_copy.path, "dev").endpoint == name


@pytest.mark.parametrize("cpu", ["2", "0.5", "500m", 2, 0.5])
@pytest.mark.parametrize("memory", ["512Mi", "1.5Gi", "2G", "134217728"])
def test_kubernetes_quantities_are_accepted(
    project_copy: Project, cpu: str | float, memory: str
) -> None:
    requests = f"{{cpu: {cpu}, memory: '{memory}'}}"
    cluster = f"kubernetes: {{compute: aks, requests: {requests}}}"
    configure(project_copy, "dev", "endpoint: heat", "target: kubernetes", cluster)
    configured = deployment_of(project_copy.path, "dev").cluster
    assert configured is not None
    assert (configured.requests.cpu, configured.requests.memory) == (str(cpu), memory)
    assert deployment_of(project_copy.path, "dev", "managed").cluster is None
