"""Register the model of the last run, or of a job on Azure ML, with its metrics and verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession

from kedro_azure_mlops.config import Mlops, bootstrap, read_azureml, read_mlops
from kedro_azure_mlops.contract import UnusableModelError, digest, load_proven_scorer
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import bind, entry_of, port_of, refuse_unknown_entry
from kedro_azure_mlops.hooks.data import measured
from kedro_azure_mlops.models import ModelDataset
from kedro_azure_mlops.registry.facts import METRICS, format_rule, model_facts, verdict_facts
from kedro_azure_mlops.registry.gate import decide_alone, entry_rules, refuse_by
from kedro_azure_mlops.registry.interface import Registry, Version
from kedro_azure_mlops.registry.judged import (
    identity,
    measured_digest,
    read_measured,
    refuse_other_model,
    refuse_stale_metrics,
)

if TYPE_CHECKING:
    from kedro_azure_mlops.azure.cloud_job import CloudJob

Say = Callable[[str], None]
Report = Callable[..., None]  # as ci.report_outputs
Bring = Callable[[Sequence[str]], Mapping[str, Path]]
"""Downloads a job's outputs by port, and returns the path of each."""


@dataclass(frozen=True)
class LastRun:
    """A model folder, the tags of its version, and the gate's verdict on it."""

    folder: Path
    facts: dict[str, str]
    verdict: dict[str, str]
    rules: Sequence[str]


def read_last_run(
    root: Path,
    env: str,
    registry: Registry,
    folder: Path | None = None,
    bring: Bring | None = None,
) -> LastRun:
    """Read the results of the last run from the catalog, and verify its model.

    Parameters
    ----------
    registry
        Supplies the champion to compare with if the project has no decision node.
    folder
        The model's folder, if it is not that of the catalog.
    bring
        Downloads the results of a job, which are read instead of those of the last local run.

    Raises
    ------
    OperationError
        If something is missing or belongs to another model, or the model cannot be served.
    RefusedError
        If the gate judged a model other than the one in the folder.
    """
    config = read_mlops(root, env)
    if config.tracking.model is None:
        raise OperationError("mlops.yml names no tracking.model: there is nothing to register.")
    bootstrap(root)
    with KedroSession.create(project_path=root, env=env) as session:
        context = session.load_context()
        required = _required_entries(config)
        if bring:
            loader = context.config_loader
            metric_outputs = _metric_outputs(
                config, read_azureml(root, env).outputs, loader["catalog"]
            )
            # otherwise the gate would judge a table that a local run left behind
            measured_by = [config.gate.table, config.gate.slices]
            table = [] if config.gate.decision else [name for name in measured_by if name]
            ports = [*required, *metric_outputs, *table, config.tracking.model]
            paths = bring([port_of(name) for name in ports])
            loader["catalog"] = bind(loader["catalog"], {k: str(v) for k, v in paths.items()})
        catalog = context.catalog
        refuse_unknown_entry(catalog, config.gate.decision, "gate.decision")
        if missing := [name for name in required if not catalog.exists(name)]:
            raise OperationError(
                f"The last run has not written {', '.join(missing)}. Run: kedro run --env {env}"
            )
        model = model_entry(catalog, config.tracking.model)
        metrics = measured(catalog, _outputs_of_run(), config)
        path = root / model.filepath
        judged_model = _JudgedModel(
            folder or path, read_measured(path), _measured_model(catalog, config, root)
        )
        if bring:  # all results of a job belong to its one model
            judged_model = _JudgedModel(path, None)
        gate = _decision(catalog, config, metrics, judged_model, registry.champion, env)
        parameters = gate.get("parameters", context.params)
    folder = judged_model.folder
    refuse_other_model(folder, gate)
    if judged_model.recorded is not None:
        refuse_stale_metrics(gate, judged_model.recorded, _entries_of_model(config, metrics))
    prove(folder, config, model)
    facts = model_facts(digest(folder), gate.get("origin", {}), parameters)
    rules = [format_rule(rule) for rule in gate["rules"]]
    numbers = _all_numbers(metrics)
    return LastRun(folder, facts, verdict_facts(gate, numbers, config.gate.metrics), rules)


