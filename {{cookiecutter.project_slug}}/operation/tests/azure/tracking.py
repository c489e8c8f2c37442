"""MLflow as Azure ML does it: a run for the job, nested ones for its steps, named in variables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

_VERDICT = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}


@dataclass
class Tracked:
    """An open MLflow run."""

    client: Any
    run: Any
    uri: str
    experiment: str

    @property
    def variables(self) -> dict[str, str]:
        """Say what Azure ML puts into the environment of a step."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_RUN_ID": self.run.info.run_id,
            "MLFLOW_EXPERIMENT_ID": self.run.info.experiment_id,
            "MLFLOW_EXPERIMENT_NAME": self.experiment,
        }

    def nested(self, name: str) -> "Tracked":
        tags = {"mlflow.parentRunId": self.run.info.run_id}
        run = self.client.create_run(self.run.info.experiment_id, tags=tags, run_name=name)
        return Tracked(self.client, run, self.uri, self.experiment)

    def end(self, status: str) -> None:
        self.client.set_terminated(self.run.info.run_id, _VERDICT[status])


def open_run(
    uri: str, artifacts: Path, experiment: str, name: str, tags: dict[str, str]
) -> Tracked:
    """Open the run of a job in its experiment, which is made when there is none."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    # a server keeps artifacts itself; with a database they would land in the current folder
    place = None if uri.startswith("http") else (artifacts / experiment).as_uri()
    id = found.experiment_id if found else client.create_experiment(experiment, place)
    return Tracked(client, client.create_run(id, tags=tags, run_name=name), uri, experiment)
