"""The Spark session of a run, opened before Kedro's datasets open one with different settings."""

import logging
import os
from typing import TYPE_CHECKING

from kedro.framework import project
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

if TYPE_CHECKING:
    from kedro_azure_mlops.config import Mlops

logger = logging.getLogger(__name__)

_MODULES = ("kedro_datasets.spark.", "kedro_azure_mlops.tables.on_spark")


def open_session_if_needed(
    pipeline: Pipeline, catalog: CatalogProtocol, configuration: "Mlops | None"
) -> None:
    """Open the session that ``spark`` in ``mlops.yml`` configures if a run has Spark tables.

    The plugin and the project's package are sent to executors on other machines.

    Raises
    ------
    OperationError
        If pyspark or a suitable Java is missing, or the Spark master does not answer.
    """
    if not any(is_spark_entry(catalog, name) for name in pipeline.datasets()):
        return
    from kedro_azure_mlops.config import SparkSettings
    from kedro_azure_mlops.engine.session import MASTER, send_packages, spark_session

    settings = configuration.spark if configuration else SparkSettings()
    master = settings.master or os.environ.get(MASTER)
    logger.info("Some tables of this run are on Spark: opening its session.")
    spark = spark_session(master, {name: str(value) for name, value in settings.settings.items()})
    if master and not master.startswith("local"):
        send_packages(spark, *filter(None, ["kedro_azure_mlops", project.PACKAGE_NAME]))


def is_spark_entry(catalog: CatalogProtocol, name: str) -> bool:
    """Return whether a catalog entry is a Spark table."""
    dataset = catalog.get(name)
    return type(dataset).__module__.startswith(_MODULES)
