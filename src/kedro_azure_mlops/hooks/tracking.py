"""Record every pipeline run in MLflow: parameters, data, metrics, files, the model and its version.

It works with a server that has no logged-models API (Azure ML): the model is saved to a folder by
the catalog, logged as files and registered from there, never by ``log_model``. Everything is sent
after the run, from the files of the catalog, so nothing is lost if tracking fails.
"""

import atexit
import logging
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline

from kedro_azure_mlops.config import Mlops
from kedro_azure_mlops.contract import UnusableModelError, digest, refuse_changed_files
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.hooks import binds_ports
from kedro_azure_mlops.hooks.binding import refuse_unknown_entry
from kedro_azure_mlops.hooks.code_version import code_version
from kedro_azure_mlops.hooks.data import (
    EARLIER,
    data_tags,
    dataset_input,
    digest_of,
    is_stored,
    measured,
    stored_at,
)
from kedro_azure_mlops.hooks.faults import fault_in_words, faults
from kedro_azure_mlops.hooks.parameters import (
    as_yaml,
    command_tags,
    flat,
    pipelines_of,
)
from kedro_azure_mlops.hooks.ranks import rank
from kedro_azure_mlops.hooks.run import PARAMETERS, TrackedRun, open_run
from kedro_azure_mlops.hooks.server import (
    choose_server,
    database_of,
    refuse_unfit_registry,
    shown_address,
)
from kedro_azure_mlops.models import Champion
from kedro_azure_mlops.registry.facts import (
    FINGERPRINT,
    about_model,
    metric_facts,
    model_facts,
    untyped,
    verdict_facts,
)
from kedro_azure_mlops.registry.gate import NO_RULES, decide_alone
from kedro_azure_mlops.registry.judged import identity, record_measured, refuse_other_model
from kedro_azure_mlops.registry.registration import model_entry, prove
from kedro_azure_mlops.registry.versions import (
    find_champion,
    make_champion,
    register,
    stored_fault,
    version_of_digest,
)
from kedro_azure_mlops.safety import redacted
from kedro_azure_mlops.writing import out_of_space

logger = logging.getLogger(__name__)

_LONGEST_NAME = 250  # characters of a run's name that MLflow's database keeps


class TrackingError(OperationError):
    """The run could not be tracked (exit status 2)."""


