"""A pure function compiles the pipeline to a job and rejects a job that would fail in the cloud."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from kedro.framework.cli.project import run
from kedro.pipeline import Node, Pipeline

from kedro_azure_mlops.config import AzureML, Mlops
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.job.compilation import as_yaml, compile_project
from kedro_azure_mlops.job.project import Project, split_parameters, typed

# Kedro warns about dots in dataset names, which separate namespaces here
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


def same(*values: Any) -> Any:
    return values


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


def job_of(project: Project, parameters: dict[str, str] | None = None) -> dict[str, Any]:
    return dict(compile_project(project, parameters).job)


def notes_of(project: Project) -> tuple[list[str], list[str]]:
    compiled = compile_project(project)
    return compiled.notes, compiled.warnings


def command(job: dict[str, Any], step: str) -> str:
    return job["jobs"][step]["component"]["command"]


def test_the_default_is_one_step_with_the_usual_kedro_run() -> None:
    job = job_of(project())
    (step,) = job["jobs"].values()
    assert command(job, "pipeline") == (
        "env BIND__raw=${{inputs.raw}} BIND__report=${{outputs.report}}/report.json "
        "kedro run --env dev"
    )
    assert step["inputs"] == {"raw": "${{parent.inputs.raw}}"}
    assert step["outputs"] == {"report": "${{parent.outputs.report}}"}
    assert job["inputs"]["raw"] == {"type": "uri_file", "path": "../../data/raw.csv"}
    assert job["outputs"]["report"] == {"type": "uri_folder", "mode": "upload"}


def test_only_datasets_that_later_steps_need_are_passed_on() -> None:
    job = job_of(project(steps=TWO_STEPS))
    assert list(job["jobs"]) == ["prepare", "fit"]
    assert set(job["jobs"]["prepare"]["outputs"]) == {"clean", "part__a"}
    assert job["jobs"]["fit"]["inputs"] == {
        "clean": {
            "type": "uri_folder",
            "path": "${{parent.jobs.prepare.outputs.clean}}",
        },
        "part__a": {
            "type": "uri_folder",
            "path": "${{parent.jobs.prepare.outputs.part__a}}",
        },
    }
    assert "BIND__part__a=${{inputs.part__a}}/a.parquet" in command(job, "fit")
    assert command(job, "fit").endswith("kedro run --env dev --nodes train,judge")
    assert command(job, "prepare").endswith("kedro run --env dev --tags prepare")


def test_an_older_kedro_release_runs_only_one_pipeline_per_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def steps(*names: str) -> Project:
        one_step = project(steps={"a": {"pipelines": list(names)}})
        return replace(
            one_step, pipelines={**one_step.pipelines, "b": Pipeline([]), "c": pipeline()}
        )

    assert command(job_of(steps("b", "c")), "a").endswith(" --pipelines b,c")
    options = [one for one in run.params if "--pipelines" not in one.opts]
    monkeypatch.setattr(run, "params", options)
    assert command(job_of(steps("c")), "a").endswith(" --pipeline c")
    with pytest.raises(OperationError, match="the pipelines b, c needs `kedro run --pipelines`"):
        job_of(steps("b", "c"))


def test_a_step_configures_its_compute_and_resources() -> None:
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
    step = job_of(project(steps=TWO_STEPS | {"fit": fit}))["jobs"]["fit"]
    assert step["compute"] == "azureml:gpu"
    assert step["resources"] == {"instance_count": 2, "shm_size": "8g"}
    assert step["distribution"] == {"type": "pytorch", "process_count_per_instance": 4}
    assert step["limits"] == {"timeout": 60}
    assert step["identity"] == {"type": "user_identity"}
    assert step["environment_variables"] == {"LEVEL": "3"}


def test_a_spark_step_runs_kedro_through_an_entry_file() -> None:
    prepare = {"tags": ["prepare"], "spark": {"entry": Path(__file__).name}}
    job = job_of(project(steps=TWO_STEPS | {"prepare": prepare}))
    step = job["jobs"]["prepare"]
    assert step["type"] == "spark"
    assert step["entry"] == {"file": Path(__file__).name}
    assert step["args"].endswith(" run --env dev --tags prepare")
    assert "BIND__clean=${{outputs.clean}}/clean.parquet" in step["args"]
    assert step["outputs"]["clean"]["mode"] == "direct"
    assert "compute" not in step


def test_a_spark_step_needs_its_entry_file() -> None:
    steps = TWO_STEPS | {"prepare": {"tags": ["prepare"], "spark": {}}}
    message = r"there is no spark_entry\.py\. Create it with these two lines"
    with pytest.raises(OperationError, match=message):
        job_of(project(steps=steps))


def test_parameters_are_typed_inputs_of_the_steps_that_use_them() -> None:
    job = job_of(project(steps=TWO_STEPS, params=["share", "model.depth"]))
    assert job["inputs"]["share"] == 0.5
    assert job["inputs"]["model__depth"] == 3
    fit, prepare = job["jobs"]["fit"], job["jobs"]["prepare"]
    assert fit["component"]["inputs"]["model__depth"] == {"type": "integer"}
    assert prepare["component"]["inputs"]["share"] == {"type": "number"}
    assert "share" not in fit["inputs"]
    assert '--params "model.depth=${{inputs.model__depth}}"' in command(job, "fit")


def test_a_nested_parameter_is_an_input_of_the_step_that_uses_it() -> None:
    whole = Pipeline(
        [
            Node(same, ["raw", "params:model.depth"], "clean", name="one"),
            Node(same, ["clean", "params:model.kind"], "report", name="two"),
        ]
    )
    steps = {"a": {"nodes": ["one"]}, "b": {"nodes": ["two"]}}
    job = job_of(project(whole=whole, steps=steps, params=["model.depth"]))
    assert "model__depth" in job["jobs"]["a"]["inputs"]
    assert "model__depth" not in job["jobs"]["b"]["inputs"]


def test_a_parameter_that_no_node_uses_is_an_input_of_every_step() -> None:
    job = job_of(project(steps=TWO_STEPS), {"file": "x"})
    assert all("file" in step["inputs"] for step in job["jobs"].values())
    assert job["jobs"]["fit"]["component"]["inputs"]["file"] == {"type": "string"}


def test_a_null_parameter_is_written_into_the_command() -> None:
    job = job_of(project(steps=TWO_STEPS), {"lag": "null", "file": "x"})
    assert "lag" not in job["inputs"]
    for step in job["jobs"].values():
        assert set(step["component"]["inputs"]) & {"lag", "file"} == {"file"}
        command = step["component"]["command"]
        assert command.endswith('--params "lag=null,file=${{inputs.file}}"')


@pytest.mark.parametrize("text", ["007", "yes", "1e3", "", "a,b", 'say "x"', "$HOME"])
def test_text_that_would_be_parsed_as_another_value_is_rejected(text: str) -> None:
    changed = project()
    changed.parameters["file"] = text
    with pytest.raises(OperationError, match="The parameter file is "):
        job_of(changed, {"file": text})
    changed.parameters["file"] = "data/raw x.csv"
    assert job_of(changed, {"file": "x"})["inputs"]["file"] == "data/raw x.csv"


def test_the_docker_flow_uploads_no_code() -> None:
    docker = {"code": None, "image": "acr.example/x:1", "working_directory": "/app"}
    job = job_of(project(**docker))
    component = job["jobs"]["pipeline"]["component"]
    assert "code" not in component
    assert component["environment"] == {"image": "acr.example/x:1"}
    assert component["command"].startswith("cd /app && env BIND__raw=")


def test_a_folder_with_a_space_is_quoted_in_the_command() -> None:
    docker = {"code": None, "image": "acr.example/x:1", "working_directory": "/my app"}
    assert command(job_of(project(**docker)), "pipeline").startswith("cd '/my app' && env BIND__")


def test_a_model_is_written_to_the_output_folder_itself() -> None:
    job = job_of(project(outputs={"model": {"type": "mlflow_model", "name": "cold"}}))
    assert "BIND__model=${{outputs.model}} " in command(job, "pipeline")
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
def test_a_step_that_reads_external_data_is_never_reused(
    entry: dict[str, Any], deterministic: bool
) -> None:
    job = job_of(project(catalog={"raw": entry}))
    assert job["jobs"]["pipeline"]["component"]["is_deterministic"] is deterministic
    assert "raw" not in job["jobs"]["pipeline"].get("inputs", {})


def test_steps_whose_only_external_data_is_the_champion_are_listed() -> None:
    whole = Pipeline(
        [
            Node(same, ["raw", "champion"], "clean", name="one"),
            Node(same, ["clean", "champion", "far"], "report", name="two"),
        ]
    )
    catalog = {"champion": {"type": "x.Registry", "name": "m"}, "far": {"filepath": "abfs://a/b"}}
    steps: dict[str, Any] = {name: {"nodes": [name]} for name in ("one", "two")}
    gated = replace(project(whole=whole, catalog=catalog, steps=steps), mlops=gate("champion"))
    assert compile_project(gated).champion_readers == ["one"]
    steps["one"]["reuse"] = False
    gated = replace(project(whole=whole, catalog=catalog, steps=steps), mlops=gate("champion"))
    assert compile_project(gated).champion_readers == []
    assert compile_project(replace(gated, mlops=None)).champion_readers == []


def test_reuse_can_be_configured() -> None:
    steps = {"all": {"reuse": False}}
    step = job_of(project(steps=steps))["jobs"]["all"]
    assert step["component"]["is_deterministic"] is False


def test_compiling_twice_gives_the_same_bytes() -> None:
    first, second = (as_yaml(job_of(project(steps=TWO_STEPS))) for _ in range(2))
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
            "depend on each other: ",
        ),
        ({"a": {"nodes": ["wahs"]}}, "steps.a: there is no node wahs; there are: judge"),
        ({"a": {"tags": ["x"]}}, "there is no tag x; there are: prepare"),
        ({"a": {"namespaces": ["x"]}}, "there is no namespace x; there are: part"),
        ({"a": {"pipelines": ["x"]}}, "there is no pipeline x; there are: __default__"),
        ({"a": {"nodes": ["train"], "tags": ["prepare"]}}, "steps.a: no node matches all"),
    ],
    ids=["uncovered", "twice", "cycle", "node", "tag", "namespace", "pipeline", "nothing"],
)
def test_steps_that_cannot_run_are_rejected(steps: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message.replace(".", r"\.")):
        job_of(project(steps=steps))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "x.SQLTable", "table_name": "t"}, "clean crosses .* no filepath or path"),
        ({"type": "x", "filepath": "abfs://box/c.parquet"}, "clean crosses .* list it in outputs"),
    ],
    ids=["table", "remote"],
)
def test_a_dataset_that_cannot_cross_steps_is_rejected(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message):
        job_of(project(steps=TWO_STEPS, catalog={"clean": entry}))
    assert job_of(project(catalog={"clean": entry})), "any dataset is allowed within one step"


def test_a_remote_dataset_crosses_steps_if_it_is_an_output() -> None:
    remote = {"clean": {"type": "x", "filepath": "abfs://box/c.parquet"}}
    job = job_of(project(steps=TWO_STEPS, catalog=remote, outputs={"clean": {}}))
    assert "BIND__clean=${{inputs.clean}}/c.parquet" in command(job, "fit")


def crossing(name: str) -> Pipeline:
    """Return two nodes of a namespace, the first of which passes a dataset to the second."""
    return Pipeline(
        [
            Node(same, ["raw", "params:share"], name, name="one", namespace="part"),
            Node(same, name, "report", name="two", namespace="part"),
        ]
    )


SEPARATE_STEPS = {"a": {"nodes": ["part.one"]}, "b": {"nodes": ["part.two"]}}


@pytest.mark.parametrize(
    ("name", "catalog", "refusal"),
    [
        ("memo", {}, "has no catalog entry that stores it in a file"),
        ("part.memo", {}, "has no catalog entry that stores it in a file"),
        ("memo", {"memo": {"type": "MemoryDataset"}}, "has no filepath or path"),
        ("memo", {"memo": {"type": "kedro.io.MemoryDataset"}}, "has no filepath or path"),
        ("memo", {"{any}mo": {"type": "MemoryDataset", "copy_mode": "assign"}}, "no filepath"),
    ],
    ids=["no_entry", "namespace", "memory", "memory_of_kedro", "factory"],
)
def test_a_dataset_without_a_file_is_carried_unless_carry_is_false(
    name: str, catalog: dict[str, Any], refusal: str
) -> None:
    settings = {"whole": crossing(name), "catalog": catalog, "steps": SEPARATE_STEPS}
    carrying = project(**settings)
    job, port = job_of(carrying), name.replace(".", "__")
    assert f"BIND__{port}=${{{{outputs.{port}}}}} " in command(job, "a")
    assert f"BIND__{port}=${{{{inputs.{port}}}}} " in command(job, "b")
    (note,), warnings = notes_of(carrying)
    assert note.startswith("carried between steps as Parquet, npy, JSON or skops")
    assert note.endswith(f": {name} (a -> b)")
    assert warnings == []
    message = f"{name} crosses from step a to b, but .*{refusal}"
    with pytest.raises(OperationError, match=message):
        job_of(project(**settings, carry=False))
    single_step = project(**settings | {"steps": {}}, carry=False)
    assert job_of(single_step), "any dataset is allowed within one step"
    assert notes_of(single_step) == ([], [])


@pytest.mark.parametrize("source", ["src", "lib/python", "."])
@pytest.mark.parametrize("file", [".amlignore", ".gitignore"])
def test_an_imported_module_that_is_not_uploaded_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, source: str
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / source / ".venv"))
    (tmp_path / source / ".venv").mkdir(parents=True)
    for name in ("id_map", "lookup", ".venv/id_installed"):
        module = ModuleType(name)
        module.__file__ = str(tmp_path / source / f"{name}.py")
        Path(module.__file__).touch()
        monkeypatch.setitem(sys.modules, name, module)
    rules, left_out = tmp_path / file, Path(source, "id_map.py").as_posix()
    rules.write_text("**/id_*\n", encoding="utf-8")
    moved = replace(project(), root=tmp_path, source=source)
    (warning,) = notes_of(moved)[1]
    assert warning.startswith(f"{left_out} is imported, but {file} leaves it out of the job")
    inside = {"code": None, "image": "host/image:1", "working_directory": "/app"}
    image = AzureML(**{name: CONFIG[name] for name in ("compute", "inputs", "outputs")}, **inside)
    assert notes_of(replace(moved, config=image))[1] == []
    rules.write_text(f"**/id_*\n!/{left_out}\n", encoding="utf-8")
    assert notes_of(moved)[1] == []


def test_a_carried_job_output_must_be_a_folder() -> None:
    settings = {"whole": crossing("memo"), "outputs": {"memo": {}}}
    job = job_of(project(**settings))
    assert job["outputs"]["memo"]["type"] == "uri_folder"
    assert notes_of(project(**settings))[0][0].endswith("memo (an output of pipeline)")
    with pytest.raises(OperationError, match="memo is an output of the job, of type mlflow_model"):
        job_of(project(**settings | {"outputs": {"memo": {"type": "mlflow_model"}}}))
    with pytest.raises(OperationError, match="memo is an output of the job, but has no catalog"):
        job_of(project(**settings, carry=False))


def test_nothing_is_carried_to_a_spark_step() -> None:
    spark = {"nodes": ["part.two"], "spark": {"entry": Path(__file__).name}}
    settings = {"whole": crossing("memo"), "steps": SEPARATE_STEPS | {"b": spark}}
    with pytest.raises(OperationError, match=r"memo crosses from step a to b, .* Spark step"):
        job_of(project(**settings))
    stored = {"memo": {"type": "x", "filepath": "data/memo.parquet"}}
    assert job_of(project(**settings, catalog=stored))


def test_a_transcoded_dataset_with_only_one_entry_is_rejected() -> None:
    whole = Pipeline(
        [Node(same, "raw", "x@a", name="one"), Node(same, "x@b", "report", name="two")]
    )
    catalog = {"x@a": {"type": "s", "filepath": "data/x.parquet"}}
    steps = {name: {"nodes": [name]} for name in ("one", "two")}
    with pytest.raises(OperationError, match="x crosses from step one to two, but has no catalog"):
        job_of(project(whole=whole, catalog=catalog, steps=steps))


def gate(champion: str | None = None, **keys: Any) -> Mlops:
    return Mlops.model_validate({"gate": keys, "champion": champion})


def test_a_gate_on_metrics_of_another_step_is_a_warning() -> None:
    gated = replace(project(steps=TWO_STEPS), mlops=gate(table="clean", decision="report"))
    (warning,) = notes_of(gated)[1]
    assert "step fit judges the model (report)" in warning
    assert "step prepare measured (clean)" in warning
    assert "no model of this job becomes champion" in warning
    for silent in (
        replace(gated, mlops=gate(table="model", decision="report")),
        replace(gated, mlops=gate(table="clean")),
        replace(gated, mlops=gate(table="clean", decision="raw")),
        replace(gated, mlops=None),
        replace(project(), mlops=gate(table="clean", decision="report")),
    ):
        assert notes_of(silent)[1] == []


def test_factory_and_transcoded_datasets_cross_steps() -> None:
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
    job = job_of(project(whole=whole, steps=steps, catalog=catalog))
    assert "BIND__x=${{outputs.x}}/x.parquet" in command(job, "one")
    assert "BIND__x=${{inputs.x}}/x.parquet" in command(job, "two")
    assert "BIND__day_sum=${{inputs.day_sum}}/day.csv" in command(job, "three")
    catalog["x@pandas"]["filepath"] = "data/y.parquet"
    with pytest.raises(OperationError, match=r"different names: x\.parquet, y\.parquet"):
        job_of(project(whole=whole, steps=steps, catalog=catalog))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"inputs": {}}, "step pipeline reads raw from data/raw.csv, .* add raw to inputs"),
        ({"inputs": {"rwa": {}}}, r"inputs\.rwa .*; it has: raw"),
        ({"outputs": {"raw": {}}}, r"outputs\.raw .*; it has: clean, model, part\.a, report"),
        ({"params": ["shaer"]}, "no parameter shaer"),
        ({"params": ["model"]}, "model is a group"),
        ({"params": ["lag"]}, "lag is None"),
        ({"pipeline": "x"}, "no pipeline x"),
    ],
    ids=["undeclared", "input", "output", "parameter", "group", "null", "pipeline"],
)
def test_unknown_and_undeclared_names_are_rejected(config: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message):
        job_of(project(**config))


def test_two_datasets_with_the_same_port_are_rejected() -> None:
    whole = Pipeline(
        [
            Node(same, "raw", "part.a", name="one", namespace="part"),
            Node(same, "part.a", "part__a", name="two"),
        ]
    )
    with pytest.raises(OperationError, match=r"part\.a and part__a would share the port"):
        job_of(project(whole=whole, outputs={}))


@pytest.mark.parametrize("name", ["2024_sales", "température"])
def test_names_that_azure_ml_refuses_are_rejected(name: str) -> None:
    whole = Pipeline([Node(same, "raw", name, name="one"), Node(same, name, "report", name="two")])
    steps = {"first": {"nodes": ["one"]}, "second": {"nodes": ["two"]}}
    stored = {name: {"type": "x", "filepath": "data/sales.csv"}}
    with pytest.raises(OperationError, match=f"The dataset {name} would be the input or output"):
        job_of(project(whole=whole, catalog=stored, steps=steps))
    job_of(project(whole=whole, catalog=stored))  # it does not leave the step
    changed = project(whole=whole, catalog=stored)
    changed.parameters[name] = 1
    with pytest.raises(OperationError, match=f"The parameter {name} would be the input or output"):
        job_of(changed, {name: "1"})


def test_a_parameter_that_another_one_refers_to_is_an_input_of_every_step(tmp_path: Path) -> None:
    folder = tmp_path / "conf/base"
    folder.mkdir(parents=True)
    (folder / "parameters.yaml").write_text("lag: ${share}\n", encoding="utf-8")
    configured = replace(project(steps=TWO_STEPS), root=tmp_path)
    steps = job_of(configured, {"share": "0.5"})["jobs"].values()
    assert all("share" in step["inputs"] for step in steps)


@pytest.mark.parametrize("name", ["clean", "Clean", "a__b"])
def test_a_parameter_with_the_name_of_another_input_is_rejected(name: str) -> None:
    configured = project(steps=TWO_STEPS)
    configured.parameters.update({name: 1, "a": {"b": 2}})
    message = f"The parameter {name} and the .* would share the job input"
    with pytest.raises(OperationError, match=message):
        job_of(configured, {"a.b": "2", name: "1"})
    assert job_of(configured, {"a.b": "2"})


def test_a_path_that_an_input_overrides_cannot_be_a_parameter() -> None:
    configured = project(params=["file"])
    configured.parameters["file"] = PATHS["raw"]
    with pytest.raises(OperationError, match=r"file in azureml\.yml has no effect: .* input raw"):
        job_of(configured)


def test_a_requested_path_that_an_input_overrides_is_rejected() -> None:
    """Otherwise a job would silently read data other than requested."""
    elsewhere = {"raw": {"path": "azureml:raw:1"}}
    with pytest.raises(OperationError, match=r"file=data/raw.csv would have no effect.*raw\.path"):
        configured = project(inputs=elsewhere)
        configured.parameters["file"] = PATHS["raw"]
        job_of(configured, {"file": PATHS["raw"]})
    configured = project()
    configured.parameters["file"] = PATHS["raw"]
    assert job_of(configured, {"file": PATHS["raw"]})["inputs"]["file"] == PATHS["raw"]


@pytest.mark.parametrize(
    ("entry", "declared", "message"),
    [
        ({"versioned": True}, {}, "raw is versioned, so it is a folder of versions"),
        ({"filepath": "folder"}, {}, "raw is uri_file .* folder is a folder: change its type"),
        ({"filepath": "file.csv"}, {"type": "uri_folder"}, "but file.csv is a file"),
        ({"filepath": "data/my raw.csv"}, {}, "cannot use a file with ' '"),
    ],
    ids=["versioned", "folder", "file", "blank"],
)
def test_an_input_of_the_wrong_type_is_rejected(
    tmp_path: Path, entry: dict[str, Any], declared: dict[str, Any], message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.csv").touch()
    raw = {"raw": {"type": "x", "filepath": PATHS["raw"]} | entry}
    configured = replace(project(catalog=raw, inputs={"raw": declared}), root=tmp_path)
    with pytest.raises(OperationError, match=message):
        job_of(configured)
    fitting_input = {"type": "uri_folder", "path": "folder"} if "versioned" in entry else {}
    fitting_entry = {"raw": raw["raw"] | {"filepath": PATHS["raw"]}}
    assert job_of(
        replace(project(catalog=fitting_entry, inputs={"raw": fitting_input}), root=tmp_path)
    )


def test_a_transcoded_input_with_two_paths_is_rejected() -> None:
    whole = Pipeline([Node(same, ["raw@a", "raw@b"], "report", name="one")])
    catalog = {f"raw@{kind}": {"type": kind, "filepath": f"data/{kind}.csv"} for kind in "ab"}
    with pytest.raises(OperationError, match="raw is read from several paths"):
        job_of(project(whole=whole, catalog=catalog))
    catalog["raw@b"]["filepath"] = "data/a.csv"
    assert job_of(project(whole=whole, catalog=catalog))


def test_an_output_stored_in_the_cloud_is_not_redirected() -> None:
    remote = {"report": {"type": "x", "filepath": "abfs://box@account/report.json"}}
    job = job_of(project(catalog=remote))
    assert "outputs" not in job
    assert "BIND__report" not in command(job, "pipeline")


def test_command_line_parameters_are_split_and_typed() -> None:
    assert split_parameters("a=1, b.c=x=y,") == {"a": "1", "b.c": "x=y"}
    assert typed({"a": "1", "b.c": "true"}) == {"a": 1, "b": {"c": True}}
    with pytest.raises(OperationError, match="write name=value"):
        split_parameters("a")
