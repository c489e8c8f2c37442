"""Kedro pipelines on a laptop, in CI and on Azure ML.

All public names are listed here. Each is imported on first access, so ``import kedro_azure_mlops``
costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_PUBLIC = {
    "ModelDataset": "models",
    "RegisteredChampion": "models",
    "OperationError": "errors",
    "RefusedError": "errors",
    "find_error_codes": "error_codes",
    "list_error_codes": "error_codes",
    "initialise": "init",
    "open_tracking": "hooks.server",
    "compile_job": "job.compilation",
    "run_local": "local.run",
    "plan_reproduction": "reproduce.plan",
    "submit_job": "azure.submission",
    "run_job": "azure.follow",
    "wait_for_job": "azure.follow",
    "cancel_job": "azure.submission",
    "schedule_job": "azure.schedules",
    "schedule_monitor": "azure.schedules",
    "provision": "azure.provisioning",
    "check": "azure.doctor",
    "register": "registry",
    "gate_verdict": "registry",
    "read_update_policy": "refresh",
    "decide_refresh": "refresh",
    "champion_since": "refresh",
    "champion": "registry",
    "promote": "registry",
    "rollback": "registry",
    "clean_up": "deploy.rollout",
    "deploy_online": "deploy.rollout",
    "deploy_batch": "deploy.batch",
    "go_back": "deploy.rollout",
    "invoke": "deploy.invocation",
    "invoke_batch": "deploy.invocation",
    "share_traffic": "deploy.comparison",
    "end_sharing": "deploy.comparison",
    "compare_deployments": "deploy.comparison",
    "serve_model": "serve.process",
    "SeriesCSV": "tables.catalog",
    "LabelsCSV": "tables.catalog",
    "SeriesPieces": "tables.catalog",
    "SeriesOnSpark": "tables.on_spark",
    "Events": "events",
    "CsvPieces": "serve.batches",
    "ScoredPieces": "serve.batches",
    "score_pieces": "serve.batches",
    "explain_rows": "explain",
    "write_bundle": "serve.bundle",
    "monitor_model": "monitor.look",
    "nothing_to_monitor": "monitor.look",
    "MonitorReport": "monitor.result",
    "read_served": "monitor.served",
    "ServedRows": "monitor.served",
    "map_groups": "engine",
    "map_rows": "engine",
    "map_series": "engine",
    "newest_rows": "engine",
    "in_memory": "engine",
    "sample": "engine",
    "aggregate": "engine",
    "to_pandas": "engine",
    "spark_session": "engine",
    "send_packages": "engine",
    "spark_errors": "engine",
    "update_project": "update.update",
    "propose_update": "update.pull_request",
    "audit_locks": "audit",
    "write_sbom": "audit",
    "annotate": "ci",
    "report_outputs": "ci",
    "run_until_interrupted": "ci",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604, all are strings


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
