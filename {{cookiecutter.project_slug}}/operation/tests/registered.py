"""What the tests of the registry share: models that are registered without being trained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from {{ cookiecutter.package_name }}.scoring.digest import digest

from operation.registry import Registry, Version, open_registry
from operation.tests.helpers import Project

ENVIRONMENTS = ("dev", "stage", "prod")
FACTS = {
    "gate": "passed",
    "gate.reasons": "all is well",
    "metrics.average_precision": "0.7",
    "metrics.event_recall": "0.5",
    "metrics.false_alarms_per_week": "0.1",
    "metrics.share_flagged": "0.01",
    "metrics.latency_ms": "5.0",
    "metrics.size_mb": "0.2",
    "data.fingerprint": "f1n9e2",
    "git.commit": "c0ffee",
    "parameters": '{"detector":{"n_estimators":100}}',
}


@dataclass
class Place:
    """Where a project keeps its models, and how its files are changed behind its back."""

    project: Project
    tamper: Callable[[Version], None]
    work: Path
    made: list[Version] = field(default_factory=list)

    def registry(self, env: str) -> Registry:
        return open_registry(env, self.project.path)

    def register(self, env: str, *, content: str = "a forest", **facts: Any) -> Version:
        """Register a model; a fact that is None is left out."""
        folder = self.work / f"model-{len(self.made)}"
        (folder / "data").mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
        (folder / "data" / "forest.txt").write_text(content, encoding="utf-8")
        tags = FACTS | facts | {"digest": digest(folder)}
        tags = {name: text for name, text in tags.items() if text is not None}
        self.made.append(self.registry(env).register(folder, tags))
        return self.made[-1]

    def champion(self, env: str, *, content: str = "a forest", **facts: Any) -> Version:
        """Register a model and let it be champion."""
        version = self.register(env, content=content, **facts)
        self.registry(env).make_champion(version, "test")
        return version

    def everything(self) -> Any:
        """Return all versions of all environments with all they carry, the champion, the lock."""
        found = {}
        for env in ENVIRONMENTS:
            registry = self.registry(env)
            champion = registry.champion()
            versions = [(one.number, dict(one.tags)) for one in registry.versions()]
            found[env] = (versions, champion.number if champion else None, registry.clear_lock())
        return found

    def file_of(self, version: Version) -> Path:
        """Find a file of a version in the project's artifacts."""
        source = self.project.client().get_model_version(version.name, version.number).source
        return Path(source.removeprefix("file://")) / "data" / "forest.txt"
