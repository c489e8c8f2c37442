"""Requests and output of `invoke`, with online endpoints and batch endpoints."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, History, Schema
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve.request import Reader
from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer
from tests.plugin.cloud import Result
from tests.plugin.deployed import SCHEMA, hours
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site


def invoke(site: Site, *arguments: str) -> Result:
    return site.call("invoke", "--env", "dev", *arguments)


def sent(azure: StandIn) -> list[dict[str, object]]:
    """Return the rows of the only request."""
    (request,) = [r for r in azure.requests if r.path == "/score"]
    return json.loads(request.body)["data"]


def test_the_example_of_the_model_is_sent_by_default(served: Site, azure: StandIn) -> None:
    result = invoke(served)

    assert result.status == 0, result.err
    head, *rows, total, footer = result.out.splitlines()
    assert head.split() == ["time", "unit", "energy", "is_high"]
    assert [row.split()[1] for row in rows] == ["north"] * 3 + ["south"] * 3
    flagged = sum(row.endswith("True") for row in rows)
    digest = served.registry.version("1").digest
    assert total == f"6 rows, is_high in {flagged}; model 1, {digest[:12]}"
    (name,) = served.deployments
    assert footer == f"invoke: {ENDPOINT}, deployment {name}"
    (request,) = [r for r in azure.requests if r.path == "/score"]
    assert "azureml-model-deployment" not in request.headers


def test_a_table_is_sent_and_the_last_rows_of_each_series_are_shown(
    served: Site, azure: StandIn
) -> None:
    table = hours()
    path = served.project.write("new.csv", table.assign(note="x").to_csv(index=False))

    result = invoke(served, "--input", path)

    assert result.status == 0, result.err
    assert sent(azure) == table[["time", "unit", "load", "pressure"]].to_dict("records")
    _, *rows, total, _ = result.out.splitlines()
    assert [row.split()[1] for row in rows] == ["north"] * 5 + ["south"] * 5
    assert f"{len(table)} rows, is_high in " in total
    assert ", the last 5 of each unit are shown; model 1, " in total


def test_a_json_file_is_sent_unchanged_to_the_named_deployment(
    served: Site, azure: StandIn
) -> None:
    served.deploy("--no-traffic")
    new = next(name for name in served.deployments if name.startswith("v2-"))
    body = served.project.path / "body.json"
    row = {"time": "2024-01-01", "unit": "north", "load": 20, "pressure": 1.5}
    body.write_text(json.dumps({"data": [row]}), encoding="utf-8")

    for option in ("--file", "--input"):
        azure.forget()
        result = invoke(served, option, "body.json", "--deployment", new)

        assert result.status == 0, result.err
        assert result.out.endswith(f"deployment {new}\n")
        (request,) = [r for r in azure.requests if r.path == "/score"]
        assert request.body == body.read_bytes()


def test_a_refusal_of_the_model_is_reported_with_the_field(served: Site) -> None:
    (served.project.path / "bad.json").write_text('{"data": [{}]}', encoding="utf-8")

    result = invoke(served, "--file", "bad.json")

    assert result.status == 1
    assert f"{ENDPOINT} returned 400: data[0].time is missing" in result.err


def test_a_cell_of_the_wrong_type_is_reported_by_the_model(served: Site) -> None:
    path = served.project.write("bad.csv", "time,unit,load,pressure\n2024-01-01,north,warm,1\n")

    result = invoke(served, "--input", path)

    assert result.status == 1
    assert f"{ENDPOINT} returned 400: data[0].load must be a number" in result.err


def test_a_failing_model_is_reported(served: Site, azure: StandIn) -> None:
    azure.endpoints.spoil = lambda _, answer: Answer(503, {})

    result = invoke(served)

    assert result.status == 1
    assert "returned 503" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--file", "none.json"), "There is no file none.json to send"),
        (("--input", "none.csv"), "There is no file none.csv to send"),
        (("--file", "a.json", "--input", "b.csv"), "Give one of --file and --input"),
        (("--batch",), "--batch requires --input PATH"),
        (("--download", "x"), "--download requires --batch"),
        (("--deployment", "v9"), "heat has no deployment v9; existing deployments: v1-"),
    ],
)
def test_invalid_options_are_reported(
    served: Site, arguments: tuple[str, ...], message: str
) -> None:
    answer = invoke(served, *arguments)

    assert answer.status == 2
    assert message in answer.err


def test_a_table_without_a_column_is_not_sent(served: Site, azure: StandIn) -> None:
    path = served.project.write("few.csv", "time,unit,load\n2024-01-01,north,1\n")

    result = invoke(served, "--input", path)

    assert result.status == 2
    assert "has no column pressure: the model needs time, unit, load, pressure" in result.err
    assert not [r for r in azure.requests if r.path == "/score"]


def test_without_a_deployment_nothing_is_sent(site: Site) -> None:
    result = invoke(site)

    assert result.status == 2
    assert f"{ENDPOINT} has no deployment with traffic." in result.err
    assert "next: kedro mlops deploy online --env dev" in result.err


def test_only_rows_that_answers_depend_on_are_sent_and_a_limit_is_reported(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kedro_azure_mlops.deploy import invocation

    messages: list[str] = []
    root = site.project.path
    rows = invocation.newest_rows(root, "dev", SCHEMA, messages.append)
    times = [row["time"] for row in rows]
    assert messages == []
    assert len(times) == 2 * 24 * 2  # two days of two units, of five in the file
    assert times == sorted(times)

    monkeypatch.setattr(invocation, "_MOST_ROWS", 50)
    assert invocation.newest_rows(root, "dev", SCHEMA, messages.append) == rows[-50:]
    (line,) = messages
    assert line == (
        "the last 2 days, which answers depend on, hold 96 rows: only the newest 50 are sent"
    )

    messages.clear()
    file = root / "data/raw/hours.csv"
    assert len(invocation.read_rows(file, SCHEMA, messages.append)) == 50
    assert messages == [f"{file} holds 240 rows: only the newest 50 are sent"]


def test_the_newest_row_of_each_series_is_sent_with_its_history(site: Site) -> None:
    from kedro_azure_mlops.deploy import invocation

    table = hours()
    is_silent = (table["unit"] == "south") & (
        table["time"] > "2024-01-02"
    )  # this unit stopped reporting
    broken = {"time": "soon", "unit": "north", "load": 1, "pressure": 1, "energy": 1}
    table = pd.concat([table[~is_silent], pd.DataFrame([broken])])
    path = site.project.write("gap.csv", table.to_csv(index=False))
    site.project.configure("dev", "parameters.yml", f"raw_file: {path}\nmodel_name: plant-dev\n")
    schema = replace(SCHEMA, history=History(order="time", by="unit", days=1, rows=2))

    rows = invocation.newest_rows(site.project.path, "dev", schema, print)

    assert [row["unit"] for row in rows].count("south") == 3
    assert [row["unit"] for row in rows].count("north") == 24


def test_the_newest_rows_have_the_values_that_models_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kedro_azure_mlops.deploy import invocation

    columns = {"time": "datetime", "name": "string", "is_on": "boolean", "count": "long"}
    inputs = [Column(name, kind, nullable=name != "time") for name, kind in columns.items()]
    schema = Schema((*inputs, Column("load", "double")), (Column("energy", "double"),))
    table = pd.DataFrame(
        {
            "time": ["2024-01-01T00:00:00.123456", "2024-01-02T00:00:00+01:00"],
            "name": ["None", None],
            "is_on": [True, None],
            "count": [7.0, None],
            "load": [1 / 3, 1e-20],
        }
    )
    monkeypatch.setattr(invocation, "_load", lambda *_: table)
    rows = invocation.newest_rows(site.project.path, "dev", schema, print)
    assert rows == [
        {
            "time": "2024-01-01T00:00:00.123456",
            "name": "None",
            "is_on": True,
            "count": 7,
            "load": 1 / 3,
        },
        {
            "time": "2024-01-01T23:00:00",
            "name": None,
            "is_on": None,
            "count": None,
            "load": 1e-20,
        },
    ]
    assert isinstance(rows[0]["count"], int)
    Reader(schema).read(json.dumps({"data": rows}))  # an endpoint accepts them

    for column, value in {"time": "soon", "is_on": "no", "load": math.inf}.items():
        wrong = table.astype({column: object})
        wrong.loc[1, column] = value
        monkeypatch.setattr(invocation, "_load", lambda *_, wrong=wrong: wrong)
        with pytest.raises(OperationError, match=rf"cannot be sent to the model: [^$]*{column}"):
            invocation.newest_rows(site.project.path, "dev", schema, print)


def test_newest_rows_without_the_models_columns_are_refused(site: Site) -> None:
    from kedro_azure_mlops.deploy import invocation

    path = site.project.write("other.csv", "a,b\n1,2\n")
    site.project.configure("dev", "parameters.yml", f"raw_file: {path}\nmodel_name: plant-dev\n")

    with pytest.raises(OperationError, match="raw_hours has no column time, unit, load, pressure"):
        invocation.newest_rows(site.project.path, "dev", SCHEMA, print)
