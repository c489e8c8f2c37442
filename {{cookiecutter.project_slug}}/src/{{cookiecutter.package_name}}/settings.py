"""Kedro's settings: where the configuration is, and how environments are merged."""

import os

# No usage statistics unless you opt in: MLflow sends them by default, and so does Kedro (see also
# .telemetry and the plugins below).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

CONF_SOURCE = "operation/configuration"
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Parameters are also globals, so the catalog can use them: values are tuned in one file only.
    "config_patterns": {"globals": ["globals*", "parameters*"]},
    # An environment that overrides one nested value keeps the others from base.
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}

# At every run, kedro-telemetry would send statistics and kedro-viz would write a file.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro-viz")
