"""Tracking with a real MLflow server on loopback, and with one that is down or disconnects."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.io import DatasetError

from kedro_azure_mlops import models, open_tracking
from kedro_azure_mlops.cli import main
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import hooks, last_configuration
from kedro_azure_mlops.hooks.tracking import MlflowTracking, TrackingError
from tests.plugin.helpers import Project
from tests.plugin.mlflow_server import Server, free_port

NAME = "plant"


def test_a_server_named_in_the_environment_gets_everything(
    project: Project, server: Server
) -> None:
    project.run()
    client = mlflow.MlflowClient(server.uri)
    version = client.get_model_version_by_alias(NAME, "champion")
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert version.run_id == run.info.run_id
    assert run.data.metrics["r2"] > 0.3
    assert project.nothing_tracked()
    project.run(train_fraction=0.69)
    assert project.gate()["champion_version"] == "1"
    assert client.get_model_version_by_alias(NAME, "champion").version == "2"


def test_a_notebook_in_any_folder_finds_the_runs_of_its_project(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(None)  # as in the kernel of a notebook
    with KedroSession.create(project_path=project.path) as session:
        experiment = open_tracking(session.load_context())
    runs = mlflow.search_runs(experiment_names=[experiment])
    assert runs["metrics.r2"].tolist() == [project.metrics()["r2"]]


def test_a_run_that_yields_the_model_in_service_registers_nothing(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    client = project.client()
    project.run()
    (before,) = client.search_model_versions(f"name='{NAME}'")
    assert "already in service" not in caplog.text
    project.run()
    (after,) = client.search_model_versions(f"name='{NAME}'")
    assert after.tags == before.tags, "unchanged since it entered service"
    assert f"already in service, as {NAME} version 1: nothing is registered" in caplog.text


def test_a_server_that_disconnects_does_not_lose_the_model(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _before_filling(monkeypatch, server.stop)
    with pytest.raises(TrackingError, match="Nothing is lost"):
        project.run()
    assert project.processed("model/MLmodel").exists()
    assert project.processed("metrics.json").exists()


def test_a_server_that_disconnects_can_be_a_warning(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _warn(project)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = f"http://127.0.0.1:{free_port()}"
    _before_filling(monkeypatch, lambda: mlflow.set_tracking_uri(gone))
    project.run()
    assert project.processed("metrics.json").exists()
    assert "Nothing is lost" in caplog.text


@pytest.fixture
def absent_server(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that does not exist."""
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return uri


def test_a_server_that_is_down_stops_the_run_before_it_starts(
    project: Project, absent_server: str
) -> None:
    with pytest.raises(TrackingError, match=f"MLflow at {absent_server} failed.*") as refusal:
        project.run()
    assert "No run was started" in str(refusal.value)
    assert "when_unreachable: warn" in str(refusal.value)
    assert not project.processed("clean_hours.parquet").exists()


