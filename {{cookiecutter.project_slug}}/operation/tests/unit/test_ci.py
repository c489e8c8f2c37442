"""What reaches the later steps of a CI run, read back as Azure's agent and GitHub's runner do."""

import re
from pathlib import Path

import pytest

from operation.ci import disarmed, in_ci, tell
from operation.errors import OperationError

HARD = {
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
    found = {}
    for line in log.split("\n"):
        if match := re.search(r"##vso\[task\.setvariable ([^\]]*)\](.*)", line):
            assert "isOutput=true" in match[1].split(";")
            (name,) = re.findall(r"variable=([^;]*)", match[1])
            text = match[2]
            for escape, character in _UNESCAPES:
                text = text.replace(escape, character)
            found[name] = text
    return found


def read_by_github(file: Path) -> dict[str, str]:
    """Read outputs from the file, as the runner does: a delimiter ends what began with it."""
    lines = iter(file.read_bytes().decode().split("\n")[:-1])
    found = {}
    for line in lines:
        if match := re.fullmatch(r"(\w+)<<(.+)", line):
            text = []
            while (part := next(lines)) != match[2]:
                text.append(part)
            found[match[1]] = "\n".join(text)
        else:
            name, _, found_text = line.partition("=")
            found[name] = found_text
    return found


def test_azure_pipelines_reads_every_value_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    tell(**HARD)
    log = capsys.readouterr().out
    assert log.count("\n") == len(HARD), "a command is one line"
    assert read_by_azure(log) == HARD


def test_github_reads_every_value_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "output"
    file.write_text("before=1\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_OUTPUT", str(file))
    tell(**HARD)
    assert read_by_github(file) == {"before": "1"} | HARD
    assert capsys.readouterr().out == ""


def test_the_last_word_counts_and_yes_is_true(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    tell(moved=False, version="3")
    tell(moved=True)
    told = {"moved": "true", "version": "3"}
    assert read_by_azure(capsys.readouterr().out) == told
    assert read_by_github(tmp_path / "output") == told


def test_a_laptop_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tell(moved=True)
    assert capsys.readouterr().out == ""
    assert not in_ci()


def test_a_file_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "no" / "output"))
    with pytest.raises(OperationError, match=r"GITHUB_OUTPUT names a file .*no.output"):
        tell(moved=True)


@pytest.mark.parametrize(
    ("name", "value", "is_ci"),
    [
        ("TF_BUILD", "True", True),
        ("GITHUB_ACTIONS", "true", True),
        ("CI", "1", True),
        ("CI", "false", False),
    ],
)
def test_who_is_ci(monkeypatch: pytest.MonkeyPatch, name: str, value: str, is_ci: bool) -> None:
    monkeypatch.setenv(name, value)
    assert in_ci() == is_ci


def test_what_others_print_hands_on_nothing() -> None:
    stolen = "train | ##vso[task.setvariable variable=moved;isOutput=true]true"
    assert read_by_azure(stolen) == {"moved": "true"}
    assert read_by_azure(disarmed(stolen)) == {}
    assert disarmed("x ##[set-env name=PATH]y") == "x ##-[set-env name=PATH]y"
    assert disarmed("## a heading, vso[") == "## a heading, vso["
