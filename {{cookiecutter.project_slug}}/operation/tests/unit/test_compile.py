"""The pipeline becomes a job by a pure function, which refuses what would fail in the cloud."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.pipeline import Node, Pipeline

from operation.azureml.compilation.job import as_yaml, compile_job
from operation.azureml.config import AzureML
from operation.azureml.project import Project, split_parameters, typed
from operation.errors import OperationError

# Kedro warns of dots in names, which are those of namespaces here
pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain:UserWarning")

PATHS = {
    "raw": "data/raw.csv",
    "clean": "data/clean.parquet",
    "part.a": "data/a.parquet",
    "model": "data/model",
    "report": "data/report.json",
}
CONFIG: dict[str, Any] = {
    "experiment": "e",
    "compute": "cpu",
    "environment": "azureml:env:1",
    "inputs": {"raw": {}},
    "outputs": {"report": {}},
}
TWO_STEPS = {"prepare": {"tags": ["prepare"]}, "fit": {"nodes": ["train", "judge"]}}


def same(*given: Any) -> Any:
    return given


def pipeline() -> Pipeline:
    return Pipeline(
        [
            Node(same, ["raw", "params:share"], "clean", name="wash", tags=["prepare"]),
            Node(same, "clean", "part.a", name="split", tags=["prepare"], namespace="part"),
            Node(same, ["part.a", "params:model"], "model", name="train"),
            Node(same, ["model", "clean"], "report", name="judge"),
        ]
    )


def project(
    *, catalog: dict[str, Any] | None = None, whole: Pipeline | None = None, **config: Any
) -> Project:
    entries = {name: {"type": "x", "filepath": path} for name, path in PATHS.items()}
    return Project(
        root=Path(__file__).parent,
        name="Cold store",
        env="dev",
        pipelines={"__default__": whole or pipeline()},
        catalog=entries | (catalog or {}),
        parameters={"share": 0.5, "model": {"depth": 3, "kind": "big"}, "lag": None, "file": "x"},
        config=AzureML(**CONFIG | config),
    )


def command(job: dict[str, Any], step: str) -> str:
    return job["jobs"][step]["component"]["command"]


def test_the_default_is_one_step_that_runs_what_a_person_would_type() -> None:
    job = compile_job(project())
    (step,) = job["jobs"].values()
    assert command(job, "pipeline") == (
        "env BIND__raw={% raw %}${{inputs.raw}} BIND__report=${{outputs.report}}{% endraw %}/report.json "
        "kedro run --env dev"
    )
    assert step["inputs"] == {"raw": "{% raw %}${{parent.inputs.raw}}{% endraw %}"}
    assert step["outputs"] == {"report": "{% raw %}${{parent.outputs.report}}{% endraw %}"}
    assert job["inputs"]["raw"] == {"type": "uri_file", "path": "../../data/raw.csv"}
    assert job["outputs"]["report"] == {"type": "uri_folder", "mode": "upload"}


def test_what_later_steps_need_is_handed_on_and_nothing_else() -> None:
    job = compile_job(project(steps=TWO_STEPS))
    assert list(job["jobs"]) == ["prepare", "fit"]
    assert set(job["jobs"]["prepare"]["outputs"]) == {"clean", "part__a"}
    assert job["jobs"]["fit"]["inputs"] == {
        "clean": {
            "type": "uri_folder",
            "path": "{% raw %}${{parent.jobs.prepare.outputs.clean}}{% endraw %}",
        },
        "part__a": {
            "type": "uri_folder",
            "path": "{% raw %}${{parent.jobs.prepare.outputs.part__a}}{% endraw %}",
        },
    }
    assert "BIND__part__a={% raw %}${{inputs.part__a}}{% endraw %}/a.parquet" in command(job, "fit")
    assert command(job, "fit").endswith("kedro run --env dev --nodes train,judge")
    assert command(job, "prepare").endswith("kedro run --env dev --tags prepare")


def test_a_step_says_where_and_how_it_runs() -> None:
    fit = {
        "nodes": ["train", "judge"],
        "compute": "gpu",
        "instance_count": 2,
        "shm_size": "8g",
        "distribution": {"type": "pytorch", "process_count_per_instance": 4},
        "timeout_seconds": 60,
        "identity": "user",
        "environment_variables": {"LEVEL": 3},
    }
    step = compile_job(project(steps=TWO_STEPS | {"fit": fit}))["jobs"]["fit"]
    assert step["compute"] == "azureml:gpu"
    assert step["resources"] == {"instance_count": 2, "shm_size": "8g"}
    assert step["distribution"] == {"type": "pytorch", "process_count_per_instance": 4}
    assert step["limits"] == {"timeout": 60}
    assert step["identity"] == {"type": "user_identity"}
    assert step["environment_variables"] == {"LEVEL": "3"}


def test_a_spark_step_runs_the_same_through_an_entry_file() -> None:
    job = compile_job(project(steps=TWO_STEPS | {"prepare": {"tags": ["prepare"], "spark": {}}}))
    step = job["jobs"]["prepare"]
    assert step["type"] == "spark"
    assert step["args"].endswith(" run --env dev --tags prepare")
    assert "BIND__clean={% raw %}${{outputs.clean}}{% endraw %}/clean.parquet" in step["args"]
    assert step["outputs"]["clean"]["mode"] == "direct"
    assert "compute" not in step


def test_parameters_are_typed_inputs_of_the_steps_they_matter_to() -> None:
    job = compile_job(project(steps=TWO_STEPS, params=["share", "model.depth"]))
    assert job["inputs"]["share"] == 0.5
    assert job["inputs"]["model__depth"] == 3
    fit, prepare = job["jobs"]["fit"], job["jobs"]["prepare"]
    assert fit["component"]["inputs"]["model__depth"] == {"type": "integer"}
    assert prepare["component"]["inputs"]["share"] == {"type": "number"}
    assert "share" not in fit["inputs"]
    assert '--params "model.depth={% raw %}${{inputs.model__depth}}{% endraw %}"' in command(job, "fit")


def test_a_parameter_of_no_node_goes_to_every_step() -> None:
    job = compile_job(project(steps=TWO_STEPS), {"file": "x"})
    assert all("file" in step["inputs"] for step in job["jobs"].values())
    assert job["jobs"]["fit"]["component"]["inputs"]["file"] == {"type": "string"}


@pytest.mark.parametrize("text", ["007", "yes", "1e3", "", "a,b", 'say "x"', "$HOME"])
def test_a_text_that_would_arrive_as_something_else_is_refused(text: str) -> None:
    changed = project()
    changed.parameters["file"] = text
    with pytest.raises(OperationError, match="The parameter file is "):
        compile_job(changed, {"file": text})
    changed.parameters["file"] = "data/raw x.csv"
    assert compile_job(changed, {"file": "x"})["inputs"]["file"] == "data/raw x.csv"


def test_the_docker_flow_uploads_no_code() -> None:
    docker = {"code": None, "image": "acr.example/x:1", "working_directory": "/app"}
    job = compile_job(project(**docker))
    component = job["jobs"]["pipeline"]["component"]
    assert "code" not in component
    assert component["environment"] == {"image": "acr.example/x:1"}
    assert component["command"].startswith("cd /app && env BIND__raw=")


def test_a_model_is_the_output_itself() -> None:
    job = compile_job(project(outputs={"model": {"type": "mlflow_model", "name": "cold"}}))
    assert "BIND__model={% raw %}${{outputs.model}}{% endraw %} " in command(job, "pipeline")
    assert job["outputs"]["model"]["name"] == "cold"


@pytest.mark.parametrize(
    ("entry", "deterministic"),
    [
        ({"type": "x", "filepath": "abfs://box/raw.csv"}, False),
        ({"type": "x.Registry", "name": "m"}, False),
        ({"type": "x", "filepath": None}, True),
    ],
    ids=["remote", "no_file", "no_data"],
)
def test_a_step_that_reads_outside_is_never_reused(
    entry: dict[str, Any], deterministic: bool
) -> None:
    job = compile_job(project(catalog={"raw": entry}))
    assert job["jobs"]["pipeline"]["component"]["is_deterministic"] is deterministic
    assert "raw" not in job["jobs"]["pipeline"].get("inputs", {})


def test_reuse_can_be_decided_by_hand() -> None:
    steps = {"all": {"reuse": False}}
    step = compile_job(project(steps=steps))["jobs"]["all"]
    assert step["component"]["is_deterministic"] is False


def test_compiling_twice_gives_the_same_bytes() -> None:
    first, second = (as_yaml(compile_job(project(steps=TWO_STEPS))) for _ in range(2))
    assert first == second
    assert "\\" not in yaml.safe_load(first)["inputs"]["raw"]["path"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"a": {"nodes": ["wash"]}}, "node part.split is in no step"),
        (
            {"a": {}, "b": {"nodes": ["train"]}},
            "node train is in the steps a and b",
        ),
        (
            {"a": {"nodes": ["wash", "train", "judge"]}, "b": {"namespaces": ["part"]}},
            "wait for each other: ",
        ),
        ({"a": {"nodes": ["wahs"]}}, "steps.a: there is no node wahs; there are: judge"),
        ({"a": {"tags": ["x"]}}, "there is no tag x; there are: prepare"),
        ({"a": {"namespaces": ["x"]}}, "there is no namespace x; there are: part"),
        ({"a": {"pipelines": ["x"]}}, "there is no pipeline x; there are: __default__"),
        ({"a": {"nodes": ["train"], "tags": ["prepare"]}}, "steps.a: no node passes all"),
    ],
    ids=["uncovered", "twice", "cycle", "node", "tag", "namespace", "pipeline", "nothing"],
)
def test_a_cut_that_cannot_run_is_refused(steps: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message.replace(".", r"\.")):
        compile_job(project(steps=steps))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "kedro.io.MemoryDataset"}, "clean crosses .* no filepath or path"),
        ({"type": "x.SQLTable", "table_name": "t"}, "clean crosses .* no filepath or path"),
        ({"type": "x", "filepath": "abfs://box/c.parquet"}, "clean crosses .* list it in outputs"),
    ],
    ids=["memory", "table", "remote"],
)
def test_a_dataset_that_cannot_cross_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message):
        compile_job(project(steps=TWO_STEPS, catalog={"clean": entry}))
    assert compile_job(project(catalog={"clean": entry})), "within one step it may be anything"


def test_a_remote_dataset_crosses_when_it_is_listed() -> None:
    remote = {"clean": {"type": "x", "filepath": "abfs://box/c.parquet"}}
    job = compile_job(project(steps=TWO_STEPS, catalog=remote, outputs={"clean": {}}))
    assert "BIND__clean={% raw %}${{inputs.clean}}{% endraw %}/c.parquet" in command(job, "fit")


def test_a_dataset_without_entry_that_crosses_is_refused() -> None:
    whole = Pipeline(
        [Node(same, "raw", "memo", name="one"), Node(same, "memo", "report", name="two")]
    )
    steps = {"a": {"nodes": ["one"]}, "b": {"nodes": ["two"]}}
    with pytest.raises(OperationError, match="memo crosses from step a to b, but has no catalog"):
        compile_job(project(whole=whole, steps=steps))
    assert compile_job(project(whole=whole))


def test_factories_and_transcodings_cross() -> None:
    whole = Pipeline(
        [
            Node(same, "raw", "x@spark", name="one"),
            Node(same, "x@pandas", "day_sum", name="two"),
            Node(same, "day_sum", "report", name="three"),
        ]
    )
    catalog = {
        "x@spark": {"type": "s", "filepath": "data/x.parquet"},
        "x@pandas": {"type": "p", "filepath": "data/x.parquet"},
        "{span}_sum": {"type": "p", "filepath": "data/{span}.csv", "versioned": True},
    }
    steps = {name: {"nodes": [name]} for name in ("one", "two", "three")}
    job = compile_job(project(whole=whole, steps=steps, catalog=catalog))
    assert "BIND__x={% raw %}${{outputs.x}}{% endraw %}/x.parquet" in command(job, "one")
    assert "BIND__x={% raw %}${{inputs.x}}{% endraw %}/x.parquet" in command(job, "two")
    assert "BIND__day_sum={% raw %}${{inputs.day_sum}}{% endraw %}/day.csv" in command(job, "three")
    catalog["x@pandas"]["filepath"] = "data/y.parquet"
    with pytest.raises(OperationError, match=r"different names: x\.parquet, y\.parquet"):
        compile_job(project(whole=whole, steps=steps, catalog=catalog))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"inputs": {}}, "step pipeline reads raw from data/raw.csv, .* add raw to inputs"),
        ({"inputs": {"rwa": {}}}, r"inputs\.rwa .*; it has: raw"),
        ({"outputs": {"raw": {}}}, r"outputs\.raw .*; it has: clean, model, part\.a, report"),
        ({"params": ["shaer"]}, "no parameter shaer"),
        ({"params": ["model"]}, "model is no single value"),
        ({"params": ["lag"]}, "lag is None"),
        ({"pipeline": "x"}, "no pipeline x"),
    ],
    ids=["undeclared", "input", "output", "parameter", "group", "null", "pipeline"],
)
def test_a_name_that_leads_nowhere_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message):
        compile_job(project(**config))


def test_two_datasets_of_one_port_are_refused() -> None:
    whole = Pipeline(
        [
            Node(same, "raw", "part.a", name="one", namespace="part"),
            Node(same, "part.a", "part__a", name="two"),
        ]
    )
    with pytest.raises(OperationError, match=r"part\.a and part__a would be one port"):
        compile_job(project(whole=whole, outputs={}))


def test_a_parameter_behind_another_one_goes_to_every_step(tmp_path: Path) -> None:
    folder = tmp_path / "operation/configuration/base"
    folder.mkdir(parents=True)
    (folder / "parameters.yaml").write_text("lag: ${share}\n", encoding="utf-8")
    found = replace(project(steps=TWO_STEPS), root=tmp_path)
    steps = compile_job(found, {"share": "0.5"})["jobs"].values()
    assert all("share" in step["inputs"] for step in steps)


@pytest.mark.parametrize("name", ["clean", "Clean", "a__b"])
def test_a_parameter_with_the_name_of_another_input_is_refused(name: str) -> None:
    found = project(steps=TWO_STEPS)
    found.parameters.update({name: 1, "a": {"b": 2}})
    with pytest.raises(OperationError, match=f"The parameter {name} and the .* would be one input"):
        compile_job(found, {"a.b": "2", name: "1"})
    assert compile_job(found, {"a.b": "2"})


def test_a_path_that_an_input_overrules_is_no_parameter() -> None:
    found = project(params=["file"])
    found.parameters["file"] = PATHS["raw"]
    with pytest.raises(OperationError, match=r"file in azureml\.yml has no effect .* input raw"):
        compile_job(found)


@pytest.mark.parametrize(
    ("entry", "asked", "message"),
    [
        ({"versioned": True}, {}, "raw is versioned, a folder of versions"),
        ({"filepath": "folder"}, {}, "raw is uri_file .* folder is a folder: change its type"),
        ({"filepath": "file.csv"}, {"type": "uri_folder"}, "but file.csv is a file"),
        ({"filepath": "data/my raw.csv"}, {}, "cannot be given a file with ' '"),
    ],
    ids=["versioned", "folder", "file", "blank"],
)
def test_an_input_of_another_kind_is_refused(
    tmp_path: Path, entry: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.csv").touch()
    raw = {"raw": {"type": "x", "filepath": PATHS["raw"]} | entry}
    found = replace(project(catalog=raw, inputs={"raw": asked}), root=tmp_path)
    with pytest.raises(OperationError, match=message):
        compile_job(found)
    good = {"type": "uri_folder", "path": "folder"} if "versioned" in entry else {}
    usual = {"raw": raw["raw"] | {"filepath": PATHS["raw"]}}
    assert compile_job(replace(project(catalog=usual, inputs={"raw": good}), root=tmp_path))


def test_an_input_that_is_transcoded_from_two_places_is_refused() -> None:
    whole = Pipeline([Node(same, ["raw@a", "raw@b"], "report", name="one")])
    catalog = {f"raw@{kind}": {"type": kind, "filepath": f"data/{kind}.csv"} for kind in "ab"}
    with pytest.raises(OperationError, match="raw is read from several places"):
        compile_job(project(whole=whole, catalog=catalog))
    catalog["raw@b"]["filepath"] = "data/a.csv"
    assert compile_job(project(whole=whole, catalog=catalog))


def test_an_output_that_is_stored_in_the_cloud_stays_there() -> None:
    remote = {"report": {"type": "x", "filepath": "abfs://box@account/report.json"}}
    job = compile_job(project(catalog=remote))
    assert "outputs" not in job
    assert "BIND__report" not in command(job, "pipeline")


def test_parameters_of_the_command_line() -> None:
    assert split_parameters("a=1, b.c=x=y,") == {"a": "1", "b.c": "x=y"}
    assert typed({"a": "1", "b.c": "true"}) == {"a": 1, "b": {"c": True}}
    with pytest.raises(OperationError, match="write name=value"):
        split_parameters("a")