def read_decision(root: Path, env: str, champion: Callable[[], Version | None]) -> dict[str, Any]:
    """Read the gate's decision about the last run.

    Parameters
    ----------
    champion
        Returns the champion to compare with if the project has no decision node.

    Raises
    ------
    OperationError
        If no run has reached the gate, or the last run was for another environment's model.
    RefusedError
        If the gate judged a model other than the current one.
    """
    config = read_mlops(root, env)
    bootstrap(root)
    with KedroSession.create(project_path=root, env=env) as session:
        catalog = session.load_context().catalog
        decision = config.gate.decision
        refuse_unknown_entry(catalog, decision, "gate.decision")
        if decision and not catalog.exists(decision):
            raise OperationError(f"no run has reached the gate yet. Run: kedro run --env {env}")
        model = config.tracking.model
        judged_model = None
        if model:
            folder = root / model_entry(catalog, model).filepath
            judged_model = _JudgedModel(
                folder, read_measured(folder), _measured_model(catalog, config, root)
            )
        metrics = measured(catalog, _outputs_of_run(), config)
        verdict = _decision(catalog, config, metrics, judged_model, champion, env)
    if judged_model:
        refuse_other_model(judged_model.folder, verdict)
    return verdict


def read_job_run(
    env: str, name: str, root: Path, registry: Registry, target: Path, say: Say
) -> LastRun:
    """Download model, verdict and metrics of a job into a folder, and read them.

    Parameters
    ----------
    target
        The folder; it must exist until the model is registered.

    Raises
    ------
    OperationError
        If there is no such job, it belongs to another environment, it did not succeed, or it has
        no such outputs.
    RefusedError
        If the gate judged a model other than the one that the job made.
    """
    from kedro_azure_mlops.azure.cloud_job import fetch_output, read_job
    from kedro_azure_mlops.azure.workspace import workspace

    client = workspace(env, root)
    job = read_job(client, name)
    _refuse_job_without_model(job, env)

    def bring(ports: Sequence[str]) -> Mapping[str, Path]:
        say(f"fetching {', '.join(ports)} of job {name}")
        folders = {port: fetch_output(client, job, port, target, "registered") for port in ports}
        return {port: _content(folder) for port, folder in folders.items()}

    last = read_last_run(root, env, registry, bring=bring)
    say("the gate of the job decided:")
    for rule in last.rules:
        say(f"  {rule}")
    return last


def register_last_run(
    registry: Registry, config: Mlops, last: LastRun, say: Say, report: Report
) -> Version:
    """Register a model once, and make it champion if runs may set the champion.

    Parameters
    ----------
    report
        Called with ``version``, ``digest`` and ``is_champion`` as soon as they are known.

    Raises
    ------
    RefusedError
        If the model is registered but does not become champion, because the gate refuses it.
    """
    with registry.locked("a registration") as lock:
        existing = registry.find(last.facts["digest"])
        if existing and _is_intact(registry, existing, say):
            say(f"{existing} is already registered")
            version = _update_tags(registry, existing, last)
        else:
            say(f"registering {registry.name} in {registry.place}")
            version = registry.register(last.folder, last.facts | last.verdict)
            say(f"registered {version}")
        champion = registry.champion()
        is_champion = champion is not None and champion.digest == version.digest
        report(version=version.number, digest=version.digest, is_champion=is_champion)
        if is_champion:
            say("it is the champion")
            return version
        refuse_by(entry_rules(version, champion, config.gate), version, registry, say)
        if not config.registry.moves_champion or config.registry.promoted_from:
            say(f"the gate passed; the champion of {registry.env} is set by promotion")
            return version
        lock.check()
        registry.make_champion(version, "gate, by register")
        report(is_champion=True)
    say(f"the gate passed: {version} is now champion of {registry.env}")
    return version


def model_entry(catalog: Any, name: str, key: str = "tracking.model") -> ModelDataset:
    """Return the catalog entry of the model.

    Parameters
    ----------
    key
        The key of ``mlops.yml`` that names it.

    Raises
    ------
    OperationError
        If there is no such entry, or it is not a ``ModelDataset``: a single file, such as a pickle,
        cannot be registered.
    """
    refuse_unknown_entry(catalog, name, key)
    dataset = catalog[name]
    if not isinstance(dataset, ModelDataset):
        raise OperationError(
            f"The catalog entry {name}, which mlops.yml names as {key}, is a "
            f"{type(dataset).__name__}. A registered model is a folder with checksums: "
            "set the type of the entry to kedro_azure_mlops.ModelDataset."
        )
    return dataset


def prove(folder: Path, config: Mlops, entry: ModelDataset) -> None:
    """Load a model's scorer and replay the model's example before registration.

    Raises
    ------
    OperationError
        If there is no such model, its scorer cannot be imported, or its answers differ.
    """
    try:
        load_proven_scorer(folder, config.scorer, trusted=entry.trusted)
    except UnusableModelError as error:
        raise OperationError(f"The model cannot be registered: {error}") from error


def _required_entries(config: Mlops) -> list[str]:
    outputs = _outputs_of_run()
    metrics = [name for name in config.tracking.metrics or [] if name in outputs]
    return [*([config.gate.decision] if config.gate.decision else []), *metrics]


