"""Register the model of the last run, or of a cloud job, with its metrics and its verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession

from kedro_azure_mlops.config import Mlops, bootstrap, read_azureml, read_mlops
from kedro_azure_mlops.contract import UnusableModelError, digest, load_proven_scorer
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import bind, entry_of, port_of
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
        Its champion is compared with if the project has no decision node.
    folder
        The model's folder, if it is elsewhere.
    bring
        Downloads the results, if they are those of a job and not of the last run here.

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
        needed = _needed(config)
        if bring:
            loader = context.config_loader
            also = _metric_outputs(config, read_azureml(root, env).outputs, loader["catalog"])
            # otherwise the verdict would be on a table left by a run here
            measured_by = [config.gate.table, config.gate.slices]
            table = [] if config.gate.decision else [name for name in measured_by if name]
            ports = [*needed, *also, *table, config.tracking.model]
            places = bring([port_of(name) for name in ports])
            loader["catalog"] = bind(loader["catalog"], {k: str(v) for k, v in places.items()})
        catalog = context.catalog
        if missing := [name for name in needed if not catalog.exists(name)]:
            raise OperationError(
                f"The last run has not made {', '.join(missing)}. Type: kedro run --env {env}"
            )
        model = model_entry(catalog, config.tracking.model)
        metrics = measured(catalog, _outputs_of_run(), config)
        place = root / model.filepath
        made_with = _Made(
            folder or place, read_measured(place), _measured_model(catalog, config, root)
        )
        if bring:  # all results of a job belong to its one model
            made_with = _Made(place, None)
        gate = _decision(catalog, config, metrics, made_with, registry.champion, env)
        parameters = gate.get("parameters", context.params)
    folder = made_with.folder
    refuse_other_model(folder, gate)
    if made_with.recorded is not None:
        refuse_stale_metrics(gate, made_with.recorded, _of_model(config, metrics))
    prove(folder, config, model)
    facts = model_facts(digest(folder), gate.get("origin", {}), parameters)
    rules = [format_rule(rule) for rule in gate["rules"]]
    numbers = _all_numbers(metrics)
    return LastRun(folder, facts, verdict_facts(gate, numbers), rules)


def read_decision(root: Path, env: str, champion: Callable[[], Version | None]) -> dict[str, Any]:
    """Read the gate's decision about the last run.

    Parameters
    ----------
    champion
        Returns the champion to compare with if the project has no decision node.

    Raises
    ------
    OperationError
        If no run has reached the gate, or the last one made another environment's model.
    RefusedError
        If the gate judged a model other than the current one.
    """
    config = read_mlops(root, env)
    bootstrap(root)
    with KedroSession.create(project_path=root, env=env) as session:
        catalog = session.load_context().catalog
        decision = config.gate.decision
        if decision and not catalog.exists(decision):
            raise OperationError(f"no run has reached the gate yet. Type: kedro run --env {env}")
        model = config.tracking.model
        made_with = None
        if model:
            folder = root / model_entry(catalog, model).filepath
            made_with = _Made(folder, read_measured(folder), _measured_model(catalog, config, root))
        metrics = measured(catalog, _outputs_of_run(), config)
        verdict = _decision(catalog, config, metrics, made_with, champion, env)
    if made_with:
        refuse_other_model(made_with.folder, verdict)
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
    """Register a model once, and make it champion if runs may do that.

    Parameters
    ----------
    report
        Gets ``version``, ``digest`` and ``is_champion`` as soon as they are known.

    Raises
    ------
    RefusedError
        If it is registered but does not become champion, because the gate refuses it.
    """
    with registry.locked("a registration") as lock:
        there = registry.find(last.facts["digest"])
        if there and _is_whole(registry, there, say):
            say(f"{there} is already registered")
            version = _completed(registry, there, last)
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


def refuse_unknown_entry(catalog: Any, name: str, key: str) -> None:
    """Refuse a name in ``mlops.yml`` that no catalog entry has.

    Raises
    ------
    OperationError
        Naming the key and, if there is one, the entry with the closest name.
    """
    if name in catalog:
        return
    close = get_close_matches(name, list(catalog.keys()), n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise OperationError(f"mlops.yml: {key}: there is no catalog entry {name}.{hint}")


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
            f"{type(dataset).__name__}. A registered model is a folder that checks itself: "
            "give the entry the type kedro_azure_mlops.ModelDataset."
        )
    return dataset


def prove(folder: Path, config: Mlops, entry: ModelDataset) -> None:
    """Load a model's scorer and replay the model's example, before it is registered.

    Raises
    ------
    OperationError
        If there is no such model, its scorer cannot be imported, or it answers differently.
    """
    try:
        load_proven_scorer(folder, config.scorer, trusted=entry.trusted)
    except UnusableModelError as error:
        raise OperationError(f"The model cannot be registered: {error}") from error


def _needed(config: Mlops) -> list[str]:
    made = _outputs_of_run()
    metrics = [name for name in config.tracking.metrics or [] if name in made]
    return [*([config.gate.decision] if config.gate.decision else []), *metrics]


def _metric_outputs(config: Mlops, outputs: Iterable[str], catalog: Mapping[str, Any]) -> list[str]:
    """List the outputs of a job that may hold metrics, if ``tracking.metrics`` is not set."""
    if config.tracking.metrics is not None:
        return []
    kept = {name for name in outputs if name != config.gate.decision} & _outputs_of_run()
    entries = {name: entry_of(catalog, name) or {} for name in kept}
    return sorted(name for name, entry in entries.items() if "JSON" in str(entry.get("type")))


def _outputs_of_run() -> set[str]:
    """Return the outputs of a whole run."""
    return set(_whole_pipeline().all_outputs())


def _whole_pipeline() -> Any:
    whole = pipelines.get("__default__")
    return whole if whole is not None else sum(pipelines.values())


def _of_model(config: Mlops, names: Iterable[str]) -> list[str]:
    """Select the entries that depend on the model, or come from the node that makes it."""
    whole, model = _whole_pipeline(), str(config.gate.judged or config.tracking.model)
    makers = {name for node in whole.nodes if model in node.outputs for name in node.outputs}
    takers = whole.from_inputs(model).all_outputs() if model in whole.datasets() else set()
    return [name for name in names if name in makers | takers]


def _all_numbers(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: number for entry in metrics.values() for name, number in entry.items()}


@dataclass(frozen=True)
class _Made:
    """A model folder, and the digest of the model behind each entry; None: of this one for all.

    ``measured`` is the folder of the model that was measured, if ``folder`` holds its refit.
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
    made_with: _Made | None,
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
        there = (best.number, best.tags) if best else None
        numbers = _all_numbers(metrics)
        decision = decide_alone(config.gate, rows, numbers, there, slices=slices)
        decision |= {"model": config.model_name}
        if made_with is None:
            return decision
        about = identity(made_with.folder, made_with.measured)
        if made_with.recorded is None:
            return decision | about
        entries = _of_model(config, [*metrics, *([] if rows is None else [str(table)])])
        judged = measured_digest(about["digest"], made_with.recorded, entries)
        return decision | about | {"digest": judged}
    decision = dict(catalog.load(config.gate.decision))
    if decision.get("model") != config.model_name:
        raise OperationError(
            f"The last run made {decision.get('model')}, not {config.model_name}.",
            next=f"give its --env, or type: kedro run --env {env}",
        )
    return decision


