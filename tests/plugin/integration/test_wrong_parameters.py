"""A parameter of the wrong type is refused before anything is loaded, in any pipeline."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from click.testing import CliRunner, Result
from kedro.config import OmegaConfigLoader
from kedro.framework.cli.project import run as kedros_run
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Node, Pipeline
from pydantic import BaseModel, Field

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.cli.run import cli
from kedro_azure_mlops.config import Gate, read_mlops
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import parameter_types
from kedro_azure_mlops.hooks.parameter_types import Use, uses_of_parameters, wrong_parameters
from kedro_azure_mlops.parameters import Parameters
from tests.plugin.helpers import Project


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A project that is never run, as its tests only see refusals."""
    return Project.copy_to(tmp_path_factory.mktemp("refused") / "project", database)


def kedro_run(project: Project, monkeypatch: pytest.MonkeyPatch, params: str, *more: str) -> Result:
    monkeypatch.chdir(project.path)
    bootstrap_project(project.path)
    return CliRunner().invoke(cli, ["run", "--params", params, *more])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("train_fraction=abc", "--params: train_fraction: must be a number (it is 'abc')"),
        ("train_fraction=null", "--params: train_fraction: must be a number (it is null)"),
        ("train_fraction=true", "--params: train_fraction: must be a number (it is true)"),
        ("train_fraction=nan", "--params: train_fraction: must be a number (it is 'nan')"),
        ("model=5", "--params: model: must be a group of keys and values (it is 5)"),
        ("raw_file=7", "--params: raw_file: must be text (it is 7)"),
        ("new_file=1e3", "--params: new_file: must be text (it is 1000.0)"),
        ("model_name=12", "--params: model_name: must be text (it is 12)"),
        ("gate.on_incomparable=5", "gate.on_incomparable: must be 'refuse' or 'replace'"),
        ("gate.rules.0.minimum=5", "gate.rules has no keys, it is a list"),
        ("train_fraction.deep=5", "train_fraction has no keys, it is one value"),
    ],
    ids=lambda text: text.split(":")[0] if "=" in text else None,
)
@pytest.mark.parametrize("pipelines", [(), ("--pipelines", "evaluate")], ids=["all", "others"])
def test_a_wrong_type_is_refused_before_anything_is_loaded(
    shared: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    params: str,
    message: str,
    pipelines: tuple[str, ...],
) -> None:
    result = kedro_run(shared, monkeypatch, params, *pipelines)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert "pydantic" not in result.output
    assert "Loading data" not in caplog.text
    assert shared.nothing_tracked()


