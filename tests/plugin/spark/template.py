"""Run the template's sample on Spark and on pandas; prints what the runs found as JSON.

Run in a process of its own, in a rendered project: Spark is a cluster of two executors here, each
with a Java of its own, which the settings of Kedro and the project's package have to reach.
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
QUIET = {
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
    """Take the first days, with what loggers do: twins, a late row, an error code, offsets."""
    header, *found = csv.reader(file.open(encoding="utf-8"))
    rows = [header, *found[: DAYS * 96 * 4]]
    rows.insert(2000, rows[1999])
    rows[3000], rows[3020] = rows[3020], rows[3000]
    for number in (1201, 1401, 1601, 1801):  # of one series
        rows[number][2] = "199.9"
    return rows


def write(file: Path, rows: list[list[str]]) -> str:
    file.parent.mkdir(exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)
    return str(file)


def run(env: str | None, *pipelines: str, **options: Any) -> dict[str, Any]:
    """Run pipelines as ``kedro run`` does; return what an error says."""
    params = QUIET | options.pop("params", {})
    with KedroSession.create(Path.cwd(), env=env, runtime_params=_nested(params)) as session:
        try:
            session.run(pipeline_names=[*pipelines] or None, **options)
        except Exception as error:  # noqa: BLE001, what it says is what is tested
            return {"status": getattr(error, "exit_code", None), "says": str(error)}
    return {}


def _nested(params: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in params.items():
        group, _, key = name.partition(".")
        found.setdefault(group, {})[key] = value
        if not key:
            found[group] = value
    return found


def stored() -> dict[str, Any]:
    """Read what a run has stored."""
    there = {name: place for name, place in OUTPUTS.items() if Path(place).exists()}
    tables = {name: pd.read_parquet(place) for name, place in there.items()}
    files = {name: Path("data/processed", name).read_text(encoding="utf-8") for name in FILES}
    return {"tables": tables, "files": files, "report": cleaned()}


def cleaned() -> dict[str, Any]:
    return json.loads(Path("data/interim/cleaning_report.json").read_text(encoding="utf-8"))


def table_of_spark(name: str) -> pd.DataFrame:
    return pd.read_parquet(f"data/interim/spark/{name}").set_index("line").sort_index()


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Name the tables and files that differ in a bit."""
    found = [name for name in ours["files"] if ours["files"][name] != theirs["files"][name]]
    for name, table in theirs["tables"].items():
        if not ours["tables"][name].sort_index().equals(table.sort_index()):
            found.append(name)
    return found


def features_of_parts() -> pd.DataFrame:
    """Describe series that are split by time into parts of some 300 rows, each with its history."""
    from temperature_anomalies import features
    from temperature_anomalies.parameters import FeatureParameters

    given = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=1)
    rows, days = features.look_back(given.seasonal_halflife_days)
    clean = spark_session().read.parquet("data/interim/spark/clean_temperatures")
    found = map_series(
        clean[~clean["repeated"]],
        partial(features.build_features, parameters=given),
        features.DESCRIPTION,
        History("timestamp", "sensor_id", days, rows),
        most_rows=300,
    )
    return in_memory(newest_rows(found, "timestamp", QUIET["training.window"])).sort_index()


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
    found: dict[str, Any] = {"errors": [run("spark")]}
    spark = stored()
    found["errors"].append(run(None))
    pandas = stored()
    for name, entry in ON_SPARK.items():
        table = table_of_spark(entry)
        spark["tables"][name] = table[[*pandas["tables"][name].columns]].astype(
            {"timestamp": pandas["tables"][name]["timestamp"].dtype}
        )
    found["rows"] = len(pandas["tables"]["features"])
    found["differ"] = difference(spark, pandas)
    found["reports"] = [spark["report"], pandas["report"]]
    found["split_is_equal"] = features_of_parts().equals(
        pandas["tables"]["features"].sort_index().astype({"timestamp": "datetime64[ns]"})
    )
    found["errors"].append(run("spark", to_nodes=["clean"]))  # what was there is replaced
    found["left"] = sorted(path.name for path in Path("data/interim/spark").iterdir())

    half = len(rows) // 2
    for number, part in enumerate((rows[1:half], rows[half:])):
        write(HALVES / f"{number}.csv", [rows[0], *part])
    for env, folder in (("spark", "on_spark"), (None, "on_pandas")):
        names = {"score.input": str(HALVES), "score.output": folder, "score.model": "trained"}
        found["errors"].append(run(env, "score", params=names))
    ours, theirs = scores("on_spark"), scores("on_pandas")
    found["scored"] = len(ours)
    found["lines"] = [int(ours["line"].iloc[0]), int(ours["line"].iloc[-1])]
    found["scores_differ"] = [n for n in theirs if not ours[n].equals(theirs[n])]

    only = {"to_nodes": ["clean"]}
    before = cleaned()
    rows[8][2] = "warm"
    bad = {"raw_file": write(Path("bad.csv"), rows)}
    found["bad"] = [run(env, params=bad, **only) for env in ("spark", None)]
    strict = {"cleaning.max_error_codes": 1e-6}
    found["strict"] = [run(env, params=strict, **only) for env in ("spark", None)]
    missing = {"raw_file": "nowhere.csv"}
    found["missing"] = [run(env, params=missing, **only) for env in ("spark", None)]
    found["kept"] = cleaned() == before and len(table_of_spark("clean_temperatures")) == len(
        pandas["tables"]["clean"]
    )
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.append("src")
    main()