def _is_whole(registry: Registry, version: Version, say: Say) -> bool:
    """Return whether the stored files of a version are those registered; report it if not."""
    with TemporaryDirectory(prefix="registered-") as folder:
        try:
            registry.fetch(version, Path(folder) / "model")
        except OperationError as error:
            say(str(error))
            return False
    return True


def _completed(registry: Registry, there: Version, last: LastRun) -> Version:
    """Add a version's missing tags and update its verdict; the tags on its origin stay.

    The returned version has the metrics of this verdict only: an older one may have had more.
    """
    wanted = last.facts | dict(there.tags) | last.verdict
    if changed := {k: v for k, v in wanted.items() if there.tags.get(k) != v}:
        registry.tag(there, changed)
    tags = {k: v for k, v in wanted.items() if k in last.verdict or not k.startswith(METRICS)}
    return Version(there.name, there.number, there.digest, tags)


def _refuse_job_without_model(job: "CloudJob", env: str) -> None:
    from kedro_azure_mlops.azure.cloud_job import COMPLETED

    see = f"kedro mlops submit --env {env} --job {job.name}"
    if job.tags.get("env", env) != env:
        raise OperationError(f"The job {job.name} was sent with --env {job.tags['env']}: use that.")
    if not job.ended:
        raise OperationError(f"The job {job.name} is {job.status}. Wait for it: {see}")
    if job.status != COMPLETED:
        raise OperationError(
            f"The job {job.name} is {job.status}: there is no model to register. See why: {see}"
        )


def _content(folder: Path) -> Path:
    """Return the file of an output that is one file; a model is a folder of several."""
    found = list(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].is_file() else folder
