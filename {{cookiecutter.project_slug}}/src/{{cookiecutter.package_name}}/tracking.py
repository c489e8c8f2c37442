"""Record every pipeline run in MLflow: parameters, data, metrics, plots, the model and its version.

A direct hook, so that it works with a server that has no logged-models API (Azure ML): the model
is saved to a folder by the catalog, logged as files and registered from there, never by
``log_model``. Everything is sent after the run from what the catalog has stored, so no fault of
tracking can lose it.
"""

import atexit
import logging
import os
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.io import AbstractVersionedDataset, CatalogProtocol, MemoryDataset
from kedro.pipeline import Pipeline
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ProjectError, first_line
from .models import CHAMPION_ALIAS, Champion, digest

logger = logging.getLogger(__name__)

# A dead server is reported in seconds; MLflow's own defaults would try for many minutes.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    # looks for a Databricks notebook at every run, and imports IPython for it
    "MLFLOW_ENABLE_SGC_RUN_RESUMPTION_FOR_DATABRICKS_JOBS": "false",
}


class TrackingError(ProjectError):
    """The run could not be tracked (exit status 2)."""


class TrackingConfig(BaseModel):
    """The keys of ``mlflow.yml``."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool
    tracking_uri: str
    experiment: str
    registered_model: str
    when_unreachable: Literal["error", "warn"]
    data: str
    report: str
    metrics: list[str]
    artifacts: list[str]
    model: str
    champion: str
    comparison: str
    gate: str


class MlflowTracking:
    """Kedro hook: opens an MLflow run before the pipeline and fills it after."""

    def __init__(self) -> None:
        self._run: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember the context and check ``mlflow.yml`` before anything runs."""
        self._run = None
        self._context = context
        self._root = Path(context.project_path)
        self._config = _read_config(context)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        """Open a run, or stop here if the server does not answer and is required to."""
        _refuse_unknown_parameters(run_params.get("runtime_params") or {}, self._context)
        if "ParallelRunner" in str(run_params.get("runner")):
            raise ProjectError(
                "ParallelRunner cannot hand models and plots between its processes. Use "
                "--runner ThreadRunner, or none."
            )
        if self._config.enabled:
            with self._reported_as(self._config.when_unreachable, "No run was started."):
                self._open(run_params)
        if self._run is None:  # nobody to ask; the gate refuses what it cannot compare
            catalog[self._config.champion] = MemoryDataset(Champion(problem="tracking is off"))

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Send what the run has stored, register its model and let the gate move the alias."""
        if self._run is None:
            return
        kept = (
            "Nothing is lost: all results of the run are where the catalog keeps them. To send "
            "them again: kedro run --pipelines metrics"
        )
        with self._reported_as(self._config.when_unreachable, kept):
            self._fill(set(pipeline.all_outputs()), catalog)
            self._close("FINISHED")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Mark the run as failed."""
        if self._run is not None:
            with self._reported_as("warn", "The pipeline failed first, see below."):
                self._close("FAILED")

    def _open(self, run_params: dict[str, Any]) -> None:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        import mlflow  # over a second: paid only by commands that run a pipeline

        logging.getLogger("alembic").setLevel(logging.WARNING)
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri(_below(self._root, self._config.tracking_uri))
        if "MLFLOW_RUN_ID" not in os.environ:  # else a cloud job opened the run: join it
            mlflow.set_experiment(experiment_id=self._experiment())
        names = run_params.get("pipeline_names") or ["__default__"]
        self._run = mlflow.start_run(run_name="+".join(names))
        # Ctrl-C passes by Kedro's hooks; MLflow would end the run as if it had been finished.
        atexit.register(self._abandon)
        mlflow.set_tags(
            {"kedro.env": self._context.env or "local", "kedro.run_id": run_params["run_id"]}
            | code_version(self._root)
        )
        mlflow.log_params(dict(_flat(self._context.params)))

    def _experiment(self) -> str:
        """Find the experiment or make it, local artifacts beside the local database."""
        import mlflow

        client = mlflow.MlflowClient()
        name = self._config.experiment
        found = client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        is_local = mlflow.get_tracking_uri().startswith("sqlite:")
        location = (self._root / "mlartifacts" / name).as_uri() if is_local else None
        return client.create_experiment(name, artifact_location=location)

    def _fill(self, outputs: set[str], catalog: CatalogProtocol) -> None:
        import mlflow

        config = self._config
        report = catalog.load(config.report) if catalog.exists(config.report) else {}
        if report:
            mlflow.set_tag("data.fingerprint", report["fingerprint"])
            mlflow.log_input(_dataset(catalog, config.data, report["fingerprint"]), "training")
        for name in outputs.intersection(config.metrics):
            mlflow.log_metrics(catalog.load(name))
        for name in outputs.intersection(config.artifacts):
            mlflow.log_artifact(_stored_at(catalog, name))
        if config.model in outputs:
            self._register(Path(_stored_at(catalog, config.model)), report)
        # Only numbers that this run has measured on the stored model may judge it.
        if {config.gate, config.comparison} <= outputs:
            folder = Path(_stored_at(catalog, config.model))
            self._judge(folder, report, catalog.load(config.gate))

    def _register(self, folder: Path, report: dict[str, Any]) -> str:
        import mlflow

        mlflow.log_artifacts(str(folder), "model")
        tags = {"digest": digest(folder)} | code_version(self._root)
        if report:
            tags["data.fingerprint"] = report["fingerprint"]
        name = self._config.registered_model
        uri = f"runs:/{self._run.info.run_id}/model"
        version = str(mlflow.register_model(uri, name, tags=tags).version)
        logger.info("Registered %s version %s", name, version)
        return version

    def _judge(self, folder: Path, report: dict[str, Any], gate: dict[str, Any]) -> None:
        """Write the decision to the version of this very model; move the alias if it passed."""
        import mlflow

        client = mlflow.MlflowClient()
        name, alias = self._config.registered_model, CHAMPION_ALIAS
        # A model that was trained while the server was away is registered now.
        version = _version_of_digest(client, name, digest(folder))
        version = version or self._register(folder, report)
        reasons = "; ".join(rule["reason"] for rule in gate["rules"])
        verdict = "passed" if gate["passed"] else "refused"
        client.set_model_version_tag(name, version, "gate", verdict)
        client.set_model_version_tag(name, version, "gate.reasons", reasons)
        if gate["passed"]:
            client.set_registered_model_alias(name, alias, version)
            logger.info("The gate passed: %s version %s is now %s", name, version, alias)
        else:
            logger.warning("The gate refused: %s version %s is not %s", name, version, alias)

    def _close(self, status: str) -> None:
        import mlflow

        run, self._run = self._run, None
        mlflow.end_run(status)
        where = mlflow.get_tracking_uri(), self._config.experiment
        logger.info("Tracked in %s, experiment %s, run %s: %s", *where, run.info.run_name, status)

    def _abandon(self) -> None:
        if self._run is not None:
            with suppress(Exception):
                self._close("KILLED")

    @contextmanager
    def _reported_as(self, severity: str, consequence: str) -> Iterator[None]:
        """Turn any fault of the tracking server into one clear error or warning."""
        from mlflow.exceptions import MlflowException
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
            import mlflow

            with suppress(Exception):
                mlflow.end_run("FAILED")
            self._run = None
            message = (
                f"MLflow at {mlflow.get_tracking_uri()} failed: {first_line(error)}\n"
                f"{consequence}\nStart the server, name another one in MLFLOW_TRACKING_URI, or set "
                "when_unreachable: warn in operation/configuration/<env>/mlflow.yml to run without."
            )
            if severity == "error":
                raise TrackingError(message) from error
            logger.warning(message)


