"""Terminal output: line widths, pipes, colours, the parts of an error, and progress."""

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from kedro_azure_mlops import progress, terminal
from kedro_azure_mlops.cli import COMMANDS, GROUPS, Command, main
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.registry import Version
from kedro_azure_mlops.terminal import (
    fit,
    has_colors,
    is_terminal,
    parts_of,
    prefixed_printer,
    project_name,
    shorten,
    show,
    show_error,
    show_table,
)
from tests.plugin.seeds import PASSWORD

SENTENCE = (
    "The workspace of dev is not known: there is no subscription_id in "
    "operation/configuration/dev/azureml.yml and none in the environment, so nothing was sent."
)
COMMAND = "kedro mlops deploy online --env dev --version 12 --no-traffic --dry-run"
DIGEST = "40c15bb4" * 8
ESCAPE = "\x1b"


class Screen(io.TextIOWrapper):
    """A stream that is a terminal or a pipe, and records its output."""

    def __init__(self, *, encoding: str = "utf-8", tty: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n", write_through=True)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def fileno(self) -> int:
        raise OSError("no file")

    @property
    def text(self) -> str:
        self.flush()
        content = self.buffer
        assert isinstance(content, io.BytesIO)
        return content.getvalue().decode(self.encoding)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CI", "GITHUB_ACTIONS", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def screens(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Screen, Screen]]:
    """Replace stdout and stderr with terminals or pipes, and return both."""

    def replace(**kind: bool | str) -> tuple[Screen, Screen]:
        out, err = Screen(**kind), Screen(**kind)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return replace


def plain(text: str) -> str:
    """Return text without escape codes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def print_everything() -> None:
    """Print every form of output that a command can have."""
    say = prefixed_printer("deploy")
    say(SENTENCE)
    show(f"  ok     {SENTENCE}")
    show_table([("nightly", "enabled", SENTENCE), ("w", "disabled", "each day")])
    show_error("deploy", OperationError(SENTENCE, where="dev/mlops.yml", next=COMMAND))


# Widths.


@pytest.mark.parametrize("width", [48, 72, 80])
def test_lines_fit_the_terminal_and_keep_every_word(
    width: int, screens: Callable[..., tuple[Screen, Screen]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out, err = screens()
    print_everything()
    for line in plain(out.text + err.text).splitlines():
        # a command that is longer than a line is not broken
        assert len(line) <= width or line.strip().removeprefix("next: ") == COMMAND
    assert plain(out.text).split().count("azureml.yml") == 0
    for word in SENTENCE.split():
        assert word in plain(out.text)
        assert word in plain(err.text)


def test_a_pipe_gets_unbroken_lines(screens: Callable[..., tuple[Screen, Screen]]) -> None:
    out, err = screens(tty=False)
    print_everything()
    assert out.text.splitlines() == [
        f"deploy: {SENTENCE}",
        f"  ok     {SENTENCE}",
        f"  nightly  enabled   {SENTENCE}",
        "  w        disabled  each day",
    ]
    assert err.text.splitlines() == [
        f"deploy: {SENTENCE}",
        "  where: dev/mlops.yml",
        f"  next: {COMMAND}",
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"to repeat it, run: {COMMAND}",
        f"it can be undone: `{COMMAND}` does it",
        "see /a/path/with-hyphens/that-is/very/long/and/has/no/end/at/all/anywhere/here.yml",
    ],
)
def test_commands_and_paths_are_never_broken(text: str) -> None:
    fitted = fit(f"the endpoint has no deployment with traffic, {text}", 50)
    kept = COMMAND if COMMAND in text else text.removeprefix("see ")
    assert kept in fitted
    assert " ".join(fitted.split()) == f"the endpoint has no deployment with traffic, {text}"


def test_a_multi_line_command_is_unchanged() -> None:
    lines = f"  docker build --tag plant:1 \\\n    --build-arg DIGEST={DIGEST} \\\n    build/serve"
    assert fit(lines, 60) == lines


def test_continuation_lines_are_indented_to_their_column() -> None:
    first, *others = fit(f"  PROBLEM  {SENTENCE}", 80).splitlines()
    assert first.startswith("  PROBLEM  The")
    assert others
    assert all(line.startswith(" " * 11) and line[11] != " " for line in others)


def test_a_terminal_shows_the_name_of_a_node_and_a_pipe_the_full_line(
    screens: Callable[..., tuple[Screen, Screen]],
) -> None:
    node = "train | 21:17:06 Running node: clean: clean([raw;params:cleaning]) -> [clean;report]"
    other = "train | ValueError: 1 is not 2"
    for tty, shown in ((True, "train | 21:17:06 Running node: clean"), (False, node)):
        out, _ = screens(tty=tty)
        terminal.show_log(node)
        terminal.show_log(other)
        assert out.text.splitlines() == [shown, other]


def test_a_table_wraps_its_last_column_and_keeps_the_others(
    screens: Callable[..., tuple[Screen, Screen]],
) -> None:
    out, _ = screens()
    show_table([("nightly", "enabled", SENTENCE), ("w", "disabled", "each day")])
    lines = plain(out.text).splitlines()
    column = lines[0].index("The workspace")
    assert lines[0].startswith("  nightly  enabled ")
    assert lines[-1].split() == ["w", "disabled", "each", "day"]
    assert lines[-1].index("each") == column
    assert max(map(len, lines)) <= 80
    assert " ".join(line[column:] for line in lines[:-1]).split() == SENTENCE.split()


def test_a_table_shortens_wide_columns_in_a_terminal_and_keeps_paths(
    screens: Callable[..., tuple[Screen, Screen]],
) -> None:
    path = "operation/configuration/dev/azureml.yml"
    row = ("a-schedule-" * 6, "enabled", f"{SENTENCE} {path}")
    out, _ = screens()
    show_table([row])
    lines = plain(out.text).splitlines()
    assert max(map(len, lines)) <= 82
    assert re.match(r"  a-schedule-a-\S*…  enabled  The", lines[0])
    assert path in plain(out.text)
    out, _ = screens(tty=False)
    show_table([row])
    assert out.text == f"  {'  '.join(row)}\n"


def test_a_long_value_is_shortened_only_in_a_terminal(
    screens: Callable[..., tuple[Screen, Screen]],
) -> None:
    line = f"  digest          {DIGEST}"
    screens()
    assert shorten(line) == f"{line[:79]}…"
    assert shorten(line[:80]) == line[:80]
    screens(tty=False)
    assert shorten(line) == line


@dataclass
class FakeRegistry:
    """A registry with one champion."""

    env = "stage"
    name = "plant-stage"
    place = "MLflow at sqlite:///mlruns.db"
    tags: dict[str, str]

    def champion(self) -> Version:
        return Version(self.name, "3", DIGEST, self.tags)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRegistry:
    reasons = "ok  r2 0.71, minimum 0.30; NO  share 0.5, maximum 0.1"
    tags = {"metrics.r2": "0.71", "gate": "refused", "gate.reasons": reasons}
    registry = FakeRegistry(tags | {"parameters": json.dumps({"model": {"alpha": [1] * 90}})})
    monkeypatch.setattr("kedro_azure_mlops.registry.open_registry", lambda _: registry)
    monkeypatch.chdir(tmp_path)
    return registry


def test_a_champion_is_shortened_in_a_terminal_and_complete_in_a_pipe(
    registry: FakeRegistry, screens: Callable[..., tuple[Screen, Screen]]
) -> None:
    out, err = screens()
    assert main(["champion", "--env", "stage"]) == 0
    lines = plain(out.text).splitlines()
    assert max(map(len, lines)) <= 80
    assert f"  digest          {DIGEST[:61]}…" in lines
    assert f"{'':27}NO  share 0.5, maximum 0.1" in lines
    assert "in full: kedro mlops champion --env stage --json" in " ".join(plain(err.text).split())
    out, err = screens(tty=False)
    assert main(["champion", "--env", "stage"]) == 0
    for value in (DIGEST, registry.tags["gate.reasons"], registry.tags["parameters"]):
        assert value in out.text
    assert err.text == ""


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("0.7684210526315789", "0.7684"),
        ("0.00012345678", "0.0001235"),
        ("12345.6789", "12346"),
        ("2e-12", "2e-12"),
        ("3.0", "3"),
        ("nan", "nan"),
        ("left out: 6,000 characters", "left out: 6,000 characters"),
    ],
)
def test_champion_metrics_have_four_digits_in_text_and_all_in_json(
    recorded: str, shown: str, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.tags |= {"metrics.mae": recorded, "approval.by": recorded}
    assert main(["champion", "--env", "stage"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"metrics         mae: {shown}" in lines
    assert f"approval        by: {recorded}" in lines, "only metrics are rounded"
    assert main(["champion", "--env", "stage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tags"]["metrics.mae"] == recorded


def test_a_champion_as_json_has_everything_recorded(
    registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["champion", "--env", "stage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "plant-stage",
        "version": "3",
        "digest": DIGEST,
        "environment": "stage",
        "kept_in": registry.place,
        "tags": registry.tags,
    }
    assert main(["champion", "--env", "stage", "--json", "--history"]) == 2
    assert "cannot be combined" in capsys.readouterr().err


# Colours.


@pytest.mark.parametrize(
    ("variables", "tty", "colored"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": ""}, True, True),
    ],
    ids=["terminal", "pipe", "no_color", "forced", "no_color_wins", "dumb", "empty_is_unset"],
)
def test_colours_depend_on_the_terminal_and_the_environment(
    variables: dict[str, str],
    tty: bool,
    colored: bool,
    screens: Callable[..., tuple[Screen, Screen]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out, err = screens(tty=tty)
    print_everything()
    assert (ESCAPE in out.text, ESCAPE in err.text, has_colors(out)) == (colored,) * 3


def test_colours_do_not_change_the_text(
    screens: Callable[..., tuple[Screen, Screen]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = screens(tty=False)
    print_everything()
    monkeypatch.setenv("FORCE_COLOR", "1")
    colored, colored_err = screens(tty=False)
    print_everything()
    assert plain(colored.text) == out.text != colored.text
    assert plain(colored_err.text) == err.text != colored_err.text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
@pytest.mark.parametrize("tty", [True, False])
def test_a_console_without_utf_8_gets_escaped_characters(
    encoding: str, tty: bool, screens: Callable[..., tuple[Screen, Screen]]
) -> None:
    out, err = screens(encoding=encoding, tty=tty)
    prefixed_printer("gate")("R² 0.9 → 1.0 ⠋")
    show(shorten("x" * 200))
    show_error("gate", "R² is 漢")
    terminal.show_header("gate", "dev", "plant")
    assert "0.9 \\u2192 1.0 \\u280b" in plain(out.text)
    assert "is \\u6f22" in plain(err.text)
    assert re.search("gate (·|-) dev (·|-) plant", plain(err.text))


# Errors.


def test_an_error_has_a_message_a_location_and_a_next_step() -> None:
    error = RefusedError("it is refused.", where="dev/mlops.yml: gate", next="kedro run")
    assert parts_of(error) == ["it is refused.", "where: dev/mlops.yml: gate", "next: kedro run"]
    assert str(error) == "it is refused.\nwhere: dev/mlops.yml: gate\nnext: kedro run"
    assert error.args == ("it is refused.",)


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("one thing is wrong", ["one thing is wrong"]),
        (
            "no run has reached the gate yet. Run: kedro run --env dev",
            ["no run has reached the gate yet.", "next: kedro run --env dev"],
        ),
        (
            "there is no commit yet. Run: git commit",
            ["there is no commit yet.", "next: git commit"],
        ),
        (
            "Version 1.2 of conf/a.b.yml is gone. It was removed. Name another. Or wait.",
            [
                "Version 1.2 of conf/a.b.yml is gone.",
                "It was removed.",
                "next: Name another.",
                "Or wait.",
            ],
        ),
        (
            "these lines are wrong:\n  line 1. Set by hand\n\n  line 2\nRun it again.",
            [
                "these lines are wrong:",
                "  line 1. Set by hand",
                "  line 2",
                "next: Run it again.",
            ],
        ),
    ],
    ids=["one_sentence", "typed", "run", "sentences", "lines"],
)
def test_a_message_is_split_into_sentences_and_a_next_step(message: str, parts: list[str]) -> None:
    assert parts_of(OperationError(message)) == parts_of(message) == parts


def failing(error: Exception) -> click.Command:
    def work() -> None:
        raise error

    return Command("script", callback=work)


@pytest.mark.parametrize(
    ("error", "status"), [(OperationError("no. See it."), 2), (RefusedError("no. See it."), 1)]
)
def test_a_failing_command_prints_its_error_as_a_block(
    error: Exception, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        failing(error).main([])
    assert (exited.value.code, capfd.readouterr().err) == (status, "script: no.\n  next: See it.\n")


def test_a_secret_is_redacted_before_lines_are_wrapped(
    screens: Callable[..., tuple[Screen, Screen]],
) -> None:
    out, err = screens()
    secret = PASSWORD
    for width in range(40, 60):
        text = f"{'x' * width} password: {secret} and https://u:{secret}@host/path"
        show(text)
        show_error("a", text)
        show_table([("a", text)])
    assert "***" in out.text
    assert secret not in out.text + err.text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["schedule", "xyz"],
            "schedule: No such command 'xyz'.\n  next: kedro mlops schedule --help\n",
        ),
        (["gait"], "mlops: No such command 'gait'.\n  next: kedro mlops --help\n"),
        (
            ["deploy", "onlin"],
            "deploy: Invalid value for '{online|batch}': 'onlin' is not one of 'online', 'batch'."
            "\n  next: kedro mlops deploy --help\n",
        ),
        (
            ["ab"],
            "ab: give one of --share, --compare and --end\n  next: kedro mlops ab --help\n",
        ),
    ],
)
def test_usage_errors_are_shown_like_any_other_error(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err == expected


# The header and the help.


def test_a_header_is_shown_in_terminals_and_ci_logs(
    screens: Callable[..., tuple[Screen, Screen]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "plant"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    script = Command("script", callback=lambda: None)
    out, err = screens()
    assert script.main([], standalone_mode=False) == 0
    assert (out.text, plain(err.text)) == ("", "script · plant\n")
    _, err = screens(tty=False)
    script.main([], standalone_mode=False)
    assert err.text == ""
    monkeypatch.setenv("CI", "true")
    script.main([], standalone_mode=False)
    assert err.text == "script · plant\n"


def test_a_long_header_is_wrapped_between_its_parts(
    screens: Callable[..., tuple[Screen, Screen]],
) -> None:
    workspace = "workspace mlw-of-a-plant-in-the-north-dev"
    _, err = screens()
    terminal.show_header("provision", "dev", "a-project-of-a-long-name", workspace)
    first, second = plain(err.text).splitlines()
    assert first == "provision · dev · a-project-of-a-long-name ·"
    assert second == f"  {workspace}"
    _, err = screens()
    terminal.show_header("provision", None, "plant", "workspace x")
    assert plain(err.text) == "provision · plant · workspace x\n"


def test_the_next_step_is_shown_only_in_a_terminal(
    screens: Callable[..., tuple[Screen, Screen]],
) -> None:
    out, err = screens()
    terminal.show_next("kedro mlops submit")
    assert (out.text, plain(err.text)) == ("", "  next: kedro mlops submit\n")
    _, err = screens(tty=False)
    terminal.show_next("kedro mlops submit")
    assert err.text == ""


def test_a_project_without_a_name_is_named_after_its_folder(tmp_path: Path) -> None:
    assert project_name(tmp_path) == tmp_path.name
    (tmp_path / "pyproject.toml").write_text("name = ]", encoding="utf-8")
    assert project_name(tmp_path) == tmp_path.name
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    assert project_name(tmp_path) == "x"


def test_the_help_fits_80_columns_and_shows_the_groups_in_order_of_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    titles = [line.rstrip(":") for line in lines if line.rstrip(":") in GROUPS]
    assert titles == ["Start", "Run on Azure", "Models", "Serve", "Monitor", "Update"]
    shown = [line.split()[0] for line in lines if re.match(r"  [a-z]+ {2,}\S", line)]
    assert shown == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_80_columns(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


# Progress.


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spinner(clock: Clock) -> Iterator[tuple[progress.Activity, Screen]]:
    screen = Screen()
    activity = progress.Activity("deploy", screen, clock)
    yield activity, screen
    activity.pause()


def test_a_spinner_appears_after_two_seconds(
    spinner: tuple[progress.Activity, Screen], clock: Clock
) -> None:
    activity, screen = spinner
    for clock.now in (0.0, 1.0, 1.9):
        activity.tick()
    assert screen.text == ""
    clock.now = 2.0
    activity.tick()
    assert "deploy" in screen.text
    assert "0:00:02" in screen.text


def test_a_printed_line_hides_the_spinner_for_two_seconds(
    spinner: tuple[progress.Activity, Screen], clock: Clock
) -> None:
    activity, screen = spinner
    clock.now = 5.0
    activity.tick()
    activity.pause("a line\n")
    drawn = screen.text
    assert drawn.endswith(f"{ESCAPE}[2K"), "the line of the spinner is erased"
    clock.now = 6.9
    activity.tick()
    assert screen.text == drawn
    clock.now = 7.0
    activity.tick()
    assert "0:00:07" in screen.text.removeprefix(drawn)


def test_there_is_no_spinner_during_a_prompt(
    spinner: tuple[progress.Activity, Screen], clock: Clock
) -> None:
    activity, screen = spinner
    activity.pause("Cancel the cloud job too? [y/N] ")
    clock.now = 60.0
    activity.tick()
    assert screen.text == ""
    activity.pause("a line\n")
    clock.now = 62.0
    activity.tick()
    assert "deploy" in screen.text


def test_the_cursor_is_never_hidden(
    spinner: tuple[progress.Activity, Screen], clock: Clock
) -> None:
    """A killed process could not restore it."""
    activity, screen = spinner
    clock.now = 3.0
    activity.tick()
    activity.pause()
    assert f"{ESCAPE}[?25l" not in screen.text


def test_an_ascii_console_has_an_ascii_spinner(clock: Clock) -> None:
    screen = Screen(encoding="ascii")
    activity = progress.Activity("deploy", screen, clock)
    clock.now = 3.0
    activity.tick()
    activity.pause()
    assert "deploy" in screen.text


def test_there_is_no_spinner_and_no_error_without_rich(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an update that runs in a Python with only click installed."""
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    screen = Screen()
    activity = progress.Activity("update", screen, clock)
    clock.now = 9.0
    with pytest.raises(ImportError):
        activity.tick()
    activity.draw()  # returns without output
    assert screen.text == ""


def test_output_is_complete_and_the_streams_are_restored(
    screens: Callable[..., tuple[Screen, Screen]], clock: Clock
) -> None:
    out, err = screens()
    activity = progress.Activity("deploy", err, clock)
    with activity.watching():
        print("a result")
        clock.now = 9.0
        activity.tick()
        print("another")
        sys.stderr.writelines(["a note\n"])
        assert sys.stdout.isatty()
    assert (sys.stdout, sys.stderr) == (out, err)
    assert out.text == "a result\nanother\n"
    assert "deploy" in err.text
    assert err.text.endswith("a note\n")
    assert [one for one in threading.enumerate() if one.name.endswith("(draw)")] == []


def test_a_log_record_replaces_the_line_of_the_spinner(
    screens: Callable[..., tuple[Screen, Screen]], clock: Clock
) -> None:
    """A handler writes to the original stream, and loses its temporary filter at the end."""
    _, err = screens()
    handler = logging.StreamHandler(err)
    logger = logging.getLogger("kedro_azure_mlops.test")
    logger.addHandler(handler)
    try:
        with (activity := progress.Activity("deploy", err, clock)).watching():
            clock.now = 9.0
            activity.tick()
            logger.warning("a record")
    finally:
        logger.removeHandler(handler)
    assert f"{ESCAPE}[2Ka record\n" in err.text
    assert handler.filters == []


def test_an_interrupt_erases_the_spinner(
    screens: Callable[..., tuple[Screen, Screen]], clock: Clock
) -> None:
    out, err = screens()
    activity = progress.Activity("deploy", err, clock)
    with pytest.raises(KeyboardInterrupt), activity.watching():
        clock.now = 9.0
        activity.tick()
        raise KeyboardInterrupt
    assert err.text.endswith(f"{ESCAPE}[2K")
    assert (sys.stdout, sys.stderr) == (out, err)


def test_row_counts_are_shown_by_the_spinner_instead_of_the_log(
    screens: Callable[..., tuple[Screen, Screen]], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, err = screens()
    logger = logging.getLogger("kedro_azure_mlops.test")
    with (activity := progress.Activity("monitor", err, clock)).watching():
        work = progress.Progress("Read", 4_000_000, logger, clock)
        clock.now = 10.0
        work.advance(1_000_000)
        activity.tick()
    assert "monitor: Read 1,000,000 rows, 25%, about 0:00:30 left" in err.text
    assert caplog.messages == []
    work.advance(0)
    clock.now = 20.0
    work.advance(1_000_000)
    assert caplog.messages == ["Read 2,000,000 rows, 50%, about 0:00:20 left"]


@pytest.mark.parametrize(
    ("variables", "seconds", "expected"),
    [
        ({"CI": "true"}, 200.0, "deploy: took 0:03:20\n"),
        ({"CI": "true"}, 1.9, ""),
        ({}, 200.0, ""),
    ],
    ids=["ci", "short", "pipe"],
)
def test_a_ci_log_gets_one_line_at_the_end(
    variables: dict[str, str],
    seconds: float,
    expected: str,
    screens: Callable[..., tuple[Screen, Screen]],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out, err = screens(tty=False)
    with progress.shown_activity("deploy", clock):
        clock.now = seconds
    assert (out.text, err.text) == ("", expected)


def test_a_spinner_needs_a_terminal_for_both_streams(
    screens: Callable[..., tuple[Screen, Screen]], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of a pipe, such as ``less``, may write to the same terminal."""
    _, err = screens()
    monkeypatch.setattr(sys, "stdout", Screen(tty=False))
    before = sys.stdout
    with progress.shown_activity("deploy", clock):
        assert sys.stdout is before
    assert err.text == ""
    monkeypatch.setattr(sys, "stdout", Screen())
    before = sys.stdout
    with progress.shown_activity("deploy", clock):
        assert sys.stdout is not before
    assert sys.stdout is before


def test_a_closed_stream_is_not_a_terminal() -> None:
    stream = io.StringIO()
    assert not is_terminal(stream)
    stream.close()
    assert not is_terminal(stream)
    assert not is_terminal(None)