def test_valid_values_are_used(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An integer is a valid number, and untyped parameters accept any value."""
    params = "train_fraction=0.5,model.arguments.alpha=2,gate.on_incomparable=replace,new_file='7'"
    assert kedro_run(project, monkeypatch, params).exit_code == 0
    (run,) = project.client().search_runs(["1"])
    assert run.data.params["train_fraction"] == "0.5"
    assert run.data.params["model.arguments.alpha"] == "2"


def test_a_wrong_value_in_a_file_is_reported_with_the_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.configure("local", "parameters.yml", "raw_file: 7\n")
    base = project.path / "conf/base/parameters.yml"
    text = base.read_text(encoding="utf-8")
    base.write_text(text.replace("train_fraction: 0.7", "train_fraction: most"), encoding="utf-8")
    result = kedro_run(project, monkeypatch, "model.arguments.alpha=1")
    assert result.exit_code == 2
    assert "conf/base/parameters.yml: train_fraction: must be a number (it is 'most')" in (
        result.output
    )
    assert "conf/local/parameters.yml: raw_file: must be text (it is 7)" in result.output


def test_kedros_own_command_prints_the_same_message_without_a_traceback(
    shared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kedro's command is that of a project without the plugin's ``cli.py``."""
    monkeypatch.chdir(shared.path)
    bootstrap_project(shared.path)
    result = CliRunner().invoke(kedros_run, ["--params", "raw_file=7"])
    assert result.exit_code == 2
    message = "--params: raw_file: must be text (it is 7); put quotes around it: raw_file='...'"
    assert result.output.endswith(f"Error: {message}\n")


def test_a_job_is_not_compiled_with_a_wrong_value(
    shared: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shared.path)
    assert main(["compile", "--params", "train_fraction=most"]) == 2
    assert "train_fraction: must be a number (it is 'most')" in capsys.readouterr().err
    assert not (shared.path / "build").exists()


def test_the_configuration_uses_the_same_parameters_as_the_nodes(shared: Project) -> None:
    """``${globals:gate}`` has the values of ``--params`` if parameters are globals."""
    shared.configure(
        "local", "mlops.yml", "gate:\n  on_incomparable: ${globals:gate.on_incomparable}\n"
    )
    try:
        values = [
            read_mlops(shared.path, "local", params).gate.on_incomparable
            for params in (None, {"gate": {"on_incomparable": "replace"}})
        ]
    finally:
        (shared.path / "conf/local/mlops.yml").unlink()
    assert values == ["refuse", "replace"]


# A reference to a value that is gone, as in an edited `mlops.yml` after the sample was removed.


ABSENT = "${globals:gone.deep}"
NAMED = "conf/base/{file}: {key}: ${{globals:gone.deep}} has no value."
TODO = "Write the value there, or define gone.deep in parameters.yml."
GATE = "gate.rules.0.minimum"
IN_FILES = [
    ("mlops.yml", f"gate: {ABSENT}\n", "gate"),
    ("mlops.yml", f"gate:\n  rules:\n  - minimum: {ABSENT}\n    metric: r2\n", GATE),
    ("catalog_1.yml", f"more:\n  type: pandas.CSVDataset\n  filepath: {ABSENT}\n", "more.filepath"),
]


@pytest.mark.parametrize(("file", "text", "key"), IN_FILES)
@pytest.mark.parametrize("command", ["run", "compile"])
def test_a_reference_without_a_value_is_reported_with_file_and_key(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    text: str,
    key: str,
    command: str,
) -> None:
    """The same configuration with a value is accepted."""
    project.configure("base", file, text)
    monkeypatch.chdir(project.path)
    message = " ".join(refusal(project, command, capsys).split())
    assert NAMED.format(file=file, key=key) in message
    assert TODO.split(", or ")[1] in message
    value = "{rules: []}" if key == "gate" else "0.1" if "gate" in key else "data/raw/more.csv"
    project.configure("base", file, text.replace(ABSENT, value))
    assert main(["compile"]) == 0


def refusal(project: Project, command: str, capsys: pytest.CaptureFixture[str]) -> str:
    if command == "compile":
        assert main(["compile"]) == 2
        return capsys.readouterr().err
    bootstrap_project(project.path)
    result = CliRunner().invoke(cli, ["run"])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    return result.output


@pytest.mark.parametrize(
    ("reference", "advice"),
    [
        ("${runtime_params:served}", ["give --params served=VALUE"]),
        (
            "${runtimeparams:served}",
            [
                "there is no resolver runtimeparams",
                "globals, runtime_params and, in credentials only, oc.env",
            ],
        ),
    ],
    ids=["no value", "no resolver"],
)
def test_a_reference_that_cannot_be_resolved_is_reported_with_its_file(
    project: Project, monkeypatch: pytest.MonkeyPatch, reference: str, advice: list[str]
) -> None:
    """Kedro names neither the file nor the resolvers that exist."""
    project.configure("stage", "mlops.yml", f"scorer: {reference}\n")
    monkeypatch.chdir(project.path)
    with pytest.raises(OperationError, match=r"conf/stage/mlops\.yml: scorer: ") as refused:
        read_mlops(project.path, "stage")
    for words in advice:
        assert words in str(refused.value)
    project.configure("stage", "mlops.yml", "scorer: ${runtime_params:served}\n")
    assert read_mlops(project.path, "stage", {"served": "plant.nodes:clean"}).scorer


def test_a_runtime_parameter_in_a_file_of_globals_is_explained(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kedro names neither the file nor a fix."""
    project.configure("stage", "parameters_more.yml", "seed: ${runtime_params:seed}\n")
    monkeypatch.chdir(project.path)
    with pytest.raises(OperationError, match=r"not possible in the files of globals \(.*param"):
        read_mlops(project.path, "stage")


def test_parameters_that_a_run_has_to_give_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files alone cannot be resolved then, but still say which names exist."""
    monkeypatch.setattr(parameter_types, "uses_of_parameters", lambda _: [])
    (tmp_path / "base").mkdir()
    file = tmp_path / "base" / "parameters.yml"
    file.write_text("seed: ${runtime_params:seed}\nrate: {low: 1}\n", encoding="utf-8")

    def refuse(**params: Any) -> None:
        loader = OmegaConfigLoader(str(tmp_path), runtime_params=params, base_env="base")
        parameter_types.refuse_wrong_parameters(SimpleNamespace(config_loader=loader, env=None))

    refuse(seed=3, rate={"low": 2})
    with pytest.raises(OperationError, match=r"no parameter rate\.lo\. Did you mean rate\.low\?"):
        refuse(seed=3, rate={"lo": 2})
    with pytest.raises(OperationError, match="Runtime parameter 'seed' not found"):
        refuse(rate={"low": 2})


@pytest.mark.parametrize("is_tracked", [True, False])
def test_the_catalog_uses_the_same_parameters_as_the_nodes(
    project: Project, is_tracked: bool
) -> None:
    catalog = project.path / "conf/base/catalog.yml"
    text = catalog.read_text(encoding="utf-8")
    changed = text.replace("${runtime_params:raw_file,${globals:raw_file}}", "${globals:raw_file}")
    catalog.write_text(changed, encoding="utf-8")
    if not is_tracked:
        for file in project.path.glob("conf/*/mlops.yml"):
            file.unlink()
    bootstrap_project(project.path)
    values = []
    for params in ({"raw_file": "data/raw/other.csv"}, None):
        with KedroSession.create(project_path=project.path, runtime_params=params) as session:
            context = session.load_context()
            entry = context.config_loader["catalog"]["raw_hours"]["filepath"]
            values.append((entry, context.params["raw_file"]))
    assert values == [("data/raw/other.csv",) * 2, ("data/raw/hours.csv",) * 2]


class Limits(Parameters):
    low: float
    high: float | None = None
    more: dict[str, Any] = Field(default={})


class Lax(BaseModel):
    rows: int


def limited(
    limits: Limits,
    lax: Lax,
    sizes: tuple[int, int],
    place: Path,
    gate: Gate | dict[str, Any],
    untyped,
    share: Annotated[float, Field(gt=0)] | None = None,
) -> None: ...


NAMES = ["limits", "lax", "sizes", "place", "gate", "untyped", "share"]
RIGHT: dict[str, Any] = {
    "limits": {"low": 1, "more": {"any": [1, "x"]}},
    "lax": {"rows": "3"},
    "sizes": [1, 2],
    "place": "data/raw",
    "gate": {"rules": [{"metric": "r2", "minimum": 1}]},
    "untyped": {"anything": [None]},
    "share": None,
}


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Use]]:
    """The uses of two nodes with the same parameters: by name in another order, and by position."""
    by_name = Node(limited, {name: f"params:{name}" for name in reversed(NAMES)}, None, name="a")
    by_position = Node(limited, [f"params:{name}" for name in NAMES], None, name="b")
    pipelines = {"one": Pipeline([by_name]), "other": Pipeline([by_position])}
    monkeypatch.setattr(parameter_types, "pipelines", pipelines)

    class Loader:
        conf_source, env = "nowhere", None

    parameter_uses = uses_of_parameters(Loader())
    assert sorted(name for name, _ in parameter_uses) == sorted(set(NAMES) - {"untyped"})
    yield parameter_uses