def test_a_server_that_is_down_can_be_a_warning(
    project: Project, absent_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    _warn(project)
    project.run()
    assert f"MLflow at {absent_server} failed" in caplog.text
    assert project.processed("model/MLmodel").exists()
    assert not project.gate()["passed"], "an unknown champion is not beaten"


def test_an_empty_address_in_the_environment_means_the_configured_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    project.run()
    assert not project.nothing_tracked()


def test_a_database_that_cannot_be_read_is_a_clear_error(project: Project) -> None:
    (project.path / "mlruns.db").write_bytes(b"not a database" * 100)
    with pytest.raises(TrackingError, match=r"mlruns\.db failed"):
        project.run()
    assert not project.processed("model").exists()


def test_an_interrupted_run_is_killed_in_mlflow(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    registered: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", registered.append)
    monkeypatch.setattr("kedro.runner.SequentialRunner._run", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        project.run()
    for callback in reversed(registered):
        callback()
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert run.info.status == "KILLED"


def test_ipython_is_only_called_if_it_is_already_imported(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    project.run()
    assert "IPython" not in sys.modules
    notebook = ModuleType("IPython")
    notebook.get_ipython = lambda: calls.append(1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    project.run()
    assert calls


def test_tracking_can_be_switched_off(project: Project) -> None:
    _configure(project, "tracking: {enabled: false}")
    project.run()
    assert project.processed("metrics.json").exists()
    assert project.nothing_tracked()
    assert not project.gate()["passed"], "without a server there is no champion to compare with"


def test_a_run_records_its_origin_and_its_results(ran: Project) -> None:
    client = ran.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    tags = run.data.tags
    assert tags["kedro.env"] == "local"
    assert tags["kedro.pipelines"] == "__default__"
    assert tags["scores.digest"] == sha256(ran.processed("predictions.csv"))
    assert tags["data.path.raw_hours"] == "data/raw/hours.csv"
    assert tags["data.file.raw_hours"] == sha256(ran.path / "data/raw/hours.csv")
    assert "data.from_earlier_runs" not in tags
    version = client.get_model_version_by_alias(NAME, "champion")
    assert version.tags["data.file.raw_hours"] == tags["data.file.raw_hours"]
    report = json.loads(ran.processed("cleaning_report.json").read_text(encoding="utf-8"))
    assert version.tags["data.fingerprint"] == report["fingerprint"]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"comparison.csv", "gate.json", "model", "parameters.yml"} <= files
    assert run.data.metrics == pytest.approx(ran.metrics())


def test_the_parameters_file_of_a_run_reproduces_its_parameters(project: Project) -> None:
    project.run("prepare", train_fraction=0.5, gate={"on_incomparable": "replace"})
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/parameters.yml")
    project.configure("local", "parameters.yml", text)
    project.run("prepare")
    newest, _ = client.search_runs([run.info.experiment_id])
    assert newest.data.params == run.data.params
    assert newest.data.params["train_fraction"] == "0.5"
    assert newest.data.params["gate.on_incomparable"] == "replace"
    assert yaml.safe_load(text)["raw_file"] == "data/raw/hours.csv"
    assert run.data.tags["kedro.params"] == "train_fraction=0.5,gate.on_incomparable=replace"


def test_an_invalid_value_in_mlops_yml_stops_the_run_before_it_starts(project: Project) -> None:
    _configure(project, "tracking: {when_unreachable: maybe}")
    with pytest.raises(OperationError, match=r"mlops\.yml: tracking\.when_unreachable"):
        project.run()
    assert project.nothing_tracked()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tracking: {model: modle}", "tracking.model: there is no catalog entry modle. Did you"),
        ("tracking: {artifacts: [plot]}", "tracking.artifacts: there is no catalog entry plot"),
        ("tracking: {artifacts: [champion]}", "the catalog entry champion has no file"),
        ("gate: {decision: verdict}", "gate.decision: there is no catalog entry verdict"),
        ("champion: the_best", "champion: there is no catalog entry the_best"),
    ],
)
def test_an_entry_that_does_not_exist_is_named_before_anything_runs(
    project: Project, text: str, message: str
) -> None:
    _configure(project, text)
    with pytest.raises(OperationError, match=message):
        project.run()
    assert not project.processed("clean_hours.parquet").exists()


def test_the_configuration_of_the_last_run_is_known(project: Project) -> None:
    _configure(project, "report: [metrics]")
    project.run("prepare")
    configuration = last_configuration()
    assert configuration
    assert configuration.report == ["metrics"]


BARE = """
tracking: {data: raw_hours, model: model}
gate: {rules: [{metric: r2, minimum: 0.3, champion_tolerance: 0.01}]}
"""


def bare(project: Project, mlops: str | None) -> None:
    """Leave only one ``mlops.yml``, or none, as in a project not made for the plugin."""
    for file in project.path.glob("conf/*/mlops.yml"):
        file.unlink()
    if mlops is not None:
        project.configure("base", "mlops.yml", mlops)


def test_a_project_without_mlops_yml_is_left_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)  # the default folder of MLflow's database
    bare(project, None)
    project.run()
    assert last_configuration() is None
    assert hooks._tracking is None
    assert project.gate().keys() == {"passed", "champion_version", "rules"}
    assert project.nothing_tracked()


def test_without_a_model_parameters_code_and_every_metric_are_recorded(project: Project) -> None:
    bare(project, "tracking: {}")
    project.run("prepare", "train")
    project.run()
    client = project.client()
    last, first = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert first.data.params["train_fraction"] == "0.7"
    assert first.info.status == last.info.status == "FINISHED"
    assert first.data.metrics == {}
    assert last.data.metrics == pytest.approx(project.metrics()), "the only JSON of numbers"
    assert client.search_registered_models() == []


def test_a_project_without_a_deciding_node_has_a_gate_too(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare(project, BARE)
    project.run()
    client = project.client()
    version = client.get_model_version_by_alias(NAME, "champion")
    assert version.tags["gate"] == "passed"
    assert "r2 0.9" in version.tags["gate.reasons"]
    assert version.tags["data.fingerprint"] == sha256(project.path / "data/raw/hours.csv")
    project.run(model={"arguments": {"alpha": 1e9}})
    refused = client.get_model_version(NAME, "2")
    assert refused.tags["gate"] == "refused"
    assert ", tolerance 0.01" in refused.tags["gate.reasons"]
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "1"
    monkeypatch.chdir(project.path)
    assert main(["gate"]) == 1
    assert "NO  r2 " in capsys.readouterr().out


def test_without_rules_the_first_model_passes_and_the_log_says_so(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    bare(project, "tracking: {model: model}")
    with caplog.at_level("INFO"):
        project.run()
    assert "no rules are set (gate in mlops.yml): every model passes" in caplog.text
    version = project.client().get_model_version_by_alias(NAME, "champion")
    assert version.tags["gate.reasons"].startswith("ok  no rules are set")


PICKLE = """
model: {type: pickle.PickleDataset, filepath: data/model.pkl}
"""


def test_a_single_file_is_refused_as_a_model_before_anything_runs(project: Project) -> None:
    project.configure("local", "catalog.yml", PICKLE)
    with pytest.raises(OperationError, match=r"model, .*is a PickleDataset\. A registered model"):
        project.run()
    assert not project.processed("clean_hours.parquet").exists()
    _configure(project, "tracking: {model: null}")
    project.run()
    assert project.client().search_registered_models() == []


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ("nowhere.score:load", "nowhere.score:load cannot be imported"),
        ("scorers:other", "the answer lacks the column prediction"),
        ("scorers:shorter", "3 rows were sent and 2 answered"),
        ("scorers:wrong", "the example's row 0 has prediction"),
    ],
)
def test_a_model_that_its_scorer_cannot_serve_is_not_registered(
    project: Project, monkeypatch: pytest.MonkeyPatch, scorer: str, message: str
) -> None:
    (project.path / "scorers.py").write_text(SCORERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(project.path))
    sys.modules.pop("scorers", None)
    _configure(project, f"scorer: {scorer}")
    with pytest.raises(OperationError, match="The model cannot be registered") as refusal:
        project.run()
    assert message in str(refusal.value)
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.metrics["r2"] > 0.3, "the other results of the run are kept"
    assert client.search_registered_models() == []
    _configure(project, "scorer: scorers:right")
    project.run()
    assert client.get_model_version_by_alias(NAME, "champion")


def test_a_model_is_replayed_when_it_is_saved_unless_a_scorer_is_served(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky(models.StoredScorer):
        def score(self, *_: object) -> dict[str, Any]:
            raise ValueError("float32 is needed")

    (project.path / "scorers.py").write_text(SCORERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(project.path))
    sys.modules.pop("scorers", None)
    monkeypatch.setattr(models, "StoredScorer", Picky)
    with pytest.raises(DatasetError, match="when it is served: float32 is needed"):
        project.run()
    _configure(project, "scorer: scorers:right")
    project.run()
    assert project.client().get_model_version_by_alias(NAME, "champion")


SCORERS = """
from kedro_azure_mlops.models import load_mlflow_scorer


class Changed:
    def __init__(self, folder, change):
        self.inner, self.change = load_mlflow_scorer(folder), change
        self.schema = self.inner.schema

    def score(self, columns, wanted=None):
        return self.change(self.inner.score(columns, wanted))


def right(folder):
    return Changed(folder, lambda answer: answer)


def other(folder):
    return Changed(folder, lambda answer: {"energy": answer["prediction"]})


def shorter(folder):
    return Changed(folder, lambda answer: {k: v[:-1] for k, v in answer.items()})


def wrong(folder):
    return Changed(folder, lambda answer: {k: v + 1 for k, v in answer.items()})
"""


def test_a_gate_that_decides_before_the_model_is_stored_is_refused(project: Project) -> None:
    registry = project.path / "src/plant/pipeline_registry.py"
    text = registry.read_text(encoding="utf-8")
    fit = 'Node(fit, ["train", "params:model"], "model", name="fit")'
    assert fit in text
    early = f'Node(lambda found: found, "params:early", "verdict", name="early"),\n{fit}'
    registry.write_text(text.replace(fit, early), encoding="utf-8")
    project.configure("local", "parameters.yml", "early: {passed: true, rules: []}\n")
    verdict = "verdict: {type: json.JSONDataset, filepath: data/verdict.json}\n"
    project.configure("local", "catalog.yml", verdict)
    _configure(project, "gate: {decision: verdict}")
    result = project.kedro("run", "--pipelines", "prepare,train")
    output = " ".join((result.stdout + result.stderr).split())
    assert "The gate decides before the model is stored" in output
    assert "add model to the inputs" in output


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _before_filling(monkeypatch: pytest.MonkeyPatch, accident: Callable[[], None]) -> None:
    fill = MlflowTracking._fill

    def accident_then_fill(self: MlflowTracking, *arguments: Any) -> None:
        accident()
        fill(self, *arguments)

    monkeypatch.setattr(MlflowTracking, "_fill", accident_then_fill)


def _warn(project: Project) -> None:
    _configure(project, "tracking: {when_unreachable: warn}")


def _configure(project: Project, text: str) -> None:
    project.configure("local", "mlops.yml", f"{text}\n")
