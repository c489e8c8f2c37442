"""Kedro's settings: where configuration lies, how environments merge."""

import os

# Nothing is reported to anybody unless whoever runs this wants it: MLflow would by default, and so
# would Kedro (.telemetry, and the plugins below).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

CONF_SOURCE = "operation/configuration"
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # A parameter is also a global, so the catalog can use it: values are tuned in one file only.
    "config_patterns": {"globals": ["globals*", "parameters*"]},
    # An environment that names one nested value keeps the others of base.
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}

# kedro-telemetry would report, kedro-viz would write a file, at every run.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro-viz")
