"""Tests; what libraries read when they are imported is set before any test is."""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# seconds between two looks at a job in Azure, which is here
os.environ["AZUREML_RUN_POLLING_INTERVAL_MIN"] = "0"
os.environ["AZUREML_RUN_POLLING_INTERVAL_MAX"] = "1"
