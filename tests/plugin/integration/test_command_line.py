"""``kedro run`` and the commands as users type them: their output and exit status."""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
from kedro.pipeline import Pipeline
from kedro.validation import DataValidationError

from kedro_azure_mlops.cli import COMMANDS, main
from kedro_azure_mlops.cli import run as module
from kedro_azure_mlops.cli.run import cli
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.hooks import hooks
from tests.plugin.helpers import Project, new_shell


def kedro_run(project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(project.path)
    bootstrap_project(project.path)
    return CliRunner().invoke(cli, ["run", *arguments])


def test_a_run_ends_with_its_report(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    result = kedro_run(project, monkeypatch, "--params", "model.arguments.alpha=2")
    assert result.exit_code == 0
    assert "Held out: r2 0." in result.output
    assert result.output.endswith("Gate: PASSED\n")


DESCRIBE = "see: kedro registry describe"
NO_DATASETS = "Pipeline does not contain datasets named ['nope']; see: kedro catalog describe"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--params", "raw_file=data/raw/none.csv"], "data/raw/none.csv"),
        (
            ["--params", "train_fracton=5"],
            "no parameter train_fracton. Did you mean train_fraction",
        ),
        (["--env", "stagee"], "stagee"),
        (["--pipelines", "metrcs"], "There is no pipeline metrcs; see: kedro registry list"),
        (["--runner", "ParallelRunner"], "--runner ThreadRunner"),
        (["--pipelines", "train"], "train.parquet"),
        (["--nodes", "fitt"], f"does not contain nodes named ['fitt']; {DESCRIBE}\n"),
        (
            ["--pipelines", "train", "--nodes", "fitt"],
            f"does not contain nodes named ['fitt']; {DESCRIBE} train\n",
        ),
        (["--from-nodes", "nope"], f"does not contain nodes named ['nope']; {DESCRIBE}\n"),
        (["--to-nodes", "nope"], f"does not contain nodes named ['nope']; {DESCRIBE}\n"),
        (["--namespaces", "nope"], f"following namespaces: ['nope']; {DESCRIBE}\n"),
        (["--from-inputs", "nope"], NO_DATASETS),
        (["--to-outputs", "nope"], NO_DATASETS),
        (["--tags", "nope,none"], "No node matches --tags nope,none.\n"),
        (
            ["--tags", "nope", "--nodes", "fit"],
            f"No node matches --nodes fit --tags nope; {DESCRIBE}\n",
        ),
    ],
)
def test_user_errors_are_reported_without_a_traceback(
    project: Project, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    result = kedro_run(project, monkeypatch, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert isinstance(result.exception, SystemExit), "a user error; a bug would keep its traceback"
    assert not project.processed("model").exists()


@pytest.mark.parametrize(
    ("kind", "package"),
    [
        ("spark.SparkDatasetV2", "kedro-azure-mlops[spark]"),
        ("ibis.TableDataset", "kedro-datasets[ibis]"),
    ],
)
def test_the_missing_package_of_an_entry_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    folder = project.path / "conf" / "other"
    folder.mkdir()
    (folder / "catalog.yml").write_text(f"summary: {{type: {kind}, filepath: x}}", encoding="utf-8")
    result = kedro_run(project, monkeypatch, "--env", "other")
    assert result.exit_code == 2
    assert f"an entry of type {kind}, which requires a package" in result.output
    assert f'Install it: uv pip install "{package}"' in result.output


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (
            "kedro_azure_mlops.models.ModelDatast",
            "does not exist. Did you mean kedro_azure_mlops.models.ModelDataset?",
        ),
        ("kedro_azure_mlops.modls.ModelDataset", "does not exist."),
        ("pandas.CSVDatast", "does not exist. Did you mean pandas.CSVDataset?"),
        ("spark.SparkDatast", "does not exist. Did you mean spark.SparkDataset?"),
        ("MemoryDatast", "does not exist. Did you mean MemoryDataset?"),
        ("CSVDataset", "does not exist."),
        ("plantt.CSVDataset", "cannot be imported: No module named 'plantt'."),
        ("kedro_azure_mlops.errors.OperationError", "is not a dataset"),
        ("json", "is not a dataset"),
    ],
)
@pytest.mark.parametrize(("entry", "name"), [("summary", "summary"), ("'{name}ary'", "summary")])
def test_a_mistyped_type_is_named_with_its_entry_and_file(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    why: str,
    entry: str,
    name: str,
) -> None:
    remove_entry(project, name)
    folder = project.path / "conf" / "other"
    folder.mkdir()
    text = f"{entry}: {{type: {kind}, filepath: x}}"
    (folder / "catalog_of_others.yml").write_text(text, encoding="utf-8")
    result = kedro_run(project, monkeypatch, "--env", "other")
    assert result.exit_code == 2
    message = f"conf/other/catalog_of_others.yml: the entry {name} has the type {kind}, which {why}"
    assert message in result.output
    assert isinstance(result.exception, SystemExit)
    assert "kedro-datasets" not in result.output