def code_version(root: Path) -> dict[str, str]:
    """Name the git commit of a folder and whether its files differ from it; empty without git."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    dirty = bool(_git(root, "status", "--porcelain", "--", "."))
    return {"git.commit": commit, "git.dirty": str(dirty).lower()}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _read_config(context: Any) -> TrackingConfig:
    try:
        return TrackingConfig(**context.config_loader["mlflow"])
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        env = context.env or "base"
        raise ProjectError(f"mlflow.yml of environment {env}: {'; '.join(faults)}") from error


def _refuse_unknown_parameters(given: Mapping[str, Any], context: Any) -> None:
    """Refuse ``--params`` with a name that is in no ``parameters.yml``: nothing would read it."""
    if not given:
        return
    loader = context.config_loader
    files = type(loader)(
        conf_source=loader.conf_source, env=context.env, **settings.CONFIG_LOADER_ARGS
    )
    known = {name for name, _ in _flat(files["parameters"])}
    groups = set(files["parameters"])
    for name, _ in _flat(given):
        if name in known or name in groups:
            continue
        close = get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else f" There are: {', '.join(sorted(known))}."
        raise ProjectError(f"--params: there is no parameter {name}.{hint}")


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, given in nested.items():
        value = given.model_dump() if isinstance(given, BaseModel) else given
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _below(root: Path, uri: str) -> str:
    """Place a relative SQLite file in the project, wherever the command is run."""
    scheme = "sqlite:///"
    if not uri.startswith(scheme):
        return uri
    return scheme + (root / uri.removeprefix(scheme)).as_posix()


def _stored_at(catalog: CatalogProtocol, name: str) -> str:
    dataset = catalog[name]
    if isinstance(dataset, AbstractVersionedDataset):
        return str(dataset._get_load_path())  # Kedro has no public way to ask for the file
    return str(dataset.filepath)


def _dataset(catalog: CatalogProtocol, name: str, fingerprint: str) -> Any:
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset

    with warnings.catch_warnings():  # about two equal readings of a local path
        warnings.simplefilter("ignore", UserWarning)
        source = resolve_dataset_source(_stored_at(catalog, name))
    # MLflow's own digest looks at the first rows only, and takes no more than 36 characters.
    return MetaDataset(source, name=name, digest=fingerprint[:36])


def _version_of_digest(client: Any, name: str, wanted: str) -> str | None:
    versions = client.search_model_versions(f"name='{name}'", order_by=["version_number DESC"])
    return next((str(v.version) for v in versions if v.tags.get("digest") == wanted), None)
