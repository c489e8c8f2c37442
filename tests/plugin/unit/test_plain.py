"""The plain ASGI application, called in this process (see also integration/test_serve.py)."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.serve import answers, metrics, plain, score
from tests.plugin.trained import SCORER, body_of, measured, save_small_model, small_scorer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small_scorer()  # makes its package importable
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(autouse=True)
def _loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZUREML_MODEL_DIR", "MODEL_DIGEST", "MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(score, "_loaded", score.load_served(model, SCORER))


def call_app(
    method: str, path: str, *parts: bytes, declared: int | None = None, whole: bool = True
) -> tuple[int, dict[str, str], bytes] | None:
    """Send a request with a body in parts and return the response, or None if there is none."""
    parts = parts or (b"",)
    messages: Iterator[dict[str, Any]] = iter(
        [
            *(
                {"type": "http.request", "body": part, "more_body": not whole or part != parts[-1]}
                for part in parts
            ),
            {"type": "http.disconnect"},
        ]
    )
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    length = sum(map(len, parts)) if declared is None else declared
    headers = [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(plain.application(scope, receive, send))
    if not sent:
        return None
    start, *parts_sent = sent
    received = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], received, b"".join(part["body"] for part in parts_sent)


def test_a_body_in_parts_is_scored() -> None:
    body = body_of(measured().tail(20))
    status, headers, text = call_app("POST", "/score", body[:50], body[50:])
    assert (status, json.loads(text)) == score.run(body)
    assert re.fullmatch("[0-9a-f]{16}", headers.pop("x-request-id"))
    assert headers == {"content-type": "application/json", "content-length": str(len(text))}


@pytest.mark.parametrize(
    ("method", "path", "status", "field"),
    [
        ("GET", "/score", 405, "method"),
        ("POST", "/health", 405, "method"),
        ("GET", "/admin", 404, "path"),
    ],
)
def test_unknown_paths_and_methods_are_rejected(
    method: str, path: str, status: int, field: str
) -> None:
    answered, headers, text = call_app(method, path)
    assert (answered, json.loads(text)["error"]["field"]) == (status, field)
    assert headers.get("allow") == {"/score": "POST", "/health": "GET"}.get(path)


def test_health_names_the_model(model: Path) -> None:
    status, _, text = call_app("GET", "/health")
    assert (status, json.loads(text)["model"]["digest"]) == (200, score.model().digest)


@pytest.mark.parametrize("declared", [score.MAX_BYTES + 1, 0], ids=["declared", "sent"])
def test_a_body_that_is_too_long_is_rejected(declared: int) -> None:
    status, _, text = call_app("POST", "/score", b" " * score.MAX_BYTES, b"  ", declared=declared)
    assert (status, json.loads(text)["error"]["field"]) == (413, "body")


def test_a_disconnected_client_gets_no_response() -> None:
    assert call_app("POST", "/score", b"{", whole=False) is None


def test_a_failure_is_logged_without_the_content_of_the_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = "patient-17"

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(score.model().scorer, "score", fail)
    with caplog.at_level(logging.ERROR):
        status, _, text = call_app("POST", "/score", body_of(measured().tail(2)))
    assert (status, json.loads(text)["error"]["field"]) == (500, "server")
    assert "A request failed with RuntimeError:\n" in caplog.text
    assert words not in caplog.text


def test_an_answer_that_does_not_fit_the_schema_is_an_error_of_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(score.model().scorer, "score", lambda *_: {})
    with caplog.at_level(logging.ERROR):
        status, _, text = call_app("POST", "/score", body_of(measured().tail(2)))
    assert (status, json.loads(text)["error"]["field"]) == (500, "server")
    assert "A request failed with AnswerError: the scorer does not return" in caplog.text


def test_requests_rows_and_scores_are_counted() -> None:
    def figures() -> dict[str, float]:
        status, headers, text = call_app("GET", "/metrics")
        assert (status, headers["content-type"]) == (200, metrics.CONTENT_TYPE)
        lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    call_app("POST", "/score", b"nothing")
    before = figures()
    table = measured().tail(120).assign(unit=["south", "north"] * 60)
    body = json.loads(call_app("POST", "/score", body_of(table))[2])["data"]
    call_app("POST", "/score", b"nothing")
    after = figures()
    increases = {name: after[name] - before.get(name, 0) for name in after if "score_r" in name}
    assert increases['score_requests_total{status="200"}'] == 1
    assert increases['score_requests_total{status="400"}'] == 1
    assert increases["score_rows_total"] == 120
    assert increases["score_rows_unknown_total"] == 60
    assert increases["score_rows_flagged_total"] == sum(row["is_far"] is True for row in body) > 0
    assert increases["score_rows_recorded_total"] == 0

    def increase(name: str) -> float:
        return after[f"score_value_{name}"] - before.get(f"score_value_{name}", 0)

    scores = [row["deviation"] for row in body if row["deviation"] is not None]
    assert increase('bucket{le="+Inf"}') == len(scores) == 60
    assert increase('bucket{le="1.0"}') == sum(score <= 1 for score in scores)


def test_without_a_flag_rows_with_no_answer_are_counted_as_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(score.model(), "schema", replace(score.model().schema, flag=None))
    counted = []
    monkeypatch.setattr(metrics._figures.unknown, "inc", counted.append)
    row = {"deviation": None, "is_far": None}
    metrics.count(score.Answer(200, {"data": [row, row | {"deviation": 1.0}]}), 0.1)
    assert counted == [1]


def test_nothing_is_counted_if_prometheus_client_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "_figures", None)
    assert answers.answer("POST", lambda: b"{").status == 400
    assert call_app("GET", "/metrics")[2].startswith(b"# prometheus_client is not installed")


@pytest.mark.parametrize("has_model", [True, False])
def test_the_application_starts_only_with_a_model(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_model: bool
) -> None:
    served = tmp_path / "served.json"
    served.write_text(json.dumps({"scorer": SCORER}), encoding="utf-8")
    monkeypatch.setattr(score, "SERVED", str(served))
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(model if has_model else tmp_path))
    sent: list[Any] = []

    async def receive() -> Any:
        return {}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(plain.application({"type": "lifespan"}, receive, send))
    assert sent == (
        ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        if has_model
        else ["lifespan.startup.failed"]
    )


@pytest.mark.parametrize(
    ("name", "sent", "expected"),
    [
        (b"x-request-id", b"mine-1", "mine-1"),
        (b"x-ms-request-id", b"azure-1", "azure-1"),
        (b"x-request-id", b"a\r\nset-cookie: b", None),
    ],
)
def test_the_response_has_the_id_of_the_request(
    name: bytes, sent: bytes, expected: str | None
) -> None:
    scope = {"headers": [(b"host", b"here"), (name, sent)]}
    request_id = plain._request_id(scope)
    assert request_id == expected if expected else re.fullmatch("[0-9a-f]{16}", request_id)