def remove_entry(project: Project, name: str) -> None:
    file = project.path / "conf" / "base" / "catalog.yml"
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    del entries[name]
    file.write_text(yaml.safe_dump(entries), encoding="utf-8")


def test_missing_kedro_datasets_are_suggested(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_azure_mlops.catalog_entries._DATASETS", "kedro_datasets_gone")
    file = project.path / "conf" / "base" / "catalog.yml"
    text = file.read_text(encoding="utf-8").replace("text.TextDataset", "pandas.NoneOfThem")
    file.write_text(text, encoding="utf-8")
    result = kedro_run(project, monkeypatch)
    assert result.exit_code == 2
    assert "conf/base/catalog.yml: the entry summary has the type pandas.None" in result.output
    assert 'uv pip install "kedro-datasets[pandas]"' in result.output


def test_a_bug_in_a_dataset_module_keeps_its_traceback(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "broken_types.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(project.path)
    folder = project.path / "conf" / "other"
    folder.mkdir()
    (folder / "catalog.yml").write_text("summary: {type: broken_types.One}", encoding="utf-8")
    result = kedro_run(project, monkeypatch, "--env", "other")
    assert isinstance(result.exception, DatasetError)
    assert isinstance(result.exception.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            "type: pandas.CSVDataset, filepth: x",
            "sets filepth, which a CSVDataset does not accept. Did you mean filepath?",
        ),
        (
            "type: pandas.CSVDataset, filepath: x, colour: red",
            "sets colour, which a CSVDataset does not accept. It accepts: filepath,",
        ),
        ("type: pandas.CSVDataset", "lacks filepath, which a CSVDataset requires"),
        ("filepath: x", "has no type. Set it, such as type: pandas.CSVDataset"),
    ],
)
def test_a_wrong_argument_of_a_dataset_is_named_with_its_entry_and_file(
    project: Project, monkeypatch: pytest.MonkeyPatch, settings: str, why: str
) -> None:
    remove_entry(project, "summary")
    folder = project.path / "conf" / "other"
    folder.mkdir()
    (folder / "catalog.yml").write_text(f"summary: {{{settings}}}", encoding="utf-8")
    result = kedro_run(project, monkeypatch, "--env", "other")
    assert result.exit_code == 2
    message = f"conf/other/catalog.yml: the entry summary {why}"
    assert message in " ".join(result.output.replace("next: ", "").split())


def test_an_error_inside_a_dataset_keeps_its_traceback(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "faulty_types.py").write_text(
        "from kedro.io import MemoryDataset\n\n\n"
        "class Faulty(MemoryDataset):\n"
        "    def __init__(self):\n"
        "        super().__init__(filepth=1)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(project.path)
    remove_entry(project, "summary")
    folder = project.path / "conf" / "other"
    folder.mkdir()
    (folder / "catalog.yml").write_text("summary: {type: faulty_types.Faulty}", encoding="utf-8")
    result = kedro_run(project, monkeypatch, "--env", "other")
    assert isinstance(result.exception, DatasetError)
    assert isinstance(result.exception.__cause__, TypeError)


@pytest.mark.parametrize("arguments", [["--to-nodes", "fit"], ["--to-outputs", "model"]])
def test_options_select_the_nodes_to_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    assert kedro_run(project, monkeypatch, *arguments).exit_code == 0
    assert project.processed("model").exists()
    assert not project.processed("gate.json").exists()


def filter_nodes(**_: object) -> None:
    Pipeline([]).filter(node_names=["fit"])


@pytest.mark.parametrize(
    "run", [filter_nodes, lambda **_: int("Pipeline does not contain nodes named ['fit']")]
)
def test_errors_about_nodes_from_other_code_keep_their_traceback(
    project: Project, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.setattr("kedro.framework.cli.project.run.callback", run)
    result = kedro_run(project, monkeypatch, "--nodes", "fit")
    assert isinstance(result.exception, ValueError)


def failing(error: Exception) -> Any:
    def run(**_: object) -> None:
        raise error

    return run


def in_a_node(cause: Exception) -> Exception:
    """Wrap an error as Kedro does when it loads an input of a node."""
    error = DatasetError("Failed while loading data")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (RefusedError("these rows cannot be used"), 1, "these rows cannot be used"),
        (in_a_node(RefusedError("nor these")), 1, "nor these"),
        (in_a_node(DataValidationError("not as declared")), 2, "not as declared"),
        (in_a_node(FileNotFoundError("gone")), 2, "Failed while loading data"),
    ],
    ids=["refused", "refused_in_a_node", "schema", "file"],
)
def test_refusals_and_failures_have_different_exit_statuses(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    exit_code: int,
    message: str,
) -> None:
    monkeypatch.setattr("kedro.framework.cli.project.run.callback", failing(error))
    result = kedro_run(project, monkeypatch)
    assert result.exit_code == exit_code
    assert message in result.output


