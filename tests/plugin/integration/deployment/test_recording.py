"""Azure records the answers of an endpoint by its data collector and Application Insights."""

import json
from typing import Any

import pandas as pd
import pytest
import yaml

from kedro_azure_mlops.azure.collected import collect_answers
from kedro_azure_mlops.contract import read_contract
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.monitor.served import read_served
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import changes
from tests.plugin.deployed import SCHEMA
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site

COLLECTED = f"/modelDataCollector/{ENDPOINT}/"


def record(site: Site, **keys: Any) -> None:
    """Write the section ``recording`` of dev."""
    file = site.project.path / "conf/dev/mlops.yml"
    configuration = yaml.safe_load(file.read_text(encoding="utf-8"))
    site.project.configure("dev", "mlops.yml", yaml.safe_dump(configuration | {"recording": keys}))


def with_collector(site: Site) -> None:
    """Add the package that passes columns to the collector to the serving lock."""
    lock = site.project.path / "requirements/serve.txt"
    pin = f"azureml-ai-monitoring==1.0.0 \\\n    --hash=sha256:{'0' * 64}\n"
    lock.write_text(lock.read_text(encoding="utf-8") + pin, encoding="utf-8")


def created(site: Site) -> Any:
    (body,) = site.put("deployments")
    return body["properties"]


def stored(azure: StandIn, collection: str) -> list[Any]:
    """Return the lines that Azure has stored in a collection."""
    names = [name for name in azure.blobs if COLLECTED in name and f"/{collection}/" in name]
    return [json.loads(line) for name in names for line in azure.blobs[name].splitlines()]


def test_nothing_is_recorded_unless_recording_is_enabled(site: Site, azure: StandIn) -> None:
    assert site.deploy().status == 0
    assert created(site)["appInsightsEnabled"] is False
    assert created(site).get("dataCollector") is None
    assert stored(azure, "request") == []


def test_whole_bodies_are_stored_without_a_package(site: Site, azure: StandIn) -> None:
    record(site, enabled=True, share=0.5)

    result = site.deploy()

    assert result.status == 0, result.err
    assert "its request and response are stored in the workspace" in result.out
    assert created(site)["appInsightsEnabled"] is True
    collector = created(site)["dataCollector"]
    assert {name: one["samplingRate"] for name, one in collector["collections"].items()} == {
        "request": 0.5,
        "response": 0.5,
    }
    modes = {one["dataCollectionMode"].lower() for one in collector["collections"].values()}
    assert (modes, collector["rollingRate"].lower()) == ({"enabled"}, "hour")


def test_stored_bodies_are_those_of_the_request_and_its_response(
    site: Site, azure: StandIn
) -> None:
    record(site, enabled=True)
    site.deploy()
    before = len(stored(azure, "request"))

    assert site.call("invoke", "--env", "dev").status == 0

    request, response = stored(azure, "request")[before], stored(azure, "response")[before]
    assert request["correlationid"] == response["correlationid"]
    assert len(request["data"]["data"]) == len(response["data"]["data"]) > 0
    assert response["data"]["model"]["digest"] == site.registry.version("1").digest


def test_columns_are_stored_if_the_lock_has_the_package(site: Site, azure: StandIn) -> None:
    with_collector(site)
    record(site, enabled=True, share=0.5, leave_out=["unit"])

    assert site.deploy().status == 0

    assert set(created(site)["dataCollector"]["collections"]) == {"model_inputs", "model_outputs"}
    rates = [one["samplingRate"] for one in created(site)["dataCollector"]["collections"].values()]
    assert rates == [1.0, 1.0]  # the entry script applies the share, to inputs and outputs together
    variables = created(site)["environmentVariables"]
    assert variables["RECORD_LEAVE_OUT"] == '["unit"]'
    assert variables["RECORD_SHARE"] == "0.5"
    assert stored(azure, "request") == []


def test_bodies_with_columns_that_must_not_be_stored_are_refused(
    site: Site, azure: StandIn
) -> None:
    record(site, enabled=True, leave_out=["unit"])

    result = site.deploy()

    assert result.status == 2
    assert "recording.leave_out in mlops.yml names unit" in result.err
    assert "azureml-ai-monitoring" in result.err
    assert changes(azure) == azure.uploads == []


def test_enabling_recording_creates_a_deployment_and_disabling_it_restores_the_old(
    served: Site,
) -> None:
    served.registry.champion_number = "1"
    (first,) = served.deployments
    record(served, enabled=True)
    assert served.deploy().status == 0
    assert len(served.deployments) == 2

    record(served, enabled=False, share=0.5)  # the share only matters if recording is enabled
    assert served.deploy().status == 0
    assert served.traffic == {first: 100}


@pytest.mark.parametrize("share", [0, 1.5])
def test_an_impossible_share_is_refused(site: Site, azure: StandIn, share: float) -> None:
    record(site, enabled=True, share=share)

    result = site.deploy()

    assert result.status == 2
    assert "recording.share" in result.err
    assert changes(azure) == []


def served_rows(site: Site, **since: Any) -> tuple[pd.DataFrame, list[str]]:
    """Download the answers that Azure has collected, and read them like recorded answers."""
    messages: list[str] = []
    start = pd.Timestamp.now("UTC") - pd.Timedelta("2h")
    folder = collect_answers(
        "dev", SCHEMA, **({"since": start} | since), root=site.project.path, say=messages.append
    )
    return read_served(folder, SCHEMA).rows, messages


