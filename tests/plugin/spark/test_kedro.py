"""One pipeline runs on pandas or on Spark, depending on the types in the catalog."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner
from pandas.testing import assert_frame_equal

from kedro_azure_mlops.engine import aggregate, map_groups, sample, spark_errors, to_pandas
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import PluginHooks
from kedro_azure_mlops.hooks.whole import WholeFiles, clean_up_after_killed_runs
from tests.plugin.spark import functions
from tests.plugin.spark.functions import ROWS, WITH_TOTAL, rows

ENGINES = {
    "pandas": {"type": "pandas.ParquetDataset"},
    "spark": {
        "type": "spark.SparkDatasetV2",
        "file_format": "parquet",
        "save_args": {"mode": "overwrite"},
    },
}
NAMES = ("totals", "profiles")


def describe(table: Any) -> Any:
    return map_groups(table, "unit", functions.running_total, WITH_TOTAL, order_by="time")


def profile(table: Any) -> Any:
    return aggregate(table, "unit", {"total": ["count", "mean"]})


def choose(table: Any) -> pd.DataFrame:
    return sample(table, 50, ["unit", "time", "number"])


PIPELINE = Pipeline(
    [
        node(describe, "rows", "totals"),
        node(profile, "totals", "profiles"),
        node(choose, "totals", "chosen"),
    ]
)


def catalog_of(engine: str, folder: Path) -> DataCatalog:
    folder.mkdir()
    rows().astype({"time": "datetime64[us]"}).to_parquet(folder / "rows")
    entries = {
        name: ENGINES[engine] | {"filepath": str(folder / name)} for name in ("rows", *NAMES)
    }
    return DataCatalog.from_config(entries | {"chosen": {"type": "MemoryDataset"}})


def run(engine: str, folder: Path) -> list[pd.DataFrame]:
    catalog = catalog_of(engine, folder)
    SequentialRunner().run(PIPELINE, catalog)
    tables = [to_pandas(pd.read_parquet(folder / name)) for name in NAMES]
    tables = [table.sort_values([*table.columns], ignore_index=True) for table in tables]
    return [*tables, catalog.load("chosen")]


@pytest.mark.spark
def test_a_pipeline_writes_the_same_tables_on_both_engines(spark: Any, tmp_path: Path) -> None:
    for ours, theirs in zip(
        run("spark", tmp_path / "spark"), run("pandas", tmp_path / "pandas"), strict=True
    ):
        assert_frame_equal(ours, theirs, check_exact=True, check_dtype=False)


@pytest.mark.spark
def test_a_failure_while_kedro_saves_an_output_is_clear(spark: Any, tmp_path: Path) -> None:
    """Spark runs a node's function when its output is saved, so Kedro reports a failed dataset."""

    def fail(table: Any) -> Any:
        return map_groups(table, "unit", functions.failing, ROWS)

    failing = Pipeline([node(fail, "rows", "totals")])
    message = r"^failing, given .* of unit=b, failed"
    with pytest.raises(DatasetError, match="Failed while saving data") as raised:
        SequentialRunner().run(failing, catalog_of("spark", tmp_path / "spark"))
    with pytest.raises(OperationError, match=message), spark_errors():
        raise raised.value
    # `kedro run` calls this, and then raises the dataset's error if nothing else was raised
    with pytest.raises(OperationError, match=message):
        PluginHooks().on_pipeline_error(raised.value)


@pytest.mark.spark
def test_errors_that_no_function_raised_are_left_to_kedro(spark: Any) -> None:
    PluginHooks().on_pipeline_error(DatasetError("the disk is away"))


@pytest.mark.spark
def test_the_old_table_stays_until_the_new_one_is_complete(spark: Any, tmp_path: Path) -> None:
    """Spark alone would delete it first, and leave nothing if a function then fails."""
    catalog = DataCatalog.from_config(
        {"totals": ENGINES["spark"] | {"filepath": str(tmp_path / "totals")}}
    )
    table = spark.createDataFrame(rows(100)).repartition(1)

    def save(data: Any) -> WholeFiles:
        whole = WholeFiles(catalog)
        whole.begin("totals")
        catalog.save("totals", data)
        return whole

    save(table).end("totals")
    whole = save(table.limit(7))
    assert catalog.load("totals").count() == 100
    whole.end("totals")
    assert catalog.load("totals").count() == 7
    with pytest.raises(DatasetError):
        save(map_groups(table, "unit", functions.failing, ROWS))
    clean_up_after_killed_runs(catalog, ["totals"])  # as after a run that was killed here
    assert catalog.load("totals").count() == 7
    assert [path.name for path in tmp_path.iterdir()] == ["totals"]
