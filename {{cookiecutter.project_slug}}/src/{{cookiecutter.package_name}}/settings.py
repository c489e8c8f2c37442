"""Kedro's settings: where configuration lies, how environments merge, which hooks run."""

import os

from kedro.framework.project import LOGGING

from .binding import Binding
from .output import protect_logs
from .tracking.hook import MlflowTracking

# Nothing is reported to anybody, unless whoever runs this wants it: MLflow would by default, and so
# would Kedro (.telemetry, and the plugins below).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

CONF_SOURCE = "operation/configuration"
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # A parameter is also a global, so the catalog can use it: values are tuned in one file only.
    "config_patterns": {
        "globals": ["globals*", "parameters*"],
        "mlflow": ["mlflow*"],
    },
    # An environment that names one nested value keeps the others of base.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "mlflow": "soft"},
}

# A line a step, readable in a terminal and in a CI log alike.
LOGGING.configure(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(message)s", "datefmt": "%H:%M:%S"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "kedro": {"level": "INFO"},
            "kedro.io.data_catalog": {"level": "WARNING"},
            "kedro.runner.sequential_runner": {"level": "WARNING"},
            "{{ cookiecutter.package_name }}": {"level": "INFO"},
            "operation": {"level": "INFO"},
        },
        "root": {"level": "WARNING", "handlers": ["console"]},
    }
)
protect_logs()  # Kedro takes no formatter of a project's own

HOOKS = (Binding(), MlflowTracking())
# kedro-telemetry would report, kedro-viz would write a file, at every run.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro-viz")
