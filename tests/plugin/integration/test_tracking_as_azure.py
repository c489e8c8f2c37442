"""Tracking with a real MLflow server, without the routes that Azure ML's server lacks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pytest
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository
from sklearn.linear_model import Ridge

from kedro_azure_mlops.contract import digest
from tests.plugin.helpers import Project
from tests.plugin.mlflow_job import Job
from tests.plugin.mlflow_server import (
    ALIASES,
    INPUTS,
    LOGGED_MODELS,
    Proxy,
    Server,
    hide_routes,
    serving,
)

NAME = "plant"
GOOD = {"arguments": {"alpha": 1.0}}
WORSE = {"arguments": {"alpha": 1e9}}
OTHER = {"arguments": {"alpha": 0.5}}


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for several tests; each uses its own model and experiment."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def hidden(
    real_server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Proxy, mlflow.MlflowClient]]]:
    """Return a function that replaces the server by one without some routes."""
    with ExitStack() as stack:

        def hide(*routes: str) -> tuple[Proxy, mlflow.MlflowClient]:
            proxy = stack.enter_context(hide_routes(real_server.uri, *routes))
            monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            return proxy, mlflow.MlflowClient(proxy.uri)

        yield hide


@pytest.mark.parametrize("name", ["in-a-job", "on-a-laptop"])
def test_a_server_without_logged_models_stores_a_complete_run(
    project: Project,
    hidden: Callable[..., tuple[Proxy, mlflow.MlflowClient]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    proxy, client = hidden(*LOGGED_MODELS, *INPUTS)
    job = Job(client, monkeypatch) if name == "in-a-job" else None
    project.run(model=GOOD, model_name=name)
    version = client.get_model_version_by_alias(name, "champion")
    run = client.get_run(version.run_id)
    assert run.data.metrics == pytest.approx(project.metrics())
    assert (run.info.run_id == job.id) if job else (run.info.status == "FINISHED")
    assert job is None or job.is_untouched()
    fetched = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@champion"))
    assert digest(fetched) == version.tags["digest"] == digest(project.processed("model"))
    project.run(model=WORSE, model_name=name)  # compared with the fetched champion
    assert project.gate()["champion_version"] == "1"
    assert client.get_model_version(name, "2").tags["gate"] == "refused"
    assert set(proxy.blocked) == {"POST /api/2.0/mlflow/runs/log-inputs"}


def test_log_model_fails_without_logged_models(
    hidden: Callable[..., tuple[Proxy, mlflow.MlflowClient]],
) -> None:
    """Show that the proxy hides its routes: ``log_model``, which the plugin avoids, fails."""
    options = {"serialization_format": "skops", "pip_requirements": ["scikit-learn"]}
    model = Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    proxy, _ = hidden(*LOGGED_MODELS)
    with (
        mlflow.start_run(experiment_id="0"),
        pytest.raises(mlflow.MlflowException, match="logged-models failed with error code 404"),
    ):
        mlflow.sklearn.log_model(model, name="model", **options)
    assert proxy.blocked == ["POST /api/2.0/mlflow/logged-models"]
    hidden()
    with mlflow.start_run(experiment_id="0"):
        assert mlflow.sklearn.log_model(model, name="model", **options).model_id


def test_a_server_without_aliases_marks_its_champion_by_a_tag(
    project: Project, hidden: Callable[..., tuple[Proxy, mlflow.MlflowClient]]
) -> None:
    proxy, client = hidden(*LOGGED_MODELS, *ALIASES)
    name = "without-aliases"
    for model, champion in ((GOOD, "1"), (WORSE, "1"), (OTHER, "3")):
        project.run(model=model, model_name=name)
        versions = client.search_model_versions(f"name='{name}'")
        tagged = [str(v.version) for v in versions if v.tags.get("champion") == "true"]
        assert tagged == [champion]
    assert project.gate()["champion_version"] == "1", "the third was compared with it"
    assert any("alias" in path for path in proxy.blocked)


def test_a_model_is_registered_with_the_file_listing_of_azure(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azureml-mlflow lists the files of a folder from the root of the run."""
    listed = RunsArtifactRepository._list_run_artifacts

    def from_the_root(self: RunsArtifactRepository, path: str | None = None) -> list[object]:
        return [] if path is None else listed(self, path)

    monkeypatch.setattr(RunsArtifactRepository, "_list_run_artifacts", from_the_root)
    project.run()
    version = project.client().get_model_version_by_alias(NAME, "champion")
    assert version.tags["digest"] == digest(project.processed("model"))
    with pytest.raises(mlflow.MlflowException):
        mlflow.register_model(f"runs:/{version.run_id}/model", NAME)
