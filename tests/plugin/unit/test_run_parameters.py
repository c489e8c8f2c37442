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


def test_parameters_survive_a_round_trip_through_yaml() -> None:
    assert yaml.safe_load(as_yaml(PARAMETERS)) == PARAMETERS


def test_typed_parameters_are_written_as_plain_values() -> None:
    typed = {"model": ModelParameters(**MODEL)}
    assert yaml.safe_load(as_yaml(typed)) == {"model": MODEL}
    assert dict(flat(typed)) == {f"model.{name}": value for name, value in MODEL.items()}


def run_params(**changes: Any) -> dict[str, Any]:
    return {"run_id": "now", "pipeline_names": [], "runtime_params": {}, **changes}


def test_a_run_without_options_is_tagged_with_the_default_pipeline_only() -> None:
    assert command_tags(run_params()) == {"kedro.run_id": "now", "kedro.pipelines": "__default__"}


def parse_options(monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    """Return the arguments that Kedro's command line parses from options."""
    parsed: dict[str, Any] = {}
    monkeypatch.setattr(kedro_run, "callback", lambda **arguments: parsed.update(arguments))
    result = CliRunner().invoke(kedro_run, options)
    assert result.exit_code == 0, result.output
    return parsed


def test_kedro_parses_the_tags_back_to_the_same_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = [
        *("--tags=a,b", "--nodes=x", "--namespaces=n", "--from-nodes=f", "--to-nodes=t"),
        *("--from-inputs=i", "--to-outputs=o", "--params", "a.b=1,c=d e,f=null"),
    ]
    parsed = parse_options(monkeypatch, *options)
    tags = command_tags(
        run_params(
            tags=parsed["tags"],
            node_names=parsed["node_names"],
            namespaces=parsed["namespaces"],
            from_nodes=parsed["from_nodes"],
            to_nodes=parsed["to_nodes"],
            from_inputs=parsed["from_inputs"],
            to_outputs=parsed["to_outputs"],
            runtime_params=parsed["params"],
            pipeline_names=["p", "q"],
        )
    )
    again = parse_options(
        monkeypatch, *tags["kedro.filters"].split(), "--params", tags["kedro.params"]
    )
    assert again == parsed
    assert tags["kedro.pipelines"] == "p,q"