def test_collected_bodies_are_read_like_recorded_rows(site: Site) -> None:
    record(site, enabled=True)
    site.deploy()
    site.call("invoke", "--env", "dev")

    rows, messages = served_rows(site)

    example = read_contract(site.registry.folders["1"])
    assert len(rows) == len(example.example)  # the smoke tests sent the same rows, which count once
    assert set(rows["model_digest"]) == {site.registry.version("1").digest}
    expected = sorted(row["energy"] for row in example.answer)
    assert sorted(rows["energy"]) == pytest.approx(expected)
    assert sorted(rows["load"]) == sorted(row["load"] for row in example.example)
    assert messages[0].startswith(
        "24 rows that heat answered since"
    )  # three requests of the rollout, one call


def put_lines(azure: StandIn, collection: str, *events: dict[str, Any], hour: str) -> None:
    store = [b for i, b in azure.resources.items() if i.endswith("/datastores/workspaceblobstore")]
    container = store[0]["properties"]["containerName"]
    account = store[0]["properties"]["accountName"]
    name = f"{account}/{container}/modelDataCollector/{ENDPOINT}/v1/{collection}/{hour}/i.jsonl"
    azure.blobs[name] = "".join(json.dumps(one) + "\n" for one in events).encode()


def event(id: str, data: Any, **more: Any) -> dict[str, Any]:
    return {"correlationid": id, "time": "2026-11-29T10:59:59Z", "data": data, **more}


def test_collected_columns_are_read_without_those_that_were_left_out(
    site: Site, azure: StandIn
) -> None:
    inputs = [{"time": "2026-11-29T10:00:00", "load": 1.0, "pressure": None}]
    outputs = [{"model_digest": "d1", "latency_ms": 2.5, "energy": 7.0, "is_high": True}]
    put_lines(azure, "model_inputs", event("a", inputs), event("b", inputs), hour="2026/11/29/10")
    late = event("c", None, datainblob="true")
    put_lines(azure, "model_outputs", event("a", outputs), late, hour="2026/11/29/11")

    rows, messages = served_rows(site, since=pd.Timestamp("2026-11-29 10:30"))

    (row,) = rows.to_dict("records")
    assert (row["load"], row["energy"], row["latency_ms"]) == (1.0, 7.0, 2.5)
    assert row["unit"] is None
    assert row["request_id"] == "a"
    assert messages[1:] == [
        "left out: 1 requests or answers have no counterpart",
        "left out: 1 are too large for a line of the collector",
    ]


def test_answers_are_paired_by_the_id_of_the_request_if_there_is_no_other(
    site: Site, azure: StandIn
) -> None:
    """Events without any id in common would be paired in the order of their arrival."""

    def request(id: str, load: float) -> dict[str, Any]:
        row = {"time": "2026-11-29T10:00:00", "unit": id, "load": load, "pressure": 1.0}
        return event("", [row], xrequestid=id)

    def answer(id: str, energy: float) -> dict[str, Any]:
        return event("", [{"model_digest": "d1", "energy": energy, "is_high": True}], xrequestid=id)

    put_lines(azure, "model_inputs", request("a", 1.0), request("b", 2.0), hour="2026/11/29/10")
    put_lines(azure, "model_outputs", answer("b", 20.0), answer("a", 10.0), hour="2026/11/29/10")
    rows, _ = served_rows(site, since=pd.Timestamp("2026-11-29 10:00"))
    assert rows.set_index("load")["energy"].to_dict() == {1.0: 10.0, 2.0: 20.0}


def test_older_hours_are_not_downloaded(site: Site, azure: StandIn) -> None:
    inputs = [{"time": "2026-11-29T10:00:00", "unit": "u", "load": 1.0, "pressure": 1.0}]
    outputs = [{"model_digest": "d1", "energy": 7.0, "is_high": True}]
    put_lines(azure, "model_inputs", event("a", inputs), hour="2026/11/29/10")
    put_lines(azure, "model_outputs", event("a", outputs), hour="2026/11/29/10")

    assert len(served_rows(site, since=pd.Timestamp("2026-11-29 10:59"))[0]) == 1
    rows, messages = served_rows(site, since=pd.Timestamp("2026-11-29 11:00"))
    assert (len(rows), messages) == (0, ["0 rows that heat answered since 2026-11-29 11:00 UTC"])


def test_an_endpoint_without_collected_answers_is_refused(site: Site) -> None:
    with pytest.raises(OperationError, match="has stored no answers of heat"):
        served_rows(site)


def test_answers_of_a_model_with_other_columns_are_counted(site: Site, azure: StandIn) -> None:
    good = [{"time": "2026-11-29T10:00:00", "unit": "u", "load": 1.0, "pressure": 1.0}]
    answer = {"model": {"digest": "d1"}, "data": [{"energy": 7.0, "is_high": True}]}
    bodies = [event("a", {"data": good}), event("b", {"data": [{"other": 1}]}),
              event("c", json.dumps({"data": good}))]  # fmt: skip
    refused = event("d", {"error": {"field": "data", "message": "is missing"}})
    put_lines(azure, "request", *bodies, event("d", {}), hour="2026/11/29/10")
    answers = [event(id, answer) for id in "ab"] + [event("c", json.dumps(answer)), refused]
    put_lines(azure, "response", *answers, hour="2026/11/29/10")

    rows, messages = served_rows(site, since=pd.Timestamp("2026-11-29 10:00"))

    assert messages == [
        "2 rows that heat answered since 2026-11-29 10:00 UTC",
        "left out: 1 belong to a model with different columns, or cannot be read",
    ]
    assert len(rows) == 1  # same unit and time, so one row