@pytest.mark.parametrize("error", [KeyError("a bug"), in_a_node(KeyError("a bug"))])
def test_a_bug_keeps_its_traceback(
    project: Project, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("kedro.framework.cli.project.run.callback", failing(error))
    assert kedro_run(project, monkeypatch).exception is error


def test_threads_give_the_same_metrics(
    project: Project, ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kedro_run(project, monkeypatch, "--runner", "ThreadRunner").exit_code == 0
    assert project.metrics() == pytest.approx(ran.metrics())


def test_the_exit_status_of_the_gate_command_is_its_verdict(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    assert main(["gate"]) == 2
    assert "no run has reached the gate" in capsys.readouterr().err
    project.run()
    assert main(["gate"]) == 0
    assert "Gate: PASSED" in capsys.readouterr().out
    assert main(["gate", "--env", "prod"]) == 2
    assert "The last run was for plant, not plant-prod" in capsys.readouterr().err
    assert main(["gate", "--env", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    project.run(gate={"rules": [{"metric": "r2", "minimum": 0.9999}]})
    assert main(["gate"]) == 1
    assert "Gate: REFUSED" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gait"]) == 2
    assert "gait" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("rollback", "--reason TEXT why (required); recorded with the version"),
        ("promote", "--reason TEXT why; required with --approved-by"),
        ("promote", "--approved-by NAME who approves it; requires --reason"),
    ],
)
def test_help_states_when_a_reason_is_required(
    command: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    assert text in " ".join(capsys.readouterr().out.split())


def test_help_keeps_the_lines_of_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--help"]) == 0
    out = capsys.readouterr().out
    assert "\\b" not in out
    lines = [line.strip() for line in out.splitlines()]
    at = lines.index("[[ignore]]")
    assert [line.split(" ")[0] for line in lines[at + 1 : at + 5]] == [
        "id",
        "package",
        "reason",
        "until",
    ]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert [name for name in COMMANDS if f"  {name} " not in listed] == []


@pytest.mark.parametrize("command", ["compile", "local", "reproduce"])
def test_no_command_runs_outside_of_a_project(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--run", "a"] if command == "reproduce" else []
    assert main([command, *arguments]) == 2
    assert f"{command}: {tmp_path.name} is not a project folder" in capsys.readouterr().err
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    assert main([command, *arguments]) == 2
    err = capsys.readouterr().err
    assert f"{command}: {tmp_path.name} is not a project folder: There's no" in err


@pytest.mark.parametrize("fails", [False, True])
def test_garbage_is_collected_less_often_until_the_first_node(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    before, during = gc.get_threshold(), []

    def run(_: dict[str, Any]) -> dict[str, Any]:
        during.append(gc.get_threshold())
        hooks.before_first_node()
        during.append(gc.get_threshold())
        return {"failed": 1 / 0} if fails else {}

    monkeypatch.setattr(module, "_run_and_report", run)
    result = CliRunner().invoke(cli, ["run"])
    assert isinstance(result.exception, ZeroDivisionError) == fails
    gc.unfreeze()
    assert during[0][0] > before[0]
    assert during[1] == gc.get_threshold() == before
    assert hooks.before_first_node is None


_AT_EXIT = """
import atexit, gc
from kedro_azure_mlops.cli import run as module

def at_exit(whose):
    atexit.register(lambda: print(whose, gc.get_freeze_count() > 0))

module._run_and_report = lambda options: at_exit("of the run")
at_exit("of the process")
module.run.callback()
"""


def test_exit_handlers_of_a_run_are_called_before_garbage_is_frozen() -> None:
    process = subprocess.run(
        [sys.executable, "-c", _AT_EXIT], capture_output=True, text=True, env=new_shell()
    )
    assert process.stdout.endswith("of the run False\nof the process True\n"), process.stderr
