"""Shared by tests of the registry: models that are registered without training."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kedro_azure_mlops.contract import (
    Column,
    Contract,
    Schema,
    digest,
    write_contract,
    write_manifest,
)
from kedro_azure_mlops.registry import Registry, Version, open_registry
from tests.plugin.helpers import CONFIGURATION, Project

SCORER = "plant.linear:load"  # serves the models below
ENVIRONMENTS = ("dev", "stage", "prod")
RULES: list[dict[str, Any]] = [
    {
        "metric": "r2",
        "label": "R²",
        "minimum": 0.3,
        "champion_tolerance": 0.01,
        "needs_labels": True,
    },
    {"metric": "recall", "champion_tolerance": 0.1, "needs_labels": True},
    {"metric": "misses", "better": "lower", "champion_tolerance": 1.0, "needs_labels": True},
    {"metric": "share", "better": "lower", "maximum": 0.1},
    {"metric": "latency_ms", "better": "lower", "maximum": 100, "quiet": True},
    {"metric": "size_mb", "label": "size in MB", "better": "lower", "maximum": 5},
]
FACTS = {
    "gate": "passed",
    "gate.reasons": "all is well",
    "metrics.r2": "0.7",
    "metrics.recall": "0.5",
    "metrics.misses": "0.1",
    "metrics.share": "0.01",
    "metrics.latency_ms": "5.0",
    "metrics.size_mb": "0.2",
    "data.fingerprint": "f1n9e2",
    "git.commit": "c0ffee",
    "parameters": '{"model":{"alpha":1}}',
}


def set_keys(project: Project, env: str, **sections: Any) -> None:
    """Set keys in sections of an environment's ``mlops.yml``, and keep all other keys."""
    file = project.path / CONFIGURATION / env / "mlops.yml"
    config = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name, keys in sections.items():
        config[name] = (config.get(name) or {}) | keys
    file.write_text(yaml.safe_dump(config), encoding="utf-8")


def save_fixed_model(folder: Path, content: str, answer: float = 5.0) -> Path:
    """Write a model folder for the project's scorer, which predicts 5.0 for the example."""
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    (folder / "data" / "weights.txt").write_text(content, encoding="utf-8")
    numbers = {"load": 1.0, "pressure": 2.0, "base": 0.0, "threshold": 9.0}
    (folder / "linear.json").write_text(json.dumps(numbers), encoding="utf-8")
    inputs = (Column("load", "double"), Column("pressure", "double"))
    schema = Schema(inputs, (Column("energy", "double"), Column("is_high", "boolean")))
    example = [{"load": 1.0, "pressure": 2.0}]
    write_contract(folder, Contract(schema, example, [{"energy": answer, "is_high": False}]))
    write_manifest(folder)
    return folder


@dataclass
class Store:
    """The registered models of a project, and a function that tampers with their files."""

    project: Project
    tamper: Callable[[Version], None]
    work: Path
    registered: list[Version] = field(default_factory=list)
    opened: dict[tuple[str, ...], Registry] = field(default_factory=dict)

    def registry(self, env: str) -> Registry:
        return open_registry(env, self.project.path)

    def _registry(self, env: str) -> Registry:
        """Open a registry once for each configuration, because reading that is slow."""
        files = (self.project.path / CONFIGURATION / one for one in ("base", env))
        texts = [file.read_text("utf-8") for one in files for file in sorted(one.glob("*.yml"))]
        if (env, *texts) not in self.opened:
            self.opened[env, *texts] = self.registry(env)
        return self.opened[env, *texts]

    def register(
        self, env: str, *, content: str = "some weights", answer: float = 5.0, **facts: Any
    ) -> Version:
        """Register a model, without the facts that are None."""
        folder = save_fixed_model(self.work / f"model-{len(self.registered)}", content, answer)
        tags = FACTS | facts | {"digest": digest(folder)}
        tags = {name: text for name, text in tags.items() if text is not None}
        self.registered.append(self._registry(env).register(folder, tags))
        return self.registered[-1]

    def champion(self, env: str, *, content: str = "some weights", **facts: Any) -> Version:
        """Register a model and make it champion."""
        version = self.register(env, content=content, **facts)
        self._registry(env).make_champion(version, "test")
        return version

    def snapshot(self) -> Any:
        """Return the versions with their tags, the champion and the lock of each environment."""
        states = {}
        for env in ENVIRONMENTS:
            registry = self._registry(env)
            champion = registry.champion()
            versions = [(one.number, dict(one.tags)) for one in registry.versions()]
            states[env] = (versions, champion.number if champion else None, registry.clear_lock())
        return states

    def file_of(self, version: Version) -> Path:
        """Return the file with a version's weights in the project's artifacts."""
        source = self.project.client().get_model_version(version.name, version.number).source
        return Path(source.removeprefix("file://")) / "data" / "weights.txt"
