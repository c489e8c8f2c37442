"""Jobs in the stand-in read and write data assets, named outputs and registered models."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kedro_azure_mlops.testing import StandIn
from tests.plugin.small_job import OUTPUTS, PREPARE, STEPS, ref, submit

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@pytest.mark.parametrize("output", ["model/MLmodel", "scores/scores.csv"])
def test_named_outputs_are_downloaded(ml: "MLClient", small: Path, output: str) -> None:
    name = submit(ml, small, STEPS, outputs=OUTPUTS)
    ml.jobs.stream(name)
    target = small / "downloaded"
    ml.jobs.download(name, download_path=target, output_name=Path(output).parent.name)
    assert (target / "named-outputs" / output).read_text() == "1,2\n1,2\n"


@pytest.mark.xfail(raises=TypeError, strict=True, reason="a bug of azure-ai-ml 1.35.2")
def test_a_model_that_run_history_lists_is_downloaded(
    ml: "MLClient", azure: StandIn, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "reports_models", True)
    name = submit(ml, small, STEPS, outputs=OUTPUTS)
    ml.jobs.stream(name)
    ml.jobs.download(name, download_path=small, output_name="model")


def test_outputs_of_a_step_are_downloaded(ml: "MLClient", small: Path) -> None:
    name = submit(ml, small, STEPS, outputs=OUTPUTS)
    ml.jobs.stream(name)
    ml.jobs.download(f"{name}_prepare", download_path=small, output_name="features")
    assert (small / "named-outputs" / "features" / "f.csv").read_text() == "1,2\n1,2\n"


def test_the_same_job_uploads_nothing_again(ml: "MLClient", azure: StandIn, small: Path) -> None:
    submit(ml, small, STEPS, outputs=OUTPUTS)
    azure.forget()
    submit(ml, small, STEPS, outputs=OUTPUTS)
    assert azure.uploads == []


def test_inputs_and_outputs_may_be_assets_and_single_files(ml: "MLClient", small: Path) -> None:
    from azure.ai.ml.entities import Data

    data = Data(name="raw", version="ab12", type="uri_file", path=small / "raw.csv")
    ml.data.create_or_update(data)
    raw = {"type": "uri_file", "path": "azureml:raw:ab12"}
    step = {
        "command": f"cp {ref('inputs.raw')} {ref('outputs.copy')}",
        "inputs": {"raw": ref("parent.inputs.raw")},
        "outputs": {"copy": {"type": "uri_file", "mode": "upload"}},
    }
    name = submit(ml, small, {"copy": step}, inputs={"raw": raw})
    ml.jobs.stream(name)
    ml.jobs.download(f"{name}_copy", download_path=small, output_name="copy")
    assert (small / "named-outputs" / "copy" / "copy").read_text() == "1,2\n"


def test_missing_data_fail_the_step(ml: "MLClient", small: Path) -> None:
    from azure.ai.ml.exceptions import JobException

    nowhere = "azureml://datastores/workspaceblobstore/paths/no/where.csv"
    inputs = {"raw": {"type": "uri_file", "path": nowhere}, "times": 1}
    name = submit(ml, small, {"prepare": PREPARE}, inputs=inputs)
    with pytest.raises(JobException, match="Failed nodes: /prepare"):
        ml.jobs.stream(name)


def test_an_output_is_written_to_the_path_in_the_job(
    ml: "MLClient", azure: StandIn, small: Path
) -> None:
    path = f"azureml://datastores/workspaceblobstore/paths/mine/{ref('name')}/"
    step = PREPARE | {"outputs": {"features": {"type": "uri_folder", "path": path}}}
    name = submit(ml, small, {"prepare": step})
    ml.jobs.stream(name)
    assert azure.blobs[f"standin/azureml/mine/{name}_prepare/f.csv"] == b"1,2\n1,2\n"


def test_outputs_with_a_name_are_registered(ml: "MLClient", small: Path) -> None:
    named = {"model": {"name": "plant", "version": "7"}, "scores": {"name": "scored"}}
    outputs = {name: OUTPUTS[name] | also for name, also in named.items()}
    name = submit(ml, small, STEPS, outputs=outputs)
    ml.jobs.stream(name)
    model = ml.models.get("plant", "7")
    assert (model.type, model.job_name) == ("mlflow_model", name)
    ml.models.download("plant", "7", download_path=small / "model")
    assert [f.read_text() for f in (small / "model").rglob("MLmodel")] == ["1,2\n1,2\n"]
    assert [data.version for data in ml.data.list("scored")] == ["1"]
    outputs["scores"] = outputs["scores"] | {"name": "scored"}
    again = submit(ml, small, STEPS, outputs=outputs | {"model": OUTPUTS["model"]})
    ml.jobs.stream(again)
    paths = {data.version: data.path for data in ml.data.list("scored")}
    assert f"{name}_train" in paths["1"], "the first one is not replaced"
    assert f"{again}_train" in paths["2"]
