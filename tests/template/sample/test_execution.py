"""The ops scripts call the plugin's functions (stubbed here) in the right order."""

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

import kedro_azure_mlops as mlops
from tests.template.sample.helpers import rendered

FOLDER = rendered() / "operation" / "execution"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))
ANSWERS: dict[str, Any] = {
    "champion": SimpleNamespace(number="1"),
    "promote": SimpleNamespace(number="2", digest="d"),
    "submit_job": SimpleNamespace(name="job"),
    "invoke": SimpleNamespace(status=200, endpoint="e", deployment="d"),
}
REPORT_CALLS: list[str] = []


def monitoring_report(alarm: bool) -> SimpleNamespace:
    """Return a stub of a monitoring report that records the calls of its methods."""
    parts = {name: partial(REPORT_CALLS.append, name) for name in ("write", "announce", "record")}
    return SimpleNamespace(alarm=alarm, summary=lambda: "- hall shifted", **parts)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, list[str]]]:
    """Return a function that runs a script and lists the plugin functions it called, in order."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(rendered())

    def run(script: str, *arguments: str, **answers: Any) -> tuple[Result, list[str]]:
        called: list[str] = []
        names = (*ANSWERS, "deploy_online", "go_back", "register", "rollback", "wait_for_job")
        names = (*names, "monitor_model", "nothing_to_monitor")
        for name in (*names, "report_outputs"):
            answer = answers.get(name, ANSWERS.get(name))

            def replaced(*_: Any, name: str = name, answer: Any = answer, **__: Any) -> Any:
                called.append(name)
                if isinstance(answer, Exception):
                    raise answer
                return answer

            monkeypatch.setattr(mlops, name, replaced, raising=False)
        result = CliRunner().invoke(load(script).main, list(arguments))
        asked = ("report_outputs", "nothing_to_monitor")
        return result, [name for name in called if name not in asked]

    return run


def load(script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"script_{script}", FOLDER / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_has_a_help_text(call: Callable, script: str) -> None:
    result, called = call(script, "--help")
    assert result.exit_code == 0, result.output
    assert "--env" in result.output
    assert not called
    sys.modules.pop("train", None)


def test_a_training_job_is_submitted_awaited_and_registered(call: Callable) -> None:
    assert call("train")[1] == ["submit_job", "wait_for_job", "register"]
    assert call("train", "--no-wait")[1] == ["submit_job"]
    assert call("train", "--job", "sent")[1] == ["wait_for_job", "register"]


def test_a_model_refused_by_the_gate_exits_with_1(call: Callable) -> None:
    assert call("train", register=mlops.RefusedError("worse"))[0].exit_code == 1
    assert call("train", submit_job=mlops.OperationError("no workspace"))[0].exit_code == 2


def test_an_alarm_exits_with_1_after_a_full_report(call: Callable) -> None:
    for alarm, options, status in ((True, [], 1), (True, ["--answer"], 0), (False, [], 0)):
        REPORT_CALLS.clear()
        result, called = call("monitor", *options, monitor_model=monitoring_report(alarm))
        assert (result.exit_code, called) == (status, ["monitor_model"]), result.output
        assert "- hall shifted\n" in result.output
        assert REPORT_CALLS == ["write", "announce", "record"]
    assert call("monitor", monitor_model=mlops.OperationError("no profile"))[0].exit_code == 2
    result, called = call("monitor", "--answer", nothing_to_monitor=True)
    assert (result.exit_code, called) == (0, [])


def test_a_rollout_promotes_deploys_and_invokes(call: Callable) -> None:
    result, called = call("deploy", "--env", "stage")
    assert result.exit_code == 0, result.output
    assert called == ["promote", "deploy_online", "invoke"]
    bad = SimpleNamespace(status=500, endpoint="e", deployment="d")
    assert call("deploy", invoke=bad)[0].exit_code == 1
    refused, called = call("deploy", promote=mlops.RefusedError("no approval"))
    assert (refused.exit_code, called) == (1, ["promote"])


@pytest.mark.parametrize(
    "options", [("--back",), ("--if-champion", "2"), ("--if-deployment", "d")], ids=" ".join
)
def test_half_a_rollback_is_refused(call: Callable, options: tuple[str, ...]) -> None:
    """Without `--back`, the undoing of a rollout would start another one."""
    result, called = call("deploy", *options)
    assert (result.exit_code, called) == (2, [])
    assert "require each other" in result.output


def test_a_rollback_reverts_only_what_was_moved(call: Callable) -> None:
    moved = ("--if-deployment", "d", "--if-champion", "2")
    assert call("deploy", "--back", *moved)[1] == ["go_back", "rollback"]
    assert call("deploy", "--back", "--if-deployment", "", "--if-champion", "2")[1] == ["rollback"]
    refused, called = call("deploy", "--back", *moved, go_back=mlops.RefusedError("not there"))
    assert (refused.exit_code, called) == (1, ["go_back", "rollback"])
