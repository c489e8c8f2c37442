"""Reading of job files, and rejection of jobs that cannot run on this machine."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.local.job_file import FromJob, FromStep, Value, read_job


def job_of(folder: Path, steps: dict[str, Any], **more: Any) -> Path:
    file = folder / "dev.yml"
    file.write_text(yaml.safe_dump({"type": "pipeline", "jobs": steps} | more), encoding="utf-8")
    return file


def step(command: str = "true", **more: Any) -> dict[str, Any]:
    return {"type": "command", "code": "..", "environment": "e", "command": command} | more


def test_a_component_and_its_step_are_merged(tmp_path: Path) -> None:
    file = job_of(
        tmp_path,
        {
            "train": {
                "type": "command",
                "environment_variables": {"A": 1},
                "resources": {"instance_count": 2},
                "limits": {"timeout": 60},
                "inputs": {"x": "${{parent.inputs.x}}"},
                "outputs": {"model": "${{parent.outputs.model}}"},
                "component": {
                    "type": "command",
                    "command": "run ${{inputs.x}} ${{inputs.n}} ${{outputs.model}}",
                    "code": "..",
                    "environment": {"image": "i"},
                    "is_deterministic": False,
                    "inputs": {
                        "x": {"type": "number"},
                        "n": {"type": "number", "default": 3},
                    },
                    "outputs": {"model": {"type": "mlflow_model"}, "more": {"type": "uri_file"}},
                },
            }
        },
        inputs={"x": 0.5},
    )
    train = read_job(file).step("train")
    assert train.inputs == {"x": FromJob("x"), "n": Value("3")}
    assert train.outputs == {"model": "mlflow_model", "more": "uri_file"}
    assert train.kept == {"model": "model"}
    assert train.variables == {"A": "1"}
    assert (train.instances, train.timeout, train.is_deterministic) == (2, 60.0, False)
    assert train.code == tmp_path.parent.resolve()


def test_an_output_of_a_step_can_have_its_type_from_the_job(tmp_path: Path) -> None:
    steps = {"a": step(outputs={"m": "${{parent.outputs.kept}}", "x": None})}
    job = read_job(job_of(tmp_path, steps, outputs={"kept": {"type": "mlflow_model"}}))
    assert job.step("a").outputs == {"m": "mlflow_model", "x": "uri_folder"}


def test_steps_are_sorted_in_execution_order(tmp_path: Path) -> None:
    after = {"x": {"type": "uri_folder", "path": "${{ parent.jobs.a.outputs.x }}"}}
    job = read_job(job_of(tmp_path, {"b": step(inputs=after), "a": step(outputs={"x": None})}))
    assert list(job.steps) == ["a", "b"]
    assert job.step("b").inputs == {"x": FromStep("a", "x")}
    assert job.step("b").needs == {"a"}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"a": step(inputs={"x": "${{parent.inputs.gone}}"})}, "is gone, not an input of the job"),
        ({"a": step(inputs={"x": "${{parent.jobs.z.outputs.x}}"})}, "is x, no output of step z"),
        ({"a": step("cat ${{inputs.x}}")}, "command of step a uses inputs.x, which"),
        ({"a": step("cat ${{outputs.x}}")}, "command of step a uses outputs.x, which"),
        ({"a": step(inputs={"x": "a-${{parent.inputs.x}}"})}, "that is neither an input of the"),
        ({"a": step(inputs={"x": {"type": "uri_file"}})}, "neither a value nor a path"),
        (
            {
                "a": step(inputs={"x": "${{parent.jobs.b.outputs.x}}"}, outputs={"x": None}),
                "b": step(inputs={"x": "${{parent.jobs.a.outputs.x}}"}, outputs={"x": None}),
            },
            "Steps depend on each other: a -> b -> a|b -> a -> b",
        ),
        ({"a": {"type": "command", "component": "azureml:c:1"}}, "component azureml:c:1, which is"),
        ({"a": step(type="sweep")}, "of type sweep; only command and spark"),
        ({"a": step("run $[[--x ${{inputs.x}}]]")}, "optional parts"),
        ({"a": {"type": "command", "code": ".."}}, "has no command"),
        ({"a": {"type": "spark", "code": ".."}}, "has no entry.file"),
    ],
)
def test_jobs_that_cannot_run_are_rejected(
    tmp_path: Path, steps: dict[str, Any], message: str
) -> None:
    with pytest.raises(OperationError, match=message):
        read_job(job_of(tmp_path, steps))


@pytest.mark.parametrize(
    ("steps", "more", "message"),
    [
        ({"a": "x"}, {}, r"dev\.yml: jobs: a is 'x', but must be a mapping of keys"),
        ({"a": None}, {}, r"dev\.yml: step a has no command"),
        ({"a": step()}, {"inputs": ["x"]}, r"dev\.yml: inputs is \['x'\], but must be a mapping"),
        ({"a": step()}, {"settings": "x"}, r"dev\.yml: settings is 'x', but must be a mapping"),
        ({"a": step(inputs=["x"])}, {}, r"dev\.yml: step a: inputs is \['x'\], but must be a map"),
        ({"a": step(outputs=["x"])}, {}, r"step a: outputs is \['x'\], but must be a mapping"),
        ({"a": step(component={"inputs": 1})}, {}, "step a: inputs is 1, but must be a mapping"),
        ({"a": step(environment_variables="X=1")}, {}, "environment_variables is 'X=1', but must"),
        ({"a": step(limits=60)}, {}, r"dev\.yml: step a: limits is 60, but must be a mapping"),
        (
            {"a": step(limits={"timeout": "1h"})},
            {},
            r"dev\.yml: step a: limits: timeout is '1h', but must be a number",
        ),
        (
            {"a": step(resources={"instance_count": "two"})},
            {},
            r"dev\.yml: step a: resources: instance_count is 'two', but must be a number",
        ),
    ],
)
def test_values_of_the_wrong_kind_are_rejected(
    tmp_path: Path, steps: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(OperationError, match=message):
        read_job(job_of(tmp_path, steps, **more))


def test_numbers_may_be_quoted_and_empty_keys_count_as_missing(tmp_path: Path) -> None:
    file = job_of(
        tmp_path,
        {"a": step(limits={"timeout": "60"}, resources={"instance_count": "2"}, inputs=None)},
        settings=None,
        inputs=None,
    )
    read = read_job(file).step("a")
    assert (read.timeout, read.instances, read.inputs) == (60.0, 2, {})


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_job_file_must_be_utf_8(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "dev.yml"
    file.write_text("display_name: Wärme\njobs: {}\n", encoding=encoding)
    if encoding == "utf-8":
        assert read_job(file).name == "Wärme"
        return
    with pytest.raises(OperationError, match=r"dev\.yml is not UTF-8 text, from byte 15 on"):
        read_job(file)


@pytest.mark.parametrize("text", ["type: command\ncommand: x\n", "- a\n", ""])
def test_only_pipeline_jobs_are_accepted(tmp_path: Path, text: str) -> None:
    (tmp_path / "dev.yml").write_text(text, encoding="utf-8")
    with pytest.raises(OperationError, match=r"dev\.yml is not a pipeline job"):
        read_job(tmp_path / "dev.yml")


def test_a_missing_or_invalid_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="no job file"):
        read_job(tmp_path / "dev.yml")
    (tmp_path / "dev.yml").write_text("a: [", encoding="utf-8")
    with pytest.raises(OperationError, match=r"dev\.yml is not valid YAML"):
        read_job(tmp_path / "dev.yml")
