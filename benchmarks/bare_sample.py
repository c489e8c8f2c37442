"""The sample pipeline as a bare script, without Kedro, MLflow, validation or tracking.

    cd RENDERED_PROJECT && .venv/bin/python TEMPLATE/benchmarks/bare_sample.py

The yardstick of ``first_run.py``: it reads, cleans, describes, splits, trains, scores, measures,
draws and stores the same things as ``kedro run``, using the package's functions that need no
framework.
"""

import json
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd
import yaml

from kedro_azure_mlops import plots

READING = ["timestamp", "sensor_id", "temperature"]


def import_package(source: Path) -> str:
    """Make the project's package importable, except the parts of its pipelines that need Kedro."""
    (package,) = (path.parent.name for path in source.glob("*/settings.py"))
    sys.path.insert(0, str(source))
    for name in ("pipelines", *(f"pipelines.{path.name}" for path in pipelines(source / package))):
        module = ModuleType(f"{package}.{name}")
        module.__path__ = [str(source / package / name.replace(".", "/"))]
        sys.modules[module.__name__] = module
    return package


def pipelines(package: Path) -> list[Path]:
    """Return the folders of the pipelines."""
    return [path.parent for path in package.glob("pipelines/*/nodes.py")]


def import_from(package: str, name: str) -> ModuleType:
    """Import a module of the package."""
    return import_module(f"{package}.{name}")


def main() -> None:
    """Run the pipeline in the current folder and store the results in ``build/bare``."""
    out = Path("build/bare")
    out.mkdir(parents=True, exist_ok=True)
    package = import_package(Path("src").resolve())
    load = partial(import_from, package)
    settings = yaml.safe_load(Path("operation/configuration/base/parameters.yml").read_text())
    types = load("parameters")
    feature_parameters = types.FeatureParameters(**settings["features"])
    p = types.DetectorParameters(**settings["detector"])

    raw = pd.read_csv(settings["raw_file"], dtype={"sensor_id": str})
    labels = pd.read_csv(settings["labels_file"], parse_dates=["start", "end"])
    labels["sensor_id"] = labels["sensor_id"].astype(str)
    raw["timestamp"] = pd.to_datetime(raw["timestamp"], format="ISO8601")
    clean = raw[READING].sort_values(["sensor_id", "timestamp"], kind="stable")
    clean["repeated"] = clean.duplicated(READING)
    clean = clean.rename_axis("line")

    nodes = load("pipelines.data_engineering.nodes")
    training = types.TrainingParameters(**settings["training"])
    features = nodes.engineer_features(clean, feature_parameters, training)
    train, test = nodes.split_by_time(clean, features, training)
    nodes = load("pipelines.data_science.nodes")
    limits = types.ValidationParameters(**settings["validation"])
    detector = nodes.train_detector(train, labels, p, feature_parameters, limits)
    scores, held_out = nodes.score_readings(clean, features, test, detector, p)

    evaluation = load("evaluation")
    scored = {
        "challenger": held_out,
        "challenger_refitted": scores[scores["timestamp"] >= test["timestamp"].min()],
        **evaluation.baseline_scores(train, test, p.contamination, p.seed),
    }
    hold = pd.Timedelta(settings["evaluation"]["alarm_hold"])
    events = evaluation.Events(labels)
    comparison = {name: events.metrics(rows, hold) for name, rows in scored.items()}
    kept = events.leave_out(features)
    judged = held_out["judged"].reindex(kept.index).to_numpy()
    refitted = load("training").refit_on_all(kept, judged, detector, p)

    split, unit = test["timestamp"].min(), settings["unit"]
    timeline = plots.plot_series(scores, events, "temperature", split=split, unit=unit)
    timeline.savefig(out / "timeline.png")
    score, faults = held_out["score"].to_numpy(), events.contain(held_out)
    plots.plot_score_histogram(score, faults).savefig(out / "histogram.png")
    plots.plot_precision_recall(score, faults).savefig(out / "precision_recall.png")
    tables = {"clean": clean, "features": features, "train": train, "test": test}
    for name, table in tables.items():
        table.to_parquet(out / f"{name}.parquet")
    scores.to_csv(out / "scores.csv", index=False)
    (out / "comparison.json").write_text(json.dumps(comparison, indent=2))
    import_module("skops.io").dump(refitted.estimator, out / "model.skops")
    print(pd.DataFrame.from_dict(comparison, orient="index").round(3).to_string())


if __name__ == "__main__":
    main()