def test_values_that_pydantic_converts_are_accepted(uses: list[Use]) -> None:
    assert wrong_parameters(RIGHT, uses) == {}
    assert wrong_parameters({}, uses) == {}, "Kedro reports missing parameters"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"limits": {"low": "1"}}, {"limits.low": "must be a number (it is '1')"}),
        ({"limits": {"low": 1, "hihg": 2}}, {"limits": "did you mean high?"}),
        ({"lax": {"rows": "many"}}, {"lax.rows": "must be a whole number (it is 'many')"}),
        ({"sizes": [1, "x"]}, {"sizes.1": "must be a whole number (it is 'x')"}),
        ({"place": 7}, {"place": "(it is 7)"}),
        ({"gate": {"rules": [{"metric": 5}]}}, {"gate.rules.0.metric": "must be text (it is 5)"}),
        ({"gate": 5}, {"gate": "must be a group of keys and values (it is 5)"}),
        ({"share": 0}, {"share": "must be greater than 0 (it is 0)"}),
    ],
    ids=str,
)
def test_values_are_checked_against_the_type_hints_of_nodes(
    uses: list[Use], changes: dict[str, Any], expected: dict[str, str]
) -> None:
    problems = wrong_parameters(RIGHT | changes, uses)
    assert problems.keys() == expected.keys()
    assert all(message in problems[name] for name, message in expected.items()), problems


@pytest.mark.parametrize(
    "text", ["-007\n", "- a\n- list\n", "raw_file: [\n", "raw_file: ${nothing}\n", "1: 2\n"]
)
def test_an_invalid_parameters_file_is_refused_without_a_traceback(
    project: Project, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    project.configure("local", "parameters.yml", text)
    result = kedro_run(project, monkeypatch, "train_fraction=0.5")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_entries_that_cannot_be_read_are_left_to_kedro(project: Project) -> None:
    """A class does not exist, and a catalog is not valid YAML."""
    catalog = project.path / "conf/base/catalog.yml"
    text = catalog.read_text(encoding="utf-8")
    gone = "gone:\n  type: nowhere.Gone\n  filepath: ${globals:raw_file}\n"
    catalog.write_text(text + gone, encoding="utf-8")
    project.configure("local", "catalog.yml", "a: [\n")
    bootstrap_project(project.path)
    with KedroSession.create(project_path=project.path) as session:
        parameter_uses = uses_of_parameters(session.load_context().config_loader)
    assert {"raw_file", "new_file", "model_name", "train_fraction"} <= {
        name for name, _ in parameter_uses
    }


def test_a_pipeline_that_cannot_be_imported_does_not_hide_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pipelines(dict[str, Pipeline]):
        _requested_pipelines: Any = ("sound",)

        def set_requested(self, names: Any) -> None:
            self._requested_pipelines = names

        def keys(self) -> Any:
            if self._requested_pipelines is None:
                raise ImportError("broken")
            return super().keys()

    node = Node(limited, {name: f"params:{name}" for name in NAMES}, None, name="a")
    several = Pipelines(sound=Pipeline([node, Node(len, "params:place", "n", name="builtin")]))
    monkeypatch.setattr(parameter_types, "pipelines", several)

    class Loader:
        conf_source, env = "nowhere", None

    assert {name for name, _ in uses_of_parameters(Loader())} == set(NAMES) - {"untyped"}
    assert several._requested_pipelines == ("sound",), "restored"
