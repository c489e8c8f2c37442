"""A small project with a two-step job that the real client submits."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kedro_azure_mlops.testing.stand_in import CLUSTER, ENVIRONMENT

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_DOUBLE = """\
import pathlib, sys
source, times, target = sys.argv[1:]
print("doubling")
pathlib.Path(target).write_text(pathlib.Path(source).read_text() * int(times))
"""


def ref(name: str) -> str:
    """Return a job's reference to a port (assembled, as two braces would begin a template)."""
    return "$" + "{" * 2 + name + "}" * 2


FOLDER = {"type": "uri_folder", "mode": "upload"}
PREPARE = {
    "command": f"python src/double.py {ref('inputs.raw')} {ref('inputs.times')} "
    f"{ref('outputs.features')}/f.csv",
    "inputs": {"raw": ref("parent.inputs.raw"), "times": ref("parent.inputs.times")},
    "outputs": {"features": FOLDER},
}
TRAIN = {
    "command": f"cp {ref('inputs.features')}/f.csv {ref('outputs.model')}/MLmodel; "
    f"cp {ref('inputs.features')}/f.csv {ref('outputs.scores')}/scores.csv",
    "inputs": {
        "features": {"type": "uri_folder", "path": ref("parent.jobs.prepare.outputs.features")}
    },
    "outputs": {name: ref(f"parent.outputs.{name}") for name in ("model", "scores")},
}
STEPS = {"prepare": PREPARE, "train": TRAIN}
OUTPUTS = {"model": {"type": "mlflow_model", "mode": "upload"}, "scores": FOLDER}


def make_project(folder: Path) -> Path:
    """Write the code, the data and the list of uploaded files."""
    (folder / "src").mkdir()
    (folder / "src" / "double.py").write_text(_DOUBLE)
    (folder / "raw.csv").write_text("1,2\n")
    (folder / ".amlignore").write_text("*\n!src\n!src/**\n")
    return folder


def submit(ml: "MLClient", project: Path, steps: dict[str, Any], **fields: Any) -> str:
    """Submit a job as `az ml job create -f` does, from a file two folders below the project."""
    from azure.ai.ml import load_job

    common = {"type": "command", "code": "../..", "environment": ENVIRONMENT}
    body = {
        "type": "pipeline",
        "experiment_name": "small",
        "settings": {"default_compute": CLUSTER},
        "inputs": {"raw": {"type": "uri_file", "path": "../../raw.csv"}, "times": 2},
        "jobs": {name: _without_none(common | step) for name, step in steps.items()},
    }
    path = project / "build" / "azureml" / "dev.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(body | fields))
    return str(ml.jobs.create_or_update(load_job(path)).name)


def _without_none(step: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if value is not None}
