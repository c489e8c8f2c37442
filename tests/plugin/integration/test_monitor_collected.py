"""``kedro mlops monitor`` judges the answers of an endpoint that Azure ML stored."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.monitor.look import monitor_model
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command
from tests.plugin.helpers import Project
from tests.plugin.registered import set_keys
from tests.plugin.watched import changed, save_watched_model, watched_project, with_answers

AT = pd.Timestamp("2024-03-18 06:00")  # the time of monitoring


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_watched_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def watched(
    model: Path, azure: StandIn, mlops: Command, tmp_path: Path, database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:  # fmt: skip
    """A project whose prod has a champion and an endpoint in the stand-in's workspace."""
    project = watched_project(tmp_path / "watched", model, database)
    names = {
        "subscription_id": azure.subscription,
        "resource_group": azure.resource_group,
        "name": azure.workspace,
    }
    project.configure("prod", "azureml.yml", json.dumps({"workspace": names}))
    set_keys(
        project, "prod", monitoring={"source": "collected"}, deployment={"endpoint": "heat-prod"}
    )
    monkeypatch.chdir(project.path)
    return project


def collect(azure: StandIn, collection: str, rows: list[dict[str, Any]]) -> None:
    """Store rows as Azure does, one request each, answered half an hour before monitoring."""
    (store,) = [
        body["properties"]
        for id, body in azure.resources.items()
        if id.endswith("/datastores/workspaceblobstore")
    ]
    path = f"modelDataCollector/heat-prod/v1/{collection}/2024/03/18/05/i.jsonl"
    lines = [
        json.dumps({"correlationid": str(n), "time": "2024-03-18T05:30:00Z", "data": [row]})
        for n, row in enumerate(rows)
    ]
    key = f"{store['accountName']}/{store['containerName']}/{path}"
    azure.blobs[key] = "\n".join([*lines, '{"cut off']).encode()


def test_collected_answers_can_raise_an_alarm(
    watched: Project, azure: StandIn, model: Path
) -> None:
    rows = changed(by=12, unit="north")
    answers = with_answers(rows[rows["time"] > "2024-03-10"])
    texts = answers.assign(time=answers["time"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    inputs = [name for name in rows.columns if name in texts]
    outputs = texts[["deviation", "is_far"]].assign(
        model_digest=digest(model), is_far=lambda t: t["is_far"].map(bool)
    )
    collect(azure, "model_inputs", json.loads(texts[inputs].to_json(orient="records")))
    collect(azure, "model_outputs", json.loads(outputs.to_json(orient="records")))

    report = monitor_model("prod", since="7D", root=watched.path, now=AT)

    assert report.findings[0].key == "north"
    assert report.drifted
    assert not (watched.path / "data/served").exists()  # nothing was served locally
    assert any("rows that heat-prod answered since" in note for note in report.notes)


def test_no_answers_in_the_judged_time_raise_the_no_traffic_alarm(
    watched: Project, azure: StandIn
) -> None:
    collect(azure, "request", [])

    report = monitor_model("prod", since="7D", root=watched.path, now=AT + pd.Timedelta("60D"))

    assert report.findings[0].kind == "traffic"


def test_without_collected_answers_nothing_is_judged(watched: Project, mlops: Command) -> None:
    result = mlops("monitor", "--env", "prod")

    assert result.status == 2
    assert "has stored no answers of heat-prod" in result.err
