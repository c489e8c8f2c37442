"""Register the model of the last run, or of a cloud job, with what it has written about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from {{ cookiecutter.package_name }}.binding import bind, port_of
from {{ cookiecutter.package_name }}.gate import marked
from {{ cookiecutter.package_name }}.tracking.facts import METRICS

from operation.errors import OperationError
from operation.registry.config import RegistrySettings
from operation.registry.interface import RefusedError, Registry, Version
from operation.registry.rules import entry_rules, refuse_by

Bring = Callable[[Sequence[str]], Mapping[str, Path]]
"""Brings what a run has written under these ports, and says where it lies."""
Tell = Callable[..., None]  # as in operation.ci


@dataclass(frozen=True)
class LastRun:
    """A model folder, what its version carries, and what the gate has decided about it."""

    folder: Path
    facts: dict[str, str]
    verdict: dict[str, str]
    rules: Sequence[str]


def read_last_run(
    root: Path, env: str, folder: Path | None = None, bring: Bring | None = None
) -> LastRun:
    """Read what the last run has left in the catalog.

    Parameters
    ----------
    folder
        Where the model lies, if that is elsewhere.
    bring
        Where all of it lies, if it is not the last run here that is read.

    Raises
    ------
    OperationError
        If something is not there, or is of another model.
    RefusedError
        If the gate has judged another model than the one in the folder.
    """
    from {{ cookiecutter.package_name }}.scoring.digest import digest
    from {{ cookiecutter.package_name }}.tracking.config import read_config
    from {{ cookiecutter.package_name }}.tracking.data import stored_at
    from {{ cookiecutter.package_name }}.tracking.facts import model_facts, verdict_facts

    bootstrap_project(root)
    with KedroSession.create(project_path=root, env=env) as session:
        context = session.load_context()
        config = read_config(context)
        made = pipelines["__default__"].all_outputs()
        measured = [name for name in config.metrics if name in made]
        needed = [config.gate, *measured]
        if bring:
            places = bring([port_of(name) for name in (*needed, config.model)])
            loader = context.config_loader
            loader["catalog"] = bind(loader["catalog"], {k: str(v) for k, v in places.items()})
        catalog = context.catalog
        if missing := [name for name in needed if not catalog.exists(name)]:
            raise OperationError(
                f"The last run has not made {', '.join(missing)}. Type: kedro run --env {env}"
            )
        gate = catalog.load(config.gate)
        numbers = {k: v for name in measured for k, v in catalog.load(name).items()}
        folder = folder or root / stored_at(catalog, config.model)
    if gate["model"] != config.registered_model:
        raise OperationError(
            f"The last run was of {gate['model']}, not of {config.registered_model}: give its "
            f"--env, or type: kedro run --env {env}"
        )
    refuse_other_model(folder, gate)
    facts = model_facts(digest(folder), gate.get("origin", {}), gate["parameters"])
    rules = [marked(rule) for rule in gate["rules"]]
    return LastRun(folder, facts, verdict_facts(gate, numbers), rules)


def refuse_other_model(folder: Path, gate: Mapping[str, Any]) -> None:
    """Refuse a folder whose detector, in either of its forms, is not the one that was judged.

    Raises
    ------
    OperationError
        If the folder holds no detector.
    RefusedError
        If it holds another one.
    """
    from kedro.io import DatasetError

    from {{ cookiecutter.package_name }}.fingerprint import fingerprint
    from {{ cookiecutter.package_name }}.models import load_detector
    from {{ cookiecutter.package_name }}.onnx_export import to_onnx
    from {{ cookiecutter.package_name }}.scoring.forest import MODEL

    try:
        detector = load_detector(folder)
    except DatasetError as error:
        raise OperationError(f"{error}. Type: kedro run") from error
    served = folder / MODEL
    same = fingerprint(detector) == gate.get("fingerprint")
    if not same or not served.is_file() or served.read_bytes() != to_onnx(detector.forest):
        raise RefusedError(
            f"The model in {folder.name} is not the one that the gate has judged: somebody has "
            "changed or replaced it since. Nothing was registered. Judge it: "
            "kedro run --pipelines metrics"
        )


def register_last_run(
    registry: Registry,
    settings: RegistrySettings,
    last: LastRun,
    say: Callable[[str], None],
    tell: Tell = lambda **_: None,
) -> Version:
    """Register a model once, and let it be champion where runs decide about that.

    Parameters
    ----------
    tell
        Is told ``version``, ``digest`` and ``is_champion`` as soon as they are known.

    Raises
    ------
    RefusedError
        If it is registered and does not become champion, because a gate says no.
    """
    with registry.locked("a registration") as lock:
        there = registry.find(last.facts["digest"])
        if there:
            say(f"{there} is registered already")
            version = _completed(registry, there, last)
        else:
            say(f"registering {registry.name} in {registry.place}")
            version = registry.register(last.folder, last.facts | last.verdict)
            say(f"registered {version}")
        champion = registry.champion()
        is_champion = champion is not None and champion.digest == version.digest
        tell(version=version.number, digest=version.digest, is_champion=is_champion)
        if is_champion:
            say("it is the champion")
            return version
        refuse_by(entry_rules(version, champion, settings.gate), version, registry, say)
        if settings.config.promoted_from or settings.config.approval:
            say(f"the gate passed; the champion of {registry.env} comes by promotion")
            return version
        lock.check()
        registry.make_champion(version, "gate, by register")
        tell(is_champion=True)
    say(f"the gate passed: {version} is now champion of {registry.env}")
    return version


def _completed(registry: Registry, there: Version, last: LastRun) -> Version:
    """Give a version what it lacks and what the gate says by now; what it is made of stays.

    The answer has the numbers of this verdict alone: an older one may have had more.
    """
    wanted = last.facts | dict(there.tags) | last.verdict
    if changed := {k: v for k, v in wanted.items() if there.tags.get(k) != v}:
        registry.tag(there, changed)
    tags = {k: v for k, v in wanted.items() if k in last.verdict or not k.startswith(METRICS)}
    return Version(there.name, there.number, there.digest, tags)
