"""Record every pipeline run in MLflow: parameters, data, metrics, plots, the model and its version.

A direct hook, so that it works with a server that has no logged-models API (Azure ML): the model
is saved to a folder by the catalog, logged as files and registered from there, never by
``log_model``. Everything is sent after the run from what the catalog has stored, so no fault of
tracking can lose it.
"""

import atexit
import logging
from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline

from ..errors import ProjectError, first_line
from ..models import Champion, digest
from ..ranks import rank
from ..redaction import redacted
from .code_version import code_version
from .config import choose_server, read_config
from .data import EARLIER, data_tags, dataset_input, digest_of, stored_at
from .facts import FINGERPRINT, about_model, model_facts, verdict_facts
from .parameters import (
    as_yaml,
    command_tags,
    flat,
    pipelines_of,
    refuse_unknown_parameters,
)
from .registry import find_champion, make_champion, register, version_of_digest
from .run import PARAMETERS, TrackedRun, open_run

logger = logging.getLogger(__name__)


class TrackingError(ProjectError):
    """The run could not be tracked (exit status 2)."""


class MlflowTracking:
    """Kedro hook: opens or adopts an MLflow run before the pipeline and fills it after."""

    def __init__(self) -> None:
        self._run: TrackedRun | None = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember the context and check ``mlflow.yml`` before anything runs."""
        self._run = None
        self._context = context
        self._root = Path(context.project_path)
        self._config = read_config(context)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Open a run, or stop here if the server does not answer and is required to."""
        refuse_unknown_parameters(run_params.get("runtime_params") or {}, self._context)
        if "ParallelRunner" in str(run_params.get("runner")):
            raise ProjectError(
                "ParallelRunner cannot hand models and plots between its processes. Use "
                "--runner ThreadRunner, or none."
            )
        if self._config.enabled and rank() == 0:
            with self._reported_as(self._config.when_unreachable, "No run was started."):
                self._open(run_params)
        if self._run is None:  # nobody to ask; the gate refuses what it cannot compare
            catalog[self._config.champion] = MemoryDataset(Champion(problem="tracking is off"))
            self._origin = code_version(self._root)
        self._catalog, self._trains = catalog, self._config.model in pipeline.all_outputs()

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Write beside the gate's decision of which code and data the model is that was judged.

        Whoever registers the model later asks this, not what the project is like by then.
        """
        if dataset_name == self._config.gate:
            data["origin"] = self._origin_of(data["fingerprint"])
            data["parameters"] = redacted(data["parameters"])

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
            self._fill(pipeline, catalog)
            self._close("FINISHED")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Mark the run as failed."""
        if self._run is not None:
            with self._reported_as("warn", "The pipeline failed first, see below."):
                self._close("FAILED")

    def _open(self, run_params: dict[str, Any]) -> None:
        choose_server(self._config, self._root)
        name = "+".join(pipelines_of(run_params))
        self._run = run = open_run(self._config.experiment, self._root, name)
        if not run.adopted:
            # Ctrl-C passes by Kedro's hooks; MLflow would end the run as if it had been finished.
            atexit.register(self._abandon)
        self._origin = run.inherited_tags()
        if "git.commit" not in self._origin:
            self._origin |= code_version(self._root)
        given = {"runtime_params": redacted(run_params["runtime_params"])}
        tags = {"kedro.env": self._context.env or "local"} | command_tags(run_params | given)
        run.set_tags(tags | self._origin)
        parameters = self._context.params
        run.log_parameters(dict(flat(parameters)))
        run.log_text(as_yaml(redacted(parameters)), PARAMETERS)

    def _fill(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        config, run, outputs = self._config, self._run, pipeline.all_outputs()
        report = catalog.load(config.report) if catalog.exists(config.report) else {}
        self._origin |= data_tags(pipeline, catalog, self._root)
        # a run that reads other data than training does has nothing to do with an old report
        if report and (config.data in pipeline.inputs() or EARLIER in self._origin):
            self._origin[FINGERPRINT] = report["fingerprint"]
            run.log_input(dataset_input(catalog, config.data, report["fingerprint"]))
        scored = digest_of(catalog, config.scores) if config.scores in outputs else None
        run.set_tags(self._origin | ({"scores.digest": scored} if scored else {}))
        measured = {name: catalog.load(name) for name in outputs.intersection(config.metrics)}
        for numbers in measured.values():
            run.log_metrics(numbers)
        for name in outputs.intersection(config.artifacts):
            run.log_file(stored_at(catalog, name))
        verdict = None
        # Only numbers that this run has measured on the stored model may judge it.
        if config.gate in outputs and config.comparison not in outputs:
            logger.warning(
                "The gate has decided on a comparison that this run has not made: no version is "
                "marked and the champion stays. Keep the nodes that make %s and %s in one step.",
                *(config.comparison, config.gate),
            )
        elif config.gate in outputs:
            verdict = catalog.load(config.gate)
        if verdict or config.model in outputs:
            folder, numbers = Path(stored_at(catalog, config.model)), ChainMap(*measured.values())
            facts = verdict_facts(verdict, numbers) if verdict else {}
            origin = self._origin
            if not self._trains:  # then the model is not of the code and data of this run
                here = about_model(origin)
                origin = {k: v for k, v in origin.items() if k not in here} | verdict["origin"]
            version = self._register(folder, origin, facts)
            if verdict:
                self._judge(version, verdict)

    def _origin_of(self, fingerprint: str) -> dict[str, str]:
        """Name the code and data of a model, empty if that is not known.

        This run's, if it trains the model or is a step of the job that does; else what an earlier
        decision on the very same model says.
        """
        catalog, config = self._catalog, self._config
        if self._trains or (self._run is not None and self._run.adopted):
            report = catalog.load(config.report) if catalog.exists(config.report) else {}
            about_data = {FINGERPRINT: report["fingerprint"]} if report else {}
            return about_model(self._origin | about_data)
        with suppress(DatasetError):  # a file that cannot be read is replaced in a moment
            before = catalog.load(config.gate) if catalog.exists(config.gate) else {}
            if before.get("fingerprint") == fingerprint:
                return before.get("origin", {})
        return {}

    def _register(self, folder: Path, origin: dict[str, str], facts: dict[str, str]) -> str:
        """Register the stored model, or add to the version that has these very files."""
        run, name = self._run, self._config.registered_model
        found = digest(folder)
        version = None if self._trains else version_of_digest(run.client, name, found)
        # A model that was trained while the server was away is registered when it is judged.
        if version is None:
            tags = model_facts(found, origin, self._context.params) | facts
            return register(run.client, name, run.log_folder(folder, "model"), run.id, tags)
        for key, text in facts.items():
            run.client.set_model_version_tag(name, version, key, text)
        return version

    def _judge(self, version: str, gate: dict[str, Any]) -> None:
        """Move the alias if the gate passed, and if it has compared with the one that holds it."""
        client, name = self._run.client, self._config.registered_model
        if not gate["passed"]:
            logger.warning("The gate refused: %s version %s is not champion", name, version)
            return
        if not self._config.moves_champion:
            logger.info(
                "The gate passed %s version %s. The champion of %s comes by promotion",
                *(name, version, self._context.env),
            )
            return
        champion = find_champion(client, name)
        there = str(champion.version) if champion else None
        if there != gate["champion_version"]:
            logger.warning(
                "The gate passed %s version %s, but has compared it with champion %s, and by now "
                "that is %s: the champion stays. Let the gate decide again: "
                "kedro run --pipelines metrics",
                *(name, version, gate["champion_version"], there),
            )
            return
        make_champion(client, name, version)
        logger.info("The gate passed: %s version %s is now champion", name, version)

    def _close(self, status: str) -> None:
        import mlflow

        run, self._run = self._run, None
        run.end(status)
        logger.info("Tracked in %s, run %s: %s", mlflow.get_tracking_uri(), run.id, status)

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

            run, self._run = self._run, None
            if run is not None:
                with suppress(Exception):
                    run.end("FAILED")
            message = (
                f"MLflow at {mlflow.get_tracking_uri()} failed: {first_line(error)}\n"
                f"{consequence}\nStart the server, name another one in MLFLOW_TRACKING_URI, or set "
                "when_unreachable: warn in operation/configuration/<env>/mlflow.yml to run without."
            )
            if severity == "error":
                raise TrackingError(message) from error
            logger.warning(message)