class MlflowTracking:
    """One session's tracking: opens or adopts an MLflow run before the pipeline, fills it after."""

    def __init__(self, context: Any, config: Mlops) -> None:
        self._context, self._config = context, config
        self._root = Path(context.project_path)
        self._run: TrackedRun | None = None
        self._champion: Champion | None = None
        self._trains = self._makes_model = self._is_stored = False

    def begin(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Open a run, or stop if a required server does not answer."""
        config, outputs = self._config, pipeline.all_outputs()
        self._refuse_unknown_entries(catalog)
        if config.tracking.model:
            model_entry(catalog, config.tracking.model)
            if config.tracking.model in pipeline.datasets():
                # skops searches all modules imported so far: import it before MLflow's many.
                import_module("skops.io")
        if "ParallelRunner" in str(run_params.get("runner")) and config.gate.decision in outputs:
            raise OperationError(
                "ParallelRunner runs nodes in processes without access to this run, so the gate's "
                "decision could not name its model. Use --runner ThreadRunner, or none."
            )
        if config.tracking.enabled and rank() == 0:
            with self._reported_as(config.tracking.when_unreachable, "No run was started."):
                self._open(run_params)
        if self._run is None:  # no server to query; the gate refuses a model that it cannot compare
            if config.champion:
                catalog[config.champion] = MemoryDataset(Champion(problem="tracking is off"))
            self._origin = code_version(self._root)
        self._catalog = catalog
        self._makes_model = config.tracking.model in outputs
        # a run that only refits an earlier model does not know its training data
        self._trains = (config.gate.judged or config.tracking.model) in outputs

    def loaded(self, name: str, data: Any) -> None:
        """Remember the champion that this run compares with."""
        if name == self._config.champion and isinstance(data, Champion):
            self._champion = data

    def saved(self, name: str) -> None:
        """Record that the model of this run is stored."""
        self._is_stored |= name == self._config.tracking.model

    def before_saved(self, name: str, data: Any) -> None:
        """Add the judged model to the gate's decision, with its code and data.

        A later registration reads them there, because the project may have changed by then.
        """
        if name != self._config.gate.decision:
            return
        if not isinstance(data, dict) or not {"passed", "rules"} <= data.keys():
            raise OperationError(
                f"The entry {name} (gate.decision in mlops.yml) must be the dict that "
                "kedro_azure_mlops.registry.gate.decide returns: it lacks passed or rules."
            )
        data["model"] = self._config.model_name
        data |= self._identity()
        data["origin"] = self._origin_of(data["digest"])
        data["parameters"] = redacted(untyped(data.get("parameters", self._context.params)))

    def finish(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Send the run's results, register its model and let the gate move the alias."""
        self._record_measured(pipeline.all_outputs())
        run = self._run
        if run is None:
            return
        consequence = (
            "Nothing is lost: the catalog has stored all results of the run. To send them "
            "again, run the pipeline that makes the gate's decision."
        )
        with self._reported_as(self._config.tracking.when_unreachable, consequence):
            try:
                self._fill(run, pipeline, catalog)
            except (OperationError, RefusedError):  # about the model; data already sent stays
                self._close("FAILED")
                raise
            self._close("FINISHED")

    def fail(self) -> None:
        """Mark the run as failed."""
        if self._run is not None:
            with self._reported_as("warn", "The pipeline failed first, see below."):
                self._close("FAILED")

    def _open(self, run_params: dict[str, Any]) -> None:
        choose_server(self._config, self._root)
        refuse_unfit_registry(self._config, self._root)
        names = run_params.get("node_names") or pipelines_of(run_params)
        name = "+".join(names)[:_LONGEST_NAME]
        self._run = run = open_run(
            self._config.experiment, name, self._config.tracking.experiment_folder
        )
        if not run.adopted:
            # Ctrl-C bypasses Kedro's hooks; MLflow would end the run as if it had finished.
            atexit.register(self.abandon)
        self._origin = run.inherited_tags()
        if "git.commit" not in self._origin:
            self._origin |= code_version(self._root)
        runtime = {"runtime_params": redacted(run_params["runtime_params"])}
        tags = {"kedro.env": self._context.env or "local"} | command_tags(run_params | runtime)
        run.set_tags(tags | self._origin)
        parameters = self._context.params
        run.log_parameters(dict(flat(parameters)))
        run.log_text(as_yaml(redacted(parameters)), PARAMETERS)

    def _fill(self, run: TrackedRun, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        config, outputs = self._config.tracking, pipeline.all_outputs()
        self._origin |= data_tags(pipeline, catalog, self._root)
        # an existing report does not describe a run that reads data other than the training data
        if config.data and (config.data in pipeline.inputs() or EARLIER in self._origin):
            fingerprint = self._fingerprint()
            if fingerprint:
                self._origin[FINGERPRINT] = fingerprint
                run.log_input(dataset_input(catalog, config.data, fingerprint))
        is_scored = config.scores is not None and config.scores in outputs
        scored = digest_of(catalog, str(config.scores)) if is_scored else None
        run.set_tags(self._origin | ({"scores.digest": scored} if scored else {}))
        metrics = measured(catalog, outputs, self._config)
        for numbers in metrics.values():
            run.log_metrics({k: v for k, v in numbers.items() if isfinite(v)})
        for name in outputs.intersection(config.artifacts):
            run.log_file(stored_at(catalog, name))
        numbers = dict(ChainMap(*metrics.values()))
        verdict = self._verdict(run, outputs, catalog, numbers)
        if config.model and (verdict or self._makes_model):
            facts = verdict_facts(verdict, numbers, self._config.gate.metrics) if verdict else {}
            if verdict:
                refuse_other_model(Path(stored_at(catalog, config.model)), verdict)
            version = self._register(run, config.model, self._model_origin(verdict), facts)
            if verdict:
                self._judge(run, version, verdict)
        elif config.model and run.is_step and numbers:
            self._add_metrics(run, config.model, numbers)

    def _model_origin(self, verdict: dict[str, Any] | None) -> dict[str, str]:
        """Return the tags about the code and data of the model."""
        if verdict is None or self._trains:
            return self._origin
        # the model does not come from this run's code and data
        here = about_model(self._origin)
        kept = {k: v for k, v in self._origin.items() if k not in here}
        return kept | dict(verdict.get("origin", {}))

    def _verdict(
        self,
        run: TrackedRun,
        outputs: set[str],
        catalog: CatalogProtocol,
        numbers: dict[str, float],
    ) -> dict[str, Any] | None:
        """Return the gate's decision; None if this run has measured nothing to decide on."""
        gate = self._config.gate
        if gate.decision:
            if gate.decision not in outputs:
                return None
            # Only numbers that this run has measured on the stored model may judge it.
            if gate.table and gate.table not in outputs:
                logger.warning(
                    "The gate decided on a comparison that is not from this run: no version is "
                    "marked and the champion stays. Keep the nodes that make %s and %s in one "
                    "step.",
                    *(gate.table, gate.decision),
                )
                return None
            return dict(catalog.load(gate.decision))
        if not self._trains and gate.table not in outputs:
            return None
        table, slices = (
            catalog.load(name) if name in outputs else None for name in (gate.table, gate.slices)
        )
        found = self._champion_in_service(run)
        champion = (str(found.version), found.tags) if found else None
        problem = self._champion.problem if self._champion else None
        decision = decide_alone(gate, table, numbers, champion, problem, slices)
        return decision | dict(self._identity())

    def _champion_in_service(self, run: TrackedRun) -> Any | None:
        """Return the version that this run has compared with, else the one in service now."""
        client, name = run.client, self._config.model_name
        if self._champion is not None:
            number = self._champion.version
            return client.get_model_version(name, number) if number else None
        return find_champion(client, name)

    def _identity(self) -> Mapping[str, str | None]:
        """Return the digest of the stored model, after checking its files; None without a model."""
        model = self._config.tracking.model
        if model is None:
            return {"digest": None}
        if self._makes_model and not self._is_stored:
            raise OperationError(
                f"The gate decides before the model is stored: add {model} to the inputs "
                f"of the node that makes {self._config.gate.decision}, or of one before it."
            )
        folder = Path(stored_at(self._catalog, model))
        if not folder.is_dir():
            return {"digest": None}
        try:
            refuse_changed_files(folder)
        except UnusableModelError as error:
            message = f"The gate cannot judge the model in {folder}: {error}."
            raise OperationError(message) from error
        judged = self._config.gate.judged
        return identity(folder, Path(stored_at(self._catalog, judged)) if judged else None)

    def _record_measured(self, outputs: set[str]) -> None:
        """Record which model this run has measured."""
        model = self._config.tracking.model
        if model is None or rank() or binds_ports():
            return  # a step of a job measures the one model that its job makes
        if (folder := Path(stored_at(self._catalog, model))).is_dir():
            record_measured(folder, outputs)

    def _fingerprint(self) -> str | None:
        """Return the fingerprint of the training data, from its report or else from its bytes."""
        config = self._config.tracking
        if config.data_report and self._catalog.exists(config.data_report):
            report = self._catalog.load(config.data_report)
            if isinstance(report, dict) and report.get("fingerprint"):
                return str(report["fingerprint"])
        if config.data and self._catalog.exists(config.data):
            return digest_of(self._catalog, config.data)
        return None

    def _origin_of(self, judged: str | None) -> dict[str, str]:
        """Return the code and data that a model was trained on; empty if they are not known.

        They are this run's if it trains the model or is a step of the job that does; otherwise an
        earlier decision on exactly this model names them.
        """
        catalog, decision = self._catalog, self._config.gate.decision
        if self._trains or (self._run is not None and self._run.is_step):
            fingerprint = self._fingerprint()
            about_data = {FINGERPRINT: fingerprint} if fingerprint else {}
            return about_model(self._origin | about_data)
        with suppress(DatasetError):  # an unreadable file is about to be replaced
            before = catalog.load(decision) if decision and catalog.exists(decision) else {}
            if judged and before.get("digest") == judged:
                return dict(before.get("origin", {}))
        return {}

    def _register(
        self, run: TrackedRun, model: str, origin: dict[str, str], facts: dict[str, str]
    ) -> str:
        """Register the stored model, or add to the version that has the same files."""
        name, folder = self._config.model_name, Path(stored_at(self._catalog, model))
        found = digest(folder)
        version = version_of_digest(run.client, name, found)
        if version and (fault := stored_fault(name, version, found)):
            logger.warning("%s version %s is registered again: %s", name, version, fault)
            version = None
        prove(folder, self._config, model_entry(self._catalog, model))
        # A model that was trained while the server was down is registered when it is judged.
        if version is None:
            tags = model_facts(found, origin, self._context.params) | facts
            return register(run.client, name, run.log_folder(folder, "model"), run.id, tags)
        champion = find_champion(run.client, name) if self._trains else None
        if champion and str(champion.version) == version:
            return version  # keeps the metrics that made it champion
        for key, text in facts.items():
            run.client.set_model_version_tag(name, version, key, text)
        return version

    def _add_metrics(self, run: TrackedRun, model: str, numbers: dict[str, float]) -> None:
        """Add this step's metrics to the version that another step of its job registered."""
        client, name = run.client, self._config.model_name
        folder = Path(stored_at(self._catalog, model))
        number = version_of_digest(client, name, digest(folder)) if folder.is_dir() else None
        version = client.get_model_version(name, number) if number else None
        if version is None or not run.is_of_same_job(version.run_id):
            return
        for key, text in metric_facts(numbers, self._config.gate.metrics).items():
            if key not in version.tags:
                client.set_model_version_tag(name, number, key, text)

    def _judge(self, run: TrackedRun, version: str, gate: dict[str, Any]) -> None:
        """Move the alias if the gate passed after a comparison with the current champion."""
        client, name = run.client, self._config.model_name
        champion = find_champion(client, name)
        current = str(champion.version) if champion else None
        if current == version:
            logger.info(
                "This model is already in service, as %s version %s: nothing is registered",
                *(name, version),
            )
            return
        if not gate["passed"]:
            why = "; ".join(one["reason"] for one in gate["rules"] if not one["passed"])
            logger.warning("The gate refused %s version %s: %s", name, version, why)
            return
        if not self._config.gate.rules:
            logger.info("The gate: %s", NO_RULES)
        if not self._config.registry.moves_champion:
            logger.info(
                "The gate passed %s version %s. The champion of %s is set by promotion",
                *(name, version, self._context.env),
            )
            return
        if current != gate["champion_version"]:
            logger.warning(
                "The gate passed %s version %s, but compared it with champion %s, and that is now "
                "%s: the champion stays. Run again so that the gate decides again.",
                *(name, version, gate["champion_version"], current),
            )
            return
        make_champion(client, name, version)
        logger.info("The gate passed: %s version %s is now champion", name, version)

    def _close(self, status: str) -> None:
        import mlflow

        run, self._run = self._run, None
        if run is None:
            return
        run.end(status)
        uri = shown_address(mlflow.get_tracking_uri())
        logger.info("Tracked in %s, run %s: %s", uri, run.id, status)

    def abandon(self) -> None:
        """Mark a run that is still open as killed: Ctrl-C bypasses Kedro's hooks."""
        if self._run is not None:
            with suppress(Exception):
                self._close("KILLED")

    def _refuse_unknown_entries(self, catalog: CatalogProtocol) -> None:
        """Refuse names in ``mlops.yml`` that no catalog entry has: nothing would be recorded."""
        for key, name in self._config.entries:
            refuse_unknown_entry(catalog, name, key)
        for name in self._config.tracking.artifacts:
            if not is_stored(catalog, name):
                raise OperationError(
                    f"mlops.yml: tracking.artifacts: the catalog entry {name} has no file that "
                    "could be stored with the run."
                )

    @contextmanager
    def _reported_as(self, severity: str, consequence: str) -> Iterator[None]:
        """Turn any fault of the tracking server into one clear error or warning."""
        import mlflow

        try:
            yield
        except faults() as error:
            run, self._run = self._run, None
            if run is not None:
                with suppress(Exception):
                    run.end("FAILED")
            uri = mlflow.get_tracking_uri()
            stores = [self._root, database_of(uri) or self._root]
            full = out_of_space(error, stores, "MLflow's record of the run")
            message = f"{full or fault_in_words(error, uri)}\n{consequence}"
            if not full:
                message += (
                    "\nTo run without a record, set tracking.when_unreachable: warn in mlops.yml."
                )
            if severity == "error":
                raise TrackingError(message) from (full or error)
            logger.warning(message)
