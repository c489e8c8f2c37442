"""The alerts and the dashboard of a project, checked by Prometheus itself on a real server."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from kedro_azure_mlops.serve import metrics, score
from tests.plugin.helpers import REPOSITORY
from tests.plugin.mlflow_server import free_port
from tests.plugin.servers import PYTHON, LocalServer, serve
from tests.plugin.trained import SCORER, body_of, measured, project_with_scorer, save_small_model

FILES = REPOSITORY / "{{cookiecutter.project_slug}}/operation/monitoring"
ALERTS, DASHBOARD = FILES / "alerts.yml", FILES / "dashboard.json"
TOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    TOOL is None or PROMETHEUS is None,
    reason="Prometheus is not installed: apt-get install prometheus",
)
needs_servers = pytest.mark.skipif(
    not PYTHON.is_file(), reason="`make test` installs the servers into .venv-serve"
)
SECONDS = 120  # at most; machines may be slow


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def check(*arguments: str | Path) -> None:
    process = subprocess.run([str(TOOL), *arguments], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr


@needs_prometheus
def test_promtool_accepts_the_alerts() -> None:
    check("check", "rules", ALERTS)


def test_each_alert_has_a_summary_and_a_description() -> None:
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


REQUESTS = 'score_requests_total{job="m",status="%s"}'
ROWS = 'score_rows_%stotal{job="m"}'
# by alert: the series that fire it and those that do not, with their values at every minute
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "ModelServerDown": (
        {'up{job="m",instance="a"}': "1x5 0x300", 'score_model_info{job="m"}': "1x5 _x300"},
        {'up{job="m",instance="a"}': "1x305", 'score_model_info{job="m"}': "1x305"},
    ),
    "ModelErrors": (
        {REQUESTS % 200: "0+60x300", REQUESTS % 500: "0+1x300"},
        {REQUESTS % 200: "0+200x300", REQUESTS % 500: "0+1x300", REQUESTS % 400: "0+50x300"},
    ),
    "ModelSlow": (
        {
            'score_request_seconds_bucket{job="m",le="0.25"}': "0+90x300",
            'score_request_seconds_bucket{job="m",le="1"}': "0+100x300",
            'score_request_seconds_bucket{job="m",le="+Inf"}': "0+100x300",
        },
        {
            'score_request_seconds_bucket{job="m",le="0.25"}': "0+96x300",
            'score_request_seconds_bucket{job="m",le="1"}': "0+100x300",
            'score_request_seconds_bucket{job="m",le="+Inf"}': "0+100x300",
        },
    ),
    "ModelNoTraffic": ({REQUESTS % 200: "7x300"}, {REQUESTS % 200: "0+1x300"}),
    "ModelFlagsMore": (
        {ROWS % "": "0+100x300", ROWS % "unknown_": "0+50x300", ROWS % "flagged_": "0+6x300"},
        {ROWS % "": "0+100x300", ROWS % "unknown_": "0+20x300", ROWS % "flagged_": "0+6x300"},
    ),
    "AnswersNotRecorded": (
        {ROWS % "not_recorded_": "0x290 5x10"},
        {ROWS % "not_recorded_": "5x300"},
    ),
    "ModelMonitor": (
        {'mlops_monitor_alarm{env="prod",model="m",kind="drift",check="psi",key="hall"}': "1x300"},
        {'mlops_monitor_alarms{env="prod",model="m",kind="drift"}': "0x300"},
    ),
    "ModelNotMonitored": (
        {'mlops_monitor_look_timestamp_seconds{env="prod",model="m"}': f"-{3 * 86400}x300"},
        {'mlops_monitor_look_timestamp_seconds{env="prod",model="m"}': f"-{86400}x300"},
    ),
}


def test_each_alert_has_a_case() -> None:
    assert [rule["alert"] for rule in rules()] == list(CASES)


@needs_prometheus
def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    shutil.copyfile(ALERTS, tmp_path / "alerts.yml")
    severities = {rule["alert"]: rule for rule in rules()}
    cases = []
    for name, (fires, is_quiet) in CASES.items():
        for number, series in enumerate((fires, is_quiet)):
            inputs = [{"series": key, "values": values} for key, values in series.items()]
            labels = {"job": "m"}
            if name == "ModelServerDown":
                labels |= {"instance": "a"}
            if name == "ModelMonitor":
                labels = {
                    "env": "prod",
                    "model": "m",
                    "kind": "drift",
                    "check": "psi",
                    "key": "hall",
                }
            if name == "ModelNotMonitored":
                labels = {"env": "prod", "model": "m"}
            rule = severities[name]
            alert = {
                "exp_labels": labels | rule["labels"],
                "exp_annotations": rule["annotations"],
            }
            expected = {"eval_time": "295m", "alertname": name, "exp_alerts": [alert][number:]}
            cases.append({"interval": "1m", "input_series": inputs, "alert_rule_test": [expected]})
    test = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": cases}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test), encoding="utf-8")
    check("test", "rules", file)


def exported(model: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the names of all series that a server exports after a request."""
    monkeypatch.setattr(score, "_loaded", score.load_served(model, SCORER))
    metrics.count(score.run(body_of(measured().tail(2))), 0.1)
    return set(re.findall(r"^(\w+)", metrics.text().decode(), re.MULTILINE))


