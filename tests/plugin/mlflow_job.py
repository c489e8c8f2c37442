"""The MLflow runs of a cloud job, as its platform opens them before a step starts."""

import mlflow
import pytest
from mlflow.entities import Run

SUBMITTED = {
    "git.commit": "c" * 40,
    "git.dirty": "true",
    "data.raw_hours": "hours:4f2a",
    "azureml.nodeid": "not ours",
}


class Job:
    """A pipeline job with one step, as the platform hands it to the step's process."""

    def __init__(self, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self._others = self._all_runs()
        self.experiment = client.create_experiment("of-the-platform")
        self.parent = client.create_run(self.experiment, run_name="job", tags=SUBMITTED).info.run_id
        nested = {"mlflow.parentRunId": self.parent}
        self.id = client.create_run(self.experiment, run_name="step", tags=nested).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", self.id)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", self.experiment)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of-the-platform")

    def step(self) -> Run:
        return self.client.get_run(self.id)

    def text(self, name: str) -> str:
        return mlflow.artifacts.load_text(f"{self.step().info.artifact_uri}/{name}")

    def is_untouched(self) -> bool:
        """Return whether nothing but logged data changed in the run that the platform opened."""
        info = self.step().info
        return (
            (info.status, info.run_name, info.end_time) == ("RUNNING", "step", None)
            and self.has_no_other_runs()
            and mlflow.active_run() is None
        )

    def has_no_other_runs(self) -> bool:
        """Return whether the platform's runs are the only new ones."""
        return self._all_runs() - self._others == {self.id, self.parent}

    def _all_runs(self) -> set[str]:
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        return {run.info.run_id for run in self.client.search_runs(experiments)}
