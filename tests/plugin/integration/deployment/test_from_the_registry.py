"""From a registered champion to scores, with the registry that a new project has."""

from pathlib import Path

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.registry import open_registry
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, properties
from tests.plugin.deployed import SCORER, save_linear_model
from tests.plugin.helpers import Project


def test_the_champion_of_mlflow_is_deployed(
    cloud_project: Project, azure: StandIn, mlops: Command, tmp_path: Path
) -> None:
    model = save_linear_model(tmp_path / "model")
    registry = open_registry("dev", cloud_project.path)
    version = registry.register(model, {"digest": digest(model)})
    registry.make_champion(version, "by the test")
    text = (cloud_project.path / "conf/dev/mlops.yml").read_text(encoding="utf-8")
    cloud_project.configure("dev", "mlops.yml", f"scorer: {SCORER}\n{text}")

    result = mlops("deploy", "online", "--env", "dev")

    assert result.status == 0, result.err
    (name,) = properties(azure, "onlineEndpoints/plant-dev")["traffic"]
    (answer,) = {mlops("invoke", "--env", "dev").out.splitlines()[-1]}
    assert answer == f"invoke: plant-dev, deployment {name}"


def test_the_model_of_a_run_is_deployed_without_a_scorer_of_the_project(
    cloud_project: Project, azure: StandIn, mlops: Command
) -> None:
    cloud_project.run(env="dev")

    result = mlops("deploy", "online", "--env", "dev")

    assert result.status == 0, result.err
    head, *rows, total, _ = mlops("invoke", "--env", "dev").out.splitlines()
    assert head.split() == ["prediction"]
    assert len(rows) == 3
    assert total.startswith("3 rows; model 1, ")
