"""Input and output columns reach Azure's data collector without delaying or failing an answer."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, Schema
from kedro_azure_mlops.serve import answers, collector, score

SCHEMA = Schema(
    inputs=(Column("load", "double"), Column("place", "string"), Column("at", "datetime")),
    outputs=(Column("energy", "double"), Column("is_high", "boolean")),
)
INPUTS = {
    "load": np.array([1.0, np.nan]),
    "place": np.array(["a", "b"], object),
    "at": np.array(["2026-01-01T00:00:01", "NaT"], "datetime64[us]"),
}
ANSWERS = [[2.5, None], [True, None]]


class FakePackage(types.ModuleType):
    """The used part of ``azureml-ai-monitoring``, which behaves as in 1.0.0."""

    def __init__(self) -> None:
        super().__init__("azureml.ai.monitoring")
        self.collected: list[tuple[str, pd.DataFrame, str]] = []
        self.fault = ""
        package = self

        class BasicCorrelationContext:
            def __init__(self, id: str) -> None:
                self.id = id

        class Collector:
            def __init__(self, *, name: str, on_error: Any) -> None:
                self.name, self.on_error = name, on_error

            def collect(self, data: pd.DataFrame, context: Any) -> Any:
                if package.fault:
                    self.on_error(Exception(package.fault))
                elif not isinstance(data, pd.DataFrame):
                    self.on_error(TypeError("data type not supported"))
                else:
                    package.collected.append((self.name, data, context.id))
                return context

        self.Collector = Collector
        self.context = types.ModuleType("azureml.ai.monitoring.context")
        self.context.BasicCorrelationContext = BasicCorrelationContext  # type: ignore[attr-defined]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> FakePackage:
    fake = FakePackage()
    for name in ("azureml", "azureml.ai"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setitem(sys.modules, fake.context.__name__, fake.context)
    return fake


@pytest.fixture
def configure_azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write Azure's file of collections and set the variable that points to it."""

    def write(*names: str, **variables: str) -> None:
        file = tmp_path / "mdc.json"
        entries = {name: {"enabled": True} for name in names}
        file.write_text(json.dumps({"collections": entries}), encoding="utf-8")
        monkeypatch.setenv(collector.CONFIG, str(file))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return write


def test_inputs_and_outputs_of_a_request_are_collected_together(
    package: FakePackage, configure_azure: Any
) -> None:
    configure_azure("model_inputs", "model_outputs")
    recorder = collector.open_collector(SCHEMA, "d1")
    assert recorder is not None

    recorder.put("r1", 0.25, INPUTS, ANSWERS)

    (inputs, outputs) = package.collected
    assert [inputs[0], inputs[2]] == ["model_inputs", "r1"]
    assert [outputs[0], outputs[2]] == ["model_outputs", "r1"]
    assert json.loads(inputs[1].to_json(orient="records")) == [
        {"load": 1.0, "place": "a", "at": "2026-01-01T00:00:01"},
        {"load": None, "place": "b", "at": None},
    ]
    rows = json.loads(outputs[1].to_json(orient="records"))  # as the package sends it
    assert rows == [
        {"model_digest": "d1", "latency_ms": 250.0, "energy": 2.5, "is_high": True},
        {"model_digest": "d1", "latency_ms": 250.0, "energy": None, "is_high": None},
    ]
    assert (recorder.recorded, recorder.dropped) == (2, 0)


def test_left_out_columns_are_never_collected(package: FakePackage, configure_azure: Any) -> None:
    configure_azure("model_inputs", "model_outputs", RECORD_LEAVE_OUT='["place", "energy"]')
    recorder = collector.open_collector(SCHEMA, "d1")
    assert recorder is not None

    recorder.put("r1", 0.25, INPUTS, ANSWERS)

    assert [list(one[1].columns) for one in package.collected] == [
        ["load", "at"],
        ["model_digest", "latency_ms", "is_high"],
    ]


def test_leaving_out_an_unknown_column_is_rejected(
    package: FakePackage, configure_azure: Any
) -> None:
    configure_azure("model_inputs", "model_outputs", RECORD_LEAVE_OUT='["palce"]')
    with pytest.raises(ValueError, match="leave_out names palce, which is not a column"):
        collector.open_collector(SCHEMA, "d1")


def test_a_sampled_request_is_collected_completely(
    package: FakePackage, configure_azure: Any
) -> None:
    configure_azure("model_inputs", "model_outputs", RECORD_SHARE="0.5")
    recorder = collector.open_collector(SCHEMA, "d1")
    assert recorder is not None

    for number in range(200):
        recorder.put(f"r{number}", 0.1, INPUTS, ANSWERS)

    ids = [[one[2] for one in package.collected if one[0] == name] for name in
           ("model_inputs", "model_outputs")]  # fmt: skip
    assert ids[0] == ids[1]
    assert 70 < len(ids[0]) < 130


def test_rows_are_dropped_and_counted_when_the_queue_is_full(
    package: FakePackage, configure_azure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    configure_azure("model_inputs", "model_outputs")
    recorder = collector.open_collector(SCHEMA, "d1")
    assert recorder is not None
    package.fault = "message queue is full"

    recorder.put("r1", 0.1, INPUTS, ANSWERS)
    recorder.put("r2", 0.1, INPUTS, ANSWERS)

    assert (recorder.recorded, recorder.dropped) == (0, 4)
    assert caplog.text.count("message queue is full") == 1
    package.fault = ""
    recorder.put("r3", 0.1, INPUTS, ANSWERS)
    assert (recorder.recorded, recorder.dropped) == (2, 4)


@pytest.mark.parametrize("names", [(), ("request", "response")])
def test_whole_bodies_are_left_to_azure(configure_azure: Any, names: tuple[str, ...]) -> None:
    """The package is not imported, so it may be missing."""
    configure_azure(*names)
    assert collector.open_collector(SCHEMA, "d1") is None


def test_nothing_is_collected_outside_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(collector.CONFIG, raising=False)
    assert collector.open_collector(SCHEMA, "d1") is None


def test_an_unreadable_azure_file_is_named(configure_azure: Any, tmp_path: Path) -> None:
    configure_azure("model_inputs")
    (tmp_path / "mdc.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"AZUREML_MDC_CONFIG_PATH names .*cannot be read"):
        collector.open_collector(SCHEMA, "d1")


def test_a_server_collects_columns_if_azure_is_configured_to(
    package: FakePackage, configure_azure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_azure("model_inputs", "model_outputs")
    model = types.SimpleNamespace(schema=SCHEMA, digest="d1")
    monkeypatch.setattr(score, "init", lambda: None)
    monkeypatch.setattr(score, "model", lambda: model)
    monkeypatch.setattr(answers.metrics, "watch", lambda _: None)

    answers.begin()
    try:
        assert isinstance(answers._recorder, collector.AzureCollector)
    finally:
        answers.end()
    assert answers._recorder is None
