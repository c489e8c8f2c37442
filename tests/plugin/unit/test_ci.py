"""Outputs for later CI steps, as Azure's agent and GitHub's runner read them, and signals."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kedro_azure_mlops.ci import (
    annotate,
    in_ci,
    report_outputs,
    run_until_interrupted,
    shielded_from_interrupts,
    without_ci_commands,
)
from kedro_azure_mlops.errors import OperationError

HARD_VALUES = {
    "percent": "100 %3B %0A %AZP25",
    "ends": "one\ntwo\r\nthree\rfour",
    "closes": "a]b;c=d;isSecret=true",
    "injects": "x\n##vso[task.setvariable variable=stolen]y\nstolen=1\nEND_OF_VALUE\nEND_OF_VALUE_",
    "empty": "",
    "name": "grüße = 5 °C",
}
_UNESCAPES = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%AZP25", "%"))


def read_by_azure(log: str) -> dict[str, str]:
    """Read output variables from a log, a line at a time, as the agent does."""
    outputs = {}
    for line in log.split("\n"):
        if match := re.search(r"##vso\[task\.setvariable ([^\]]*)\](.*)", line):
            assert "isOutput=true" in match[1].split(";")
            (name,) = re.findall(r"variable=([^;]*)", match[1])
            value = match[2]
            for escape, character in _UNESCAPES:
                value = value.replace(escape, character)
            outputs[name] = value
    return outputs


def read_by_github(file: Path) -> dict[str, str]:
    """Read outputs from the file, as the runner does: a delimiter begins and ends a value."""
    lines = iter(file.read_bytes().decode().split("\n")[:-1])
    outputs = {}
    for line in lines:
        if match := re.fullmatch(r"(\w+)<<(.+)", line):
            value_lines = []
            while (part := next(lines)) != match[2]:
                value_lines.append(part)
            outputs[match[1]] = "\n".join(value_lines)
        else:
            name, _, value = line.partition("=")
            outputs[name] = value
    return outputs


def test_azure_pipelines_reads_every_value_unchanged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    report_outputs(**HARD_VALUES)
    log = capsys.readouterr().out
    assert log.count("\n") == len(HARD_VALUES), "a command is one line"
    assert read_by_azure(log) == HARD_VALUES


def test_github_reads_every_value_unchanged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "output"
    file.write_text("before=1\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_OUTPUT", str(file))
    report_outputs(**HARD_VALUES)
    assert read_by_github(file) == {"before": "1"} | HARD_VALUES
    assert capsys.readouterr().out == ""


def test_the_last_value_counts_and_booleans_are_lower_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    report_outputs(moved=False, version="3")
    report_outputs(moved=True)
    reported = {"moved": "true", "version": "3"}
    assert read_by_azure(capsys.readouterr().out) == reported
    assert read_by_github(tmp_path / "output") == reported


def test_nothing_is_reported_outside_ci(capsys: pytest.CaptureFixture[str]) -> None:
    report_outputs(moved=True)
    assert capsys.readouterr().out == ""
    assert not in_ci()


def test_a_file_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "no" / "output"))
    with pytest.raises(OperationError, match=r"GITHUB_OUTPUT names a file .*no.output"):
        report_outputs(moved=True)


@pytest.mark.parametrize(
    ("name", "value", "is_ci"),
    [
        ("TF_BUILD", "True", True),
        ("GITHUB_ACTIONS", "true", True),
        ("CI", "1", True),
        ("CI", "false", False),
    ],
)
def test_a_ci_run_is_recognized(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, is_ci: bool
) -> None:
    monkeypatch.setenv(name, value)
    assert in_ci() == is_ci


def test_ci_commands_in_printed_output_are_disabled() -> None:
    injected = "train | ##vso[task.setvariable variable=moved;isOutput=true]true"
    assert read_by_azure(injected) == {"moved": "true"}
    assert read_by_azure(without_ci_commands(injected)) == {}
    assert without_ci_commands("x ##[set-env name=PATH]y") == "x ##-[set-env name=PATH]y"
    assert without_ci_commands("## a heading, vso[") == "## a heading, vso["


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restore the signal handlers after a test."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(name: str) -> int:
    """Send a signal to this process, which handles it before the next line."""
    os.kill(os.getpid(), getattr(signal, name))
    return 0


@pytest.mark.usefixtures("handlers")
class TestSignals:
    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
    def test_an_interrupted_command_reports_it_and_returns_130(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for ignored in (signal.SIGHUP, signal.SIGQUIT):  # by nohup, and in the background
            signal.signal(ignored, signal.SIG_DFL)
        before = signal.getsignal(signal.SIGTERM)
        assert run_until_interrupted(lambda: send(name), "submit: stopped") == 130
        assert capsys.readouterr().err == "submit: stopped\n"
        assert signal.getsignal(signal.SIGTERM) == before

    def test_an_uninterrupted_command_keeps_its_status(self) -> None:
        assert run_until_interrupted(lambda: 1, "never said") == 1

    def test_a_hangup_that_nohup_ignores_stays_ignored(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert run_until_interrupted(lambda: send("SIGHUP"), "never said") == 0

    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
    def test_a_clean_up_is_not_interrupted(self, name: str) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def work() -> int:
            with shielded_from_interrupts():
                send(name)
            return 0

        assert run_until_interrupted(work, "never said") == 0


@pytest.mark.parametrize("kind", ["warning", "error"])
def test_annotations_use_the_syntax_of_each_ci_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    text = "hall: 100 % of 5;\n::stop::x"
    monkeypatch.setenv("TF_BUILD", "True")
    annotate([text], kind=kind)  # type: ignore[arg-type]
    line = f"##vso[task.logissue type={kind}]hall: 100 %AZP25 of 5%3B%0A::stop::x\n"
    assert capsys.readouterr().out == line

    monkeypatch.delenv("TF_BUILD")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    annotate([text], kind=kind)  # type: ignore[arg-type]
    assert capsys.readouterr().out == f"::{kind}::hall: 100 %25 of 5;%0A::stop::x\n"

    monkeypatch.delenv("GITHUB_ACTIONS")
    annotate([text])
    assert capsys.readouterr().out == ""
