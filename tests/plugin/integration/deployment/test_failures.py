"""After any failure of a rollout, the traffic is restored and the new deployment deleted."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer
from tests.plugin.cloud import changes
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site

Spoil = Callable[[str, Answer], Answer]


def only(version: str, change: Callable[[Answer], Answer]) -> Spoil:
    """Change the successful answers of one version."""

    def spoil(name: str, answer: Answer) -> Answer:
        is_affected = name.startswith(f"v{version}-") and answer.status == 200
        return change(answer) if is_affected else answer

    return spoil


def other_digest(answer: Answer) -> Answer:
    return Answer(200, answer.body | {"model": {"version": "2", "digest": "0" * 64}})


def with_rows(answer: Answer, rows: Any) -> Answer:
    return Answer(200, answer.body | {"data": rows})


def text_value(answer: Answer) -> Answer:
    first, *others = answer.body["data"]
    return with_rows(answer, [first | {"energy": "high"}, *others])


def without_column(answer: Answer) -> Answer:
    rows = [{k: v for k, v in row.items() if k != "is_high"} for row in answer.body["data"]]
    return with_rows(answer, rows)


def crash(answer: Answer) -> Answer:
    return Answer(500, {"error": {"message": "boom"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (crash, "returns 500 for a valid request"),
        (other_digest, "answers with the model 0000"),
        (lambda answer: with_rows(answer, [None]), "does not return a list of rows: [null]"),
        (lambda answer: with_rows(answer, ["oops"]), "does not return a list of rows"),
        (lambda answer: with_rows(answer, 5), "does not return a list of rows: 5"),
        (text_value, "returns data[0].energy high, but training recorded"),
        (without_column, "returns data[0] without the column is_high"),
        (lambda answer: with_rows(answer, answer.body["data"][1:]), "returns 5 rows instead of 6"),
    ],
)
def test_a_deployment_with_wrong_answers_is_refused(
    served: Site, azure: StandIn, change: Callable[[Answer], Answer], message: str
) -> None:
    before = served.state
    azure.endpoints.spoil = only("2", change)

    answer = served.deploy()

    assert answer.status == 1
    assert message in answer.err
    assert served.state == before
    assert served.routed() == []  # it never had traffic


def test_a_deployment_that_fails_under_traffic_is_rolled_back(served: Site, azure: StandIn) -> None:
    (old,) = served.deployments
    before = served.state

    def fails_at_half(name: str, answer: Answer) -> Answer:
        is_new = name != old and served.traffic.get(name, 0) >= 50
        return crash(answer) if is_new else answer

    azure.endpoints.spoil = fails_at_half
    answer = served.deploy()

    assert answer.status == 1
    (new, *_) = {name for traffic in served.routed() for name in traffic} - {old}
    assert served.routed() == [{old: 90, new: 10}, {old: 50, new: 50}, {old: 100}]
    assert served.state == before


def test_a_failed_first_deployment_leaves_the_endpoint_empty(site: Site, azure: StandIn) -> None:
    azure.endpoints.spoil = only("1", crash)

    assert site.deploy().status == 1
    assert site.state == ({}, {}, {}, [])

    azure.endpoints.spoil = None
    assert site.deploy().status == 0


def test_code_that_cannot_be_uploaded_is_not_deployed(site: Site, azure: StandIn) -> None:
    azure.fail("PUT", r"/codes/.*/versions/", 403)

    assert site.deploy().status == 2
    assert site.state == ({}, {}, {}, [])
    assert site.deploy().status == 0


def test_a_deployment_that_does_not_start_is_deleted(served: Site, azure: StandIn) -> None:
    before = served.state
    azure.endpoints.creation_fails = True

    answer = served.deploy()

    assert answer.status == 2
    assert "creating the deployment v2-" in answer.err
    assert served.state == before


def test_a_deployment_with_changed_files_does_not_start(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = served.state

    def swap(host: str) -> None:
        for key in [key for key in azure.blobs if key.endswith("/linear.json")]:
            azure.blobs[key] = azure.blobs[key].replace(b'"base"', b' "base"')

    serve = azure.endpoints._serve
    monkeypatch.setattr(azure.endpoints, "_serve", lambda *a: (swap(""), serve(*a)))
    answer = served.deploy()

    assert answer.status == 2
    assert "its files are not those that were registered" in answer.out  # the end of its log
    assert served.state == before


@pytest.mark.parametrize(
    "pattern",
    [
        r"/models/.*/versions/",
        r"/environments/.*/versions/",
        rf"/onlineEndpoints/{ENDPOINT}/deployments/v2-",
        rf"/onlineEndpoints/{ENDPOINT}$",
    ],
    ids=["model", "environment", "deployment", "traffic"],
)
def test_a_refusal_of_azure_changes_nothing(served: Site, azure: StandIn, pattern: str) -> None:
    served.configure(environment={"name": "other", "image": "python:3.12-slim"})
    before = served.state
    azure.fail("PUT", pattern, 403)

    answer = served.deploy()

    assert answer.status == 2
    assert "You do not have permission" in answer.err
    assert served.state == before
    assert azure.endpoints.served.keys() == set(served.deployments)


def test_a_refused_change_of_traffic_is_rolled_back(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = served.state
    fail_after_a_step(azure, monkeypatch)

    answer = served.deploy()

    assert answer.status == 2
    assert len(served.routed()) == 2  # 10 %, and back
    assert served.state == before


def fail_after_a_step(azure: StandIn, patch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Accept the next change of the endpoint, and make those after it fail."""
    put = azure.endpoints._put_endpoint

    def first(request: Any) -> Answer:
        patch.setattr(azure.endpoints, "_put_endpoint", put)
        azure.fail("PUT", rf"/onlineEndpoints/{ENDPOINT}$", 403, times)
        return put(request)

    patch.setattr(azure.endpoints, "_put_endpoint", first)


