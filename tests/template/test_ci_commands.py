"""Each CI step runs one ordinary command, and the shell never executes a value of a run."""

import importlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kedro_azure_mlops.cli import COMMANDS
from tests.helpers import BakedProject, clean_environment, tool
from tests.template.azure_checks.commands import reported_by_plugin, reported_in
from tests.template.ci_steps import PREDEFINED, Step, steps_of_azure, steps_of_github

VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")
# Jobs that only do GitHub's bookkeeping, without a project command.
BOOKKEEPING = ("passed", "issue")


@pytest.fixture(scope="module")
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    return baked(ci_provider="both")


@pytest.fixture
def steps(project: BakedProject, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    monkeypatch.chdir(project.path)
    all_steps = [*steps_of_azure(project), *steps_of_github(project)]
    assert len({step.location.split()[0] for step in all_steps}) == 10
    return [step for step in all_steps if step.location.split()[1] not in BOOKKEEPING]


def command_of(step: Step) -> list[str]:
    """Return the words of the command that a step runs."""
    lines = [line for line in step.script.splitlines() if not line.startswith("export ")]
    (line,) = lines
    words = shlex.split(line)
    return words[1:] if words[0] == "exec" else words


def test_each_step_runs_one_command(project: BakedProject, steps: list[Step]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", project.read("Makefile"), re.MULTILINE))
    for step in steps:
        match command_of(step):
            case ["make", "$TARGET"]:
                pass
            case ["make", target]:
                assert target in targets, step
            case [".venv/bin/kedro", "mlops", command, *_]:
                assert command in COMMANDS, step
            case [".venv/bin/python", script, "--env", env, *_]:
                assert project.has_file(script), step
                assert script.startswith("operation/execution/"), step
                assert step.environment == env, step
            case [".venv/bin/pytest", *_]:
                pass
            case other:
                pytest.fail(f"{step.location}: {other}")


def test_each_option_exists_for_its_command(project: BakedProject, steps: list[Step]) -> None:
    for step in steps:
        words = command_of(step)
        options = [word for word in words if word.startswith("--")]
        if words[1] == "mlops":
            command = importlib.import_module(f"kedro_azure_mlops.cli.{words[2]}").command
            known = {name for option in command.params for name in option.opts}
        elif words[0].endswith("python"):
            known = set(re.findall(r'"(--[a-z-]+)', project.read(words[1]))) | {"--env"}
        else:
            continue
        assert set(options) <= known, step


@pytest.mark.parametrize(
    ("step", "script"),
    [("train", "train"), ("deploy", "deploy"), ("monitor", "monitor"), ("decide", "retrain")],
)
def test_workflows_read_only_outputs_that_a_step_reports(
    project: BakedProject, step: str, script: str
) -> None:
    texts = [project.read(n) for n in project.files if n.startswith(".github/workflows/")]
    read = set(re.findall(rf"steps\.{step}\.outputs\.(\w+)", "".join(texts)))
    assert read
    file = project.path / "operation" / "execution" / f"{script}.py"
    assert read <= reported_in(file) | reported_by_plugin()


def test_values_of_a_run_reach_a_command_as_variables(steps: list[Step]) -> None:
    """Each variable is defined and quoted; no expression is inserted into the script."""
    for step in steps:
        assert "${{" not in step.script, step
        assert not re.search(r"\$\([\w.]+\)", step.script), step
        for name in VARIABLE.findall(step.script):
            assert name in step.variables | PREDEFINED, (step, name)
        for word in re.findall(r"\S*\$\S*", step.script.replace("$(az account", "")):
            assert word.count('"') == 2 or '"' in step.script, (step, word)


def test_shellcheck_finds_nothing(steps: list[Step]) -> None:
    text = "\n".join(f"f{n}() {{\n{step.script}\n}}\nf{n}" for n, step in enumerate(steps))
    checked = subprocess.run(
        [tool("shellcheck"), "--shell=bash", "--exclude=SC2093,SC2155,SC2317,SC2154", "-"],
        input=text, text=True, capture_output=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_shellcheck_would_find_an_unquoted_value(steps: list[Step]) -> None:
    quoted = [step.script for step in steps if '"$JOB"' in step.script]
    assert quoted
    for script in quoted:
        checked = subprocess.run(
            [tool("shellcheck"), "--shell=bash", "-"],
            input=script.replace('"$JOB"', "$JOB"), text=True, capture_output=True,
        )  # fmt: skip
        assert "SC2086" in checked.stdout


HOSTILE = [
    "$(touch hit)", "`touch hit`", "x; touch hit", "x | touch hit", "x && touch hit", "a\nb",
    'a" "b', "it's", "*", "", "--help", "-", "%s", "$HOME $(az.hit)", "back\\slash", "ä € 漢",
    "<(touch hit)", "##vso[task.setvariable variable=x]y", "${{ github.token }}",
]  # fmt: skip
RECORDER = '#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done >words\n'


@pytest.mark.skipif(sys.platform == "win32", reason="CI runs on Linux")
@pytest.mark.parametrize("value", HOSTILE)
def test_the_shell_never_executes_a_value(steps: list[Step], tmp_path: Path, value: str) -> None:
    """Each value arrives as one argument, even a hostile one."""
    for program in (".venv/bin/python", ".venv/bin/kedro", "az"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).write_text(RECORDER, encoding="utf-8")
        (tmp_path / program).chmod(0o755)
    tried = 0
    for step in steps:
        read = set(VARIABLE.findall(step.script)) - {"AZURE_SUBSCRIPTION_ID"}
        if not read or command_of(step)[0] == "make":
            continue
        tried += 1
        (tmp_path / "words").unlink(missing_ok=True)
        values = dict.fromkeys(read, value)
        shell = clean_environment(PATH=f"{tmp_path}:/usr/bin:/bin", AZURE_SUBSCRIPTION_ID="s")
        subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-c", step.script],
            cwd=tmp_path, env=shell | values, check=True, capture_output=True,
        )  # fmt: skip
        words = (tmp_path / "words").read_bytes().decode().split("\0")[:-1]
        expected = [
            VARIABLE.sub(lambda m: "${}", word).replace("${}:-}", "${}").replace("${}", value)
            for word in command_of(step)[1:]
        ]
        assert words == expected, step
        assert not (tmp_path / "hit").exists()
    assert tried >= 6


# A command that records the signals it receives, and ends after the second one.
INTERRUPTED = """#!{python}
import signal, sys, time
from pathlib import Path

heard = []
signal.signal(signal.SIGINT, lambda *_: (heard.append("INT"), Path("heard").touch()))
signal.signal(signal.SIGTERM, lambda *_: heard.append("TERM"))
Path("begun").touch()
end = time.monotonic() + 60
while not (len(heard) > 1 or time.monotonic() > end):
    time.sleep(0.01)
Path("taken_back").write_text(" ".join(heard))
sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="CI runs on Linux")
@pytest.mark.parametrize("provider", ["azure_pipelines", ".github"])
def test_a_cancelled_step_ends_with_its_command(
    steps: list[Step], tmp_path: Path, provider: str
) -> None:
    """Agents send INT and then TERM to the step's process; the command itself receives both."""
    (step,) = {
        step.script: step for step in steps
        if step.location.startswith(provider) and step.environment == "stage"
        and "deploy.py" in step.script and "--back" not in step.script
    }.values()  # fmt: skip
    program = tmp_path / ".venv/bin/python"
    program.parent.mkdir(parents=True)
    program.write_text(INTERRUPTED.replace("{python}", sys.executable), encoding="utf-8")
    program.chmod(0o755)
    shutil.copy(program, tmp_path / "az")
    process = subprocess.Popen(
        ["bash", "--noprofile", "--norc", "-e", "-c", step.script],
        cwd=tmp_path, env=clean_environment(AZURE_SUBSCRIPTION_ID="s"), start_new_session=True,
        # a child process inherits ignored signals
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    try:
        _wait_until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGINT)
        _wait_until((tmp_path / "heard").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert (tmp_path / "taken_back").read_text() == "INT TERM"


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ci_checks_tests_and_compiles_every_environment(steps: list[Step]) -> None:
    for file in ("azure_pipelines/ci.yml", ".github/workflows/ci.yml"):
        scripts = "\n".join(step.script for step in steps if step.location.startswith(file))
        for env in ("dev", "stage", "prod"):
            assert f"kedro mlops compile --env {env} --check" in scripts
        assert "make check" in scripts
        assert "--junitxml=build/reports/tests.xml" in scripts
        assert "kedro mlops audit" in scripts


def test_steps_that_sign_in_exec_their_command_to_receive_signals(
    steps: list[Step],
) -> None:
    for step in steps:
        if step.environment and "make" not in command_of(step)[0]:
            assert step.script.splitlines()[-1].startswith("exec "), step
