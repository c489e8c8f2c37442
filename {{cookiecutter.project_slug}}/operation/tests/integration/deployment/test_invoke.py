"""What `invoke` sends and prints, of online endpoints and of batch endpoints."""

import json

import pytest
import yaml

from operation.tests.azure import StandIn
from operation.tests.azure.messages import Answer
from operation.tests.cloud import Said
from operation.tests.integration.deployment.conftest import ENDPOINT, Site
from operation.tests.trained import readings


def invoke(site: Site, *arguments: str) -> Said:
    return site.call("invoke", "--env", "dev", *arguments)


@pytest.fixture
def known(served: Site) -> Site:
    """A deployment that knows the sensors of the newest readings."""
    path = served.project.write("new.csv", readings().to_csv(index=False))
    served.project.configure("dev", "parameters.yml", yaml.safe_dump({"raw_file": path}))
    return served


def test_the_newest_readings_are_scored(known: Site, azure: StandIn) -> None:
    said = invoke(known)

    assert said.status == 0, said.err
    head, *rows, total, asked = said.out.splitlines()
    assert head.split() == ["timestamp", "sensor_id", "score", "is_anomaly"]
    assert [row.split()[-3] for row in rows] == ["hall"] * 5 + ["7"] * 5
    assert total.startswith("1200 readings, ")
    assert f"model 1, {known.registry.version('1').digest[:12]}" in total
    (name,) = known.deployments
    assert asked == f"invoke: {ENDPOINT}, deployment {name}"
    (request,) = [r for r in azure.requests if r.path == "/score"]
    assert "azureml-model-deployment" not in request.headers


def test_a_file_is_sent_as_it_is_to_the_deployment_that_is_named(
    known: Site, azure: StandIn
) -> None:
    known.deploy("--no-traffic")
    new = next(name for name in known.deployments if name.startswith("v2-"))
    body = known.project.path / "body.json"
    row = {"timestamp": "2024-01-01", "sensor_id": "hall", "temperature": 20}
    body.write_text(json.dumps({"data": [row]}), encoding="utf-8")
    azure.forget()

    said = invoke(known, "--file", "body.json", "--deployment", new)

    assert said.status == 0
    assert said.out.endswith(f"deployment {new}\n")
    (request,) = [r for r in azure.requests if r.path == "/score"]
    assert request.body == body.read_bytes()


def test_what_the_model_refuses_is_told_with_its_field(known: Site) -> None:
    (known.project.path / "bad.json").write_text('{"data": [{}]}', encoding="utf-8")

    said = invoke(known, "--file", "bad.json")

    assert said.status == 1
    assert f"{ENDPOINT} answers 400: data[0].timestamp is missing" in said.err


def test_a_model_that_fails_is_told(known: Site, azure: StandIn) -> None:
    azure.endpoints.spoil = lambda _, answer: Answer(503, {})

    said = invoke(known)

    assert said.status == 1
    assert "answers 503" in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--file", "none.json"), "There is no file none.json to send"),
        (("--batch",), "Write: invoke --batch --input PATH"),
        (("--input", "x"), "--input and --download go with --batch"),
    ],
)
def test_what_cannot_be_sent_is_told(known: Site, arguments: tuple[str, ...], said: str) -> None:
    answer = invoke(known, *arguments)

    assert answer.status == 2
    assert said in answer.err


def test_without_an_endpoint_there_is_nobody_to_ask(site: Site) -> None:
    said = invoke(site)

    assert said.status == 2
    assert "asking for the address and a token of heat" in said.err


def test_no_more_than_scores_depend_on_is_sent_and_a_cut_is_said(
    known: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operation.deployment import invocation

    said: list[str] = []
    monkeypatch.setattr(invocation, "_MOST_ROWS", 100)
    body = invocation.newest_readings(known.project.path, "dev", said.append)
    assert len(json.loads(body)["data"]) == 100
    (line,) = said
    assert "last 17 days" in line
    assert line.endswith("hold 1,200 readings: only the newest 100 are sent")

    said.clear()
    monkeypatch.setattr(invocation, "_MOST_ROWS", 1200)
    body = invocation.newest_readings(known.project.path, "dev", said.append)
    assert (len(json.loads(body)["data"]), said) == (1200, [])
