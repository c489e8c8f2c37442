"""Run the template's sample on Spark and on pandas, and print the results as JSON.

Run as a separate process, in a rendered project: Spark is a cluster of two executors here, each
with its own JVM, which the settings of Kedro and the project's package have to reach.
"""

import csv
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from kedro_azure_mlops.contract import History
from kedro_azure_mlops.engine import in_memory, map_series, newest_rows, spark_session
from tests.plugin.spark.conftest import JAVA, SETTINGS

DAYS = 14
# A half-life of a day makes the history of a row shorter than the file.
SHORT_HISTORY = {
    "detector.refit_every": "3D",
    "training.window": "12D",
    "features.seasonal_halflife_days": 1,
}
HALVES = Path("new")
OUTPUTS = {
    "clean": "data/interim/clean_temperatures.parquet",
    "features": "data/interim/features.parquet",
    "train": "data/interim/train.parquet",
    "test": "data/interim/test.parquet",
    "held_out": "data/interim/held_out_scores.parquet",
}
ON_SPARK = {"clean": "clean_temperatures", "features": "features"}
FILES = ("scores.csv", "metrics.json", "comparison.csv", "slices.csv", "model/SHA256SUMS")


def real_rows(file: Path) -> list[list[str]]:
    """Return the first days, with typical faults: a duplicate, a late row and error codes."""
    header, *lines = csv.reader(file.open(encoding="utf-8"))
    rows = [header, *lines[: DAYS * 96 * 4]]
    rows.insert(2000, rows[1999])
    rows[3000], rows[3020] = rows[3020], rows[3000]
    for number in (1201, 1401, 1601, 1801):  # in one series
        rows[number][2] = "199.9"
    return rows


def write(file: Path, rows: list[list[str]]) -> str:
    file.parent.mkdir(exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)
    return str(file)


def run(env: str | None, *pipelines: str, **options: Any) -> dict[str, Any]:
    """Run pipelines as ``kedro run`` does; return the status and message of an error."""
    params = SHORT_HISTORY | options.pop("params", {})
    with KedroSession.create(Path.cwd(), env=env, runtime_params=_nested(params)) as session:
        try:
            session.run(pipeline_names=[*pipelines] or None, **options)
        except Exception as error:  # noqa: BLE001, its message is tested
            return {"status": getattr(error, "exit_code", None), "message": str(error)}
    return {}


def _nested(params: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in params.items():
        group, _, key = name.partition(".")
        nested.setdefault(group, {})[key] = value
        if not key:
            nested[group] = value
    return nested


def stored() -> dict[str, Any]:
    """Read the tables and files that a run stored."""
    existing = {name: path for name, path in OUTPUTS.items() if Path(path).exists()}
    tables = {name: pd.read_parquet(path) for name, path in existing.items()}
    files = {name: Path("data/processed", name).read_text(encoding="utf-8") for name in FILES}
    return {"tables": tables, "files": files, "report": cleaning_report()}


def cleaning_report() -> dict[str, Any]:
    return json.loads(Path("data/interim/cleaning_report.json").read_text(encoding="utf-8"))


def spark_table(name: str) -> pd.DataFrame:
    return pd.read_parquet(f"data/interim/spark/{name}").set_index("line").sort_index()


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return the names of the tables and files that are not bit-identical."""
    names = [name for name in ours["files"] if ours["files"][name] != theirs["files"][name]]
    for name, table in theirs["tables"].items():
        if not ours["tables"][name].sort_index().equals(table.sort_index()):
            names.append(name)
    return names


def features_of_parts() -> pd.DataFrame:
    """Build features of series split by time into parts of about 300 rows and their history."""
    from temperature_anomalies import features
    from temperature_anomalies.parameters import FeatureParameters

    parameters = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=1)
    rows, days = features.look_back(parameters.seasonal_halflife_days)
    clean = spark_session().read.parquet("data/interim/spark/clean_temperatures")
    built = map_series(
        clean[~clean["repeated"]],
        partial(features.build_features, parameters=parameters),
        features.DESCRIPTION,
        History("timestamp", "sensor_id", days, rows),
        most_rows=300,
    )
    return in_memory(newest_rows(built, "timestamp", SHORT_HISTORY["training.window"])).sort_index()


def scores(folder: str) -> pd.DataFrame:
    """Read the scores of new rows, in the order of their files."""
    if any(Path(folder).glob("*.csv")):
        files = sorted(Path(folder).glob("*.csv"))
        dtype = {"sensor_id": str, "model_version": str}
        tables = [pd.read_csv(file, parse_dates=["timestamp"], dtype=dtype) for file in files]
        return pd.concat(tables, ignore_index=True)
    table = pd.read_parquet(folder).sort_values("line", ignore_index=True)
    return table.astype({"is_anomaly": "float64", "timestamp": "datetime64[ns]"})


def main() -> None:
    os.environ["SPARK_MASTER"] = "local-cluster[2,1,1024]"
    Path("operation/configuration/spark/mlops.yml").write_text(
        json.dumps({"spark": {"settings": SETTINGS | {"spark.executor.extraJavaOptions": JAVA}}})
    )
    bootstrap_project(Path.cwd())
    raw = Path("data/raw/temperatures.csv")
    rows = real_rows(raw)
    write(raw, rows)
    results: dict[str, Any] = {"errors": [run("spark")]}
    spark = stored()
    results["errors"].append(run(None))
    pandas = stored()
    for name, entry in ON_SPARK.items():
        table = spark_table(entry)
        spark["tables"][name] = table[[*pandas["tables"][name].columns]].astype(
            {"timestamp": pandas["tables"][name]["timestamp"].dtype}
        )
    results["rows"] = len(pandas["tables"]["features"])
    results["differ"] = difference(spark, pandas)
    results["reports"] = [spark["report"], pandas["report"]]
    results["split_is_equal"] = features_of_parts().equals(
        pandas["tables"]["features"].sort_index().astype({"timestamp": "datetime64[ns]"})
    )
    results["errors"].append(run("spark", to_nodes=["clean"]))  # replaces the stored table
    results["left"] = sorted(path.name for path in Path("data/interim/spark").iterdir())

    half = len(rows) // 2
    for number, part in enumerate((rows[1:half], rows[half:])):
        write(HALVES / f"{number}.csv", [rows[0], *part])
    for env, folder in (("spark", "on_spark"), (None, "on_pandas")):
        names = {"score.input": str(HALVES), "score.output": folder, "score.model": "trained"}
        results["errors"].append(run(env, "score", params=names))
    ours, theirs = scores("on_spark"), scores("on_pandas")
    results["scored"] = len(ours)
    results["lines"] = [int(ours["line"].iloc[0]), int(ours["line"].iloc[-1])]
    results["scores_differ"] = [n for n in theirs if not ours[n].equals(theirs[n])]

    only = {"to_nodes": ["clean"]}
    before = cleaning_report()
    rows[8][2] = "warm"
    bad = {"raw_file": write(Path("bad.csv"), rows)}
    results["bad"] = [run(env, params=bad, **only) for env in ("spark", None)]
    strict = {"cleaning.max_error_codes": 1e-6}
    results["strict"] = [run(env, params=strict, **only) for env in ("spark", None)]
    missing = {"raw_file": "nowhere.csv"}
    results["missing"] = [run(env, params=missing, **only) for env in ("spark", None)]
    results["kept"] = cleaning_report() == before and len(spark_table("clean_temperatures")) == len(
        pandas["tables"]["clean"]
    )
    print(json.dumps(results))


if __name__ == "__main__":
    sys.path.append("src")
    main()