def test_alerts_and_dashboard_use_existing_metrics(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = exported(model, monkeypatch) | {"mlops_monitor_alarm"}
    known.add("mlops_monitor_look_timestamp_seconds")
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    for text in (*shown, *(rule["expr"] for rule in rules())):
        named = set(re.findall(r"\b(?:score|mlops)_\w+", text))
        assert named <= known, text
        assert named
    assert {"score_value_bucket", "score_request_seconds_bucket"} <= set(
        re.findall(r"\w+", " ".join(shown))
    )


@needs_prometheus
def test_prometheus_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries = [text.replace("$__rate_interval", "5m").replace("$job", ".*") for text in queries]
    recorded = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": recorded}]}), "utf-8")
    check("check", "rules", file)


def test_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[LocalServer]:
    project = project_with_scorer(tmp_path / "project")
    with serve(project, "--model", str(model), "--plain", "--record") as server:
        yield server


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    port: int
    log: Path
    process: "subprocess.Popen[bytes]"

    def ask(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        results = self.ask("query", query=query)["result"]
        return float(results[0]["value"][1]) if results else None

    def alerts(self) -> dict[str, str]:
        """Return the states of alerts by their names."""
        return {one["labels"]["alertname"]: one["state"] for one in self.ask("alerts")["alerts"]}

    def wait(self, until: Callable[[], bool], meanwhile: Callable[[], Any]) -> None:
        """Call ``meanwhile`` until ``until`` returns true."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text("utf-8")
            meanwhile()
            try:
                if until():
                    return
            except OSError:  # Prometheus is starting
                time.sleep(0.1)
        raise AssertionError(f"not in {SECONDS} s; alerts: {self.alerts()}")


@pytest.fixture
def prometheus(server: LocalServer, tmp_path: Path) -> Iterator[Prometheus]:
    """Scrapes the server every second; the hours in the alerts are shortened to seconds."""
    text = ALERTS.read_text(encoding="utf-8")
    text = re.sub(r"\[(1h|15m|5m)\]", "[8s]", text)
    text = re.sub(r"for: \d+[mh]", "for: 1s", text)
    (tmp_path / "alerts.yml").write_text(text, encoding="utf-8")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [
            {"job_name": "model", "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]}
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port, log = free_port(), tmp_path / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'series'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=output,
        )
    try:
        yield Prometheus(port, log, process)
    finally:
        process.terminate()
        process.wait(60)


@needs_prometheus
@needs_servers
def test_drift_fires_the_alert_and_recovery_resolves_it(
    prometheus: Prometheus, server: LocalServer
) -> None:
    table = measured(60).query("unit == 'north'")
    normal = table.tail(20).assign(load=60.0)
    alternating = pd.Series([60.0, 190.0] * 10, normal.index)

    def send(rows: pd.DataFrame) -> Callable[[], Any]:
        def ask() -> None:
            assert server.ask("POST", "/score", body_of(rows)).status == 200

        return ask

    def has(state: str | None) -> Callable[[], bool]:
        return lambda: prometheus.alerts().get("ModelFlagsMore") == state

    rows = 'increase(score_rows_total{job="model"}[8s])'
    prometheus.wait(lambda: (prometheus.value(rows) or 0) > 0, send(normal))
    assert has(None)()
    prometheus.wait(has("firing"), send(normal.assign(load=alternating)))
    share = "increase(score_rows_flagged_total[8s]) / increase(score_rows_total[8s])"
    assert 0.1 < (prometheus.value(share) or 0) <= 1
    prometheus.wait(has(None), send(normal))
    assert "ModelErrors" not in prometheus.alerts()
    bucket = 'score_value_bucket{le="+Inf"}'
    assert prometheus.value(bucket) == prometheus.value("score_rows_total")
    assert prometheus.value("score_rows_not_recorded_total") == 0
    prometheus.wait(lambda: (prometheus.value("score_rows_recorded_total") or 0) > 0, send(normal))
    server.end()
    prometheus.wait(
        lambda: prometheus.alerts().get("ModelServerDown") == "firing", lambda: time.sleep(0.1)
    )
