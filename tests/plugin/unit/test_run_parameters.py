from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.cli.project import run as kedro_run
from pydantic import BaseModel

from kedro_azure_mlops.hooks.parameters import as_yaml, command_tags, flat

MODEL = {"alpha": 1.5, "seed": 0, "refit_every": None}


class ModelParameters(BaseModel):
    alpha: float
    seed: int
    refit_every: str | None


PARAMETERS = {
    "nothing": None,
    "share": 1e-7,
    "whole": 3.0,
    "words": "007",
    "yes": "yes",
    "list": ["a", 1, None],
    "nested": {"deeper": {"name": "Küche"}},
}


def test_parameters_written_down_are_the_same_when_read_again() -> None:
    assert yaml.safe_load(as_yaml(PARAMETERS)) == PARAMETERS


def test_typed_parameters_are_written_as_they_were_given() -> None:
    typed = {"model": ModelParameters(**MODEL)}
    assert yaml.safe_load(as_yaml(typed)) == {"model": MODEL}
    assert dict(flat(typed)) == {f"model.{name}": value for name, value in MODEL.items()}


def run_params(**asked: Any) -> dict[str, Any]:
    return {"run_id": "now", "pipeline_names": [], "runtime_params": {}, **asked}


def test_a_run_of_everything_is_the_default_pipeline_and_nothing_else() -> None:
    assert command_tags(run_params()) == {"kedro.run_id": "now", "kedro.pipelines": "__default__"}


def asked_by(monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    """Return what Kedro's own command line makes of options."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(kedro_run, "callback", lambda **given: asked.update(given))
    result = CliRunner().invoke(kedro_run, options)
    assert result.exit_code == 0, result.output
    return asked


def test_what_is_written_down_is_asked_again_by_kedro_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = [
        *("--tags=a,b", "--nodes=x", "--namespaces=n", "--from-nodes=f", "--to-nodes=t"),
        *("--from-inputs=i", "--to-outputs=o", "--params", "a.b=1,c=d e,f=null"),
    ]
    given = asked_by(monkeypatch, *options)
    tags = command_tags(
        run_params(
            tags=given["tags"],
            node_names=given["node_names"],
            namespaces=given["namespaces"],
            from_nodes=given["from_nodes"],
            to_nodes=given["to_nodes"],
            from_inputs=given["from_inputs"],
            to_outputs=given["to_outputs"],
            runtime_params=given["params"],
            pipeline_names=["p", "q"],
        )
    )
    again = asked_by(monkeypatch, *tags["kedro.filters"].split(), "--params", tags["kedro.params"])
    assert again == given
    assert tags["kedro.pipelines"] == "p,q"
