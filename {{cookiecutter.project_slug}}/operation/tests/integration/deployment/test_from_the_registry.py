"""From a registered champion to scores, with the registry that a new project has."""

from pathlib import Path

from {{ cookiecutter.package_name }}.models import digest

from operation.registry import open_registry
from operation.tests.azure import StandIn
from operation.tests.cloud import Verb, found
from operation.tests.helpers import Project
from operation.tests.trained import save_small_model


def test_the_champion_of_mlflow_is_deployed(
    cloud_project: Project, azure: StandIn, verb: Verb, tmp_path: Path
) -> None:
    model = save_small_model(tmp_path / "model")
    registry = open_registry("dev", cloud_project.path)
    version = registry.register(model, {"digest": digest(model)})
    registry.make_champion(version, "by the test")
    cloud_project.configure("dev", "deployment.yml", "endpoint: heat\ntraffic: [100]\n")

    said = verb("deploy", "online", "--env", "dev")

    assert said.status == 0, said.err
    (name,) = found(azure, "onlineEndpoints/heat")["traffic"]
    (answer,) = {verb("invoke", "--env", "dev").out.splitlines()[-1]}
    assert answer == f"invoke: heat, deployment {name}"