def _metric_outputs(config: Mlops, outputs: Iterable[str], catalog: Mapping[str, Any]) -> list[str]:
    """List the outputs of a job that may hold metrics, if ``tracking.metrics`` is not set."""
    if config.tracking.metrics is not None:
        return []
    kept = {name for name in outputs if name != config.gate.decision} & _outputs_of_run()
    entries = {name: entry_of(catalog, name) or {} for name in kept}
    return sorted(name for name, entry in entries.items() if "JSON" in str(entry.get("type")))


def _outputs_of_run() -> set[str]:
    """Return the outputs of a run of the whole pipeline."""
    return set(_whole_pipeline().all_outputs())


def _whole_pipeline() -> Any:
    whole = pipelines.get("__default__")
    return whole if whole is not None else sum(pipelines.values())


def _entries_of_model(config: Mlops, names: Iterable[str]) -> list[str]:
    """Select the entries that depend on the model, or are outputs of the node that trains it."""
    whole, model = _whole_pipeline(), str(config.gate.judged or config.tracking.model)
    siblings = {name for node in whole.nodes if model in node.outputs for name in node.outputs}
    dependents = whole.from_inputs(model).all_outputs() if model in whole.datasets() else set()
    return [name for name in names if name in siblings | dependents]


def _all_numbers(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: number for entry in metrics.values() for name, number in entry.items()}


@dataclass(frozen=True)
class _JudgedModel:
    """A model folder, and the digest of the model that each entry was made with.

    ``recorded`` is None if all entries were made with this model. ``measured`` is the folder of the
    model that was measured, if ``folder`` holds its refit.
    """

    folder: Path
    recorded: Mapping[str, str] | None
    measured: Path | None = None


def _measured_model(catalog: Any, config: Mlops, root: Path) -> Path | None:
    name = config.gate.judged
    return root / model_entry(catalog, name, "gate.judged").filepath if name else None


def _decision(
    catalog: Any,
    config: Mlops,
    metrics: Mapping[str, Mapping[str, float]],
    judged_model: _JudgedModel | None,
    champion: Callable[[], Version | None],
    env: str,
) -> dict[str, Any]:
    """Read the decision, or make it if the project has no decision node."""
    if config.gate.decision is None:
        table = config.gate.table
        rows, slices = (
            catalog.load(name) if name and catalog.exists(name) else None
            for name in (table, config.gate.slices)
        )
        best = champion()
        compared = (best.number, best.tags) if best else None
        numbers = _all_numbers(metrics)
        decision = decide_alone(config.gate, rows, numbers, compared, slices=slices)
        decision |= {"model": config.model_name}
        if judged_model is None:
            return decision
        about = identity(judged_model.folder, judged_model.measured)
        if judged_model.recorded is None:
            return decision | about
        entries = _entries_of_model(config, [*metrics, *([] if rows is None else [str(table)])])
        judged = measured_digest(about["digest"], judged_model.recorded, entries)
        return decision | about | {"digest": judged}
    decision = dict(catalog.load(config.gate.decision))
    if decision.get("model") != config.model_name:
        raise OperationError(
            f"The last run was for {decision.get('model')}, not {config.model_name}.",
            next=f"give its --env, or run: kedro run --env {env}",
        )
    return decision


def _is_intact(registry: Registry, version: Version, say: Say) -> bool:
    """Return whether the stored files of a version are unchanged; report it if not."""
    with TemporaryDirectory(prefix="registered-") as folder:
        try:
            registry.fetch(version, Path(folder) / "model")
        except OperationError as error:
            say(str(error))
            return False
    return True


def _update_tags(registry: Registry, existing: Version, last: LastRun) -> Version:
    """Add a version's missing tags and update its verdict; the tags on its origin are kept.

    The returned version has only the metrics of this verdict; an older verdict may have had more.
    """
    wanted = last.facts | dict(existing.tags) | last.verdict
    if changed := {k: v for k, v in wanted.items() if existing.tags.get(k) != v}:
        registry.tag(existing, changed)
    tags = {k: v for k, v in wanted.items() if k in last.verdict or not k.startswith(METRICS)}
    return Version(existing.name, existing.number, existing.digest, tags)


def _refuse_job_without_model(job: "CloudJob", env: str) -> None:
    from kedro_azure_mlops.azure.cloud_job import COMPLETED

    see = f"kedro mlops submit --env {env} --job {job.name}"
    if job.tags.get("env", env) != env:
        raise OperationError(
            f"The job {job.name} was submitted with --env {job.tags['env']}: use that environment."
        )
    if not job.ended:
        raise OperationError(f"The job {job.name} is {job.status}. Wait for it: {see}")
    if job.status != COMPLETED:
        raise OperationError(
            f"The job {job.name} is {job.status}: there is no model to register. See why: {see}"
        )


def _content(folder: Path) -> Path:
    """Return the file if an output holds only one; a model is a folder of several files."""
    found = list(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].is_file() else folder