def test_a_failed_rollback_reports_the_traffic_and_the_deployments(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = served.deployments
    before = served.state
    fail_after_a_step(azure, monkeypatch, times=2)

    answer = served.deploy()

    assert answer.status == 2
    (new,) = set(served.deployments) - {old}
    assert "Undoing it failed too" in answer.err
    assert f"Traffic is {old} 90 %, {new} 10 %; the deployments are: {old}, {new}" in answer.err
    assert "deploy online --env dev --back" in answer.err

    again = served.deploy("--back")
    assert again.status == 0
    assert served.state == before


def test_another_version_is_refused_during_an_unfinished_rollout(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_after_a_step(azure, monkeypatch, times=2)
    served.deploy()
    azure.forget()

    answer = served.deploy("--version", "3")

    assert answer.status == 2
    assert "was started but not finished" in answer.err
    assert changes(azure) == []


def test_the_same_version_resumes_an_unfinished_rollout(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = served.deployments
    fail_after_a_step(azure, monkeypatch, times=2)
    served.deploy()
    azure.forget()

    assert served.deploy().status == 0
    (new,) = served.traffic
    assert served.routed() == [{old: 50, new: 50}, {new: 100}, {new: 100}]
    assert set(served.tags) == {f"keep.{old}"}


@pytest.fixture
def stopped(served: Site) -> tuple[Site, str, str]:
    """A rollout that was killed after its last step of traffic; the previous and new name."""
    (old,) = served.deployments
    served.deploy()
    (new,) = served.traffic
    tags = {"rollout.new": new, "rollout.before": f"{old}=100"}
    served.body(f"onlineEndpoints/{ENDPOINT}")["tags"] = tags
    served.azure.forget()
    return served, old, new


def test_a_rollout_killed_after_its_last_step_is_finished(stopped: tuple[Site, str, str]) -> None:
    site, old, new = stopped
    assert "nothing deleted" in site.deploy("--clean").out

    result = site.deploy()

    assert result.status == 0, result.err
    assert "--clean" not in result.out
    assert site.put("deployments") == []
    assert site.traffic == {new: 100}
    assert set(site.tags) == {f"keep.{old}"}
    assert "nothing to change" in site.deploy().out
    assert site.deploy("--back").status == 0
    assert site.traffic == {old: 100}


def test_a_rollout_killed_after_its_last_step_is_undone_if_it_fails(
    stopped: tuple[Site, str, str],
) -> None:
    site, old, _ = stopped
    site.azure.endpoints.spoil = only("2", crash)

    assert site.deploy().status == 1
    assert (site.traffic, site.tags, site.deployments) == ({old: 100}, {}, [old])


def test_a_failed_deletion_is_reported_and_done_by_clean(served: Site, azure: StandIn) -> None:
    before = served.state
    azure.endpoints.spoil = only("2", crash)
    azure.fail("DELETE", "/deployments/", 403)

    answer = served.deploy()

    assert answer.status == 2
    assert "Undoing it failed too" in answer.err
    assert "returns 500" in answer.err
    assert answer.err.rstrip().endswith("deploy online --env dev --clean")

    assert served.deploy("--clean").status == 0
    assert served.state == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_rollout_is_rolled_back(
    served: Site, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    served.configure(seconds_between_steps=600)
    before = served.state
    monkeypatch.setattr("time.sleep", lambda _: signal.raise_signal(how))

    # a shell ignores Ctrl-C for tests that it runs in the background
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answer = served.deploy()
    finally:
        signal.signal(signal.SIGINT, handler)

    assert answer.status == 130
    assert served.routed()[0] != before[0]  # the rollout had begun
    assert served.state == before


def test_a_changed_model_is_not_deployed(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = served.registry.version("2")
    monkeypatch.setattr(served.registry, "champion", lambda: registered)
    served.registry.folders = served.registry.folders | {"2": served.registry.folders["3"]}

    answer = served.deploy()

    assert answer.status == 2
    assert "is not what was registered" in answer.err
    assert changes(azure) == []


def test_a_deployment_that_failed_earlier_is_created_again(served: Site, azure: StandIn) -> None:
    assert served.deploy("--no-traffic").status == 0
    (new,) = set(served.deployments) - set(served.traffic)
    path = f"onlineEndpoints/{ENDPOINT}/deployments/{new}"
    served.body(path)["properties"]["provisioningState"] = "Failed"

    answer = served.deploy()

    assert answer.status == 0
    assert f"delete the deployment {new}, which has failed" in answer.out
    assert served.traffic == {new: 100}


def test_unreadable_headers_and_errors_under_traffic_are_rolled_back(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = served.deployments
    before = served.state

    def unreadable(name: str, answer: Answer) -> Answer:
        if name == old or not served.traffic.get(name):
            return answer
        return Answer(200, answer.body, {"ms-azureml-model-error-statuscode": "good"})

    azure.endpoints.spoil = unreadable
    answer = served.deploy()
    assert answer.status == 1
    assert "is not a status: good" in answer.err
    assert len(served.routed()) == 2  # 10 %, and back
    assert served.state == before

    azure.endpoints.spoil = None

    def fault(*_: Any) -> None:
        raise TypeError("of a client")

    monkeypatch.setattr("kedro_azure_mlops.deploy.rollout.refuse_no_answer", fault)
    answer = served.deploy()
    assert answer.status == 2
    assert "was rolled back after an error: TypeError: of a client" in answer.err
    assert served.state == before
