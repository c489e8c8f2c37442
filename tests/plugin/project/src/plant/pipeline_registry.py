from kedro.pipeline import Node, Pipeline

from .nodes import clean, compare, decide, fit, predict, report, score_new, split, summarise


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines: prepare, train, evaluate, and score on demand."""
    prepare = Pipeline(
        [
            Node(clean, "raw_hours", ["clean_hours", "cleaning_report"], name="clean"),
            Node(split, ["clean_hours", "params:train_fraction"], ["train", "test"], name="split"),
        ],
        tags="prepare",
    )
    train = Pipeline(
        [
            Node(fit, ["train", "params:model"], "model", name="fit"),
            Node(predict, ["model", "test"], "predictions", name="predict"),
        ],
        tags="train",
    )
    evaluate = Pipeline(
        [
            Node(
                compare,
                ["model", "champion", "train", "test"],
                ["comparison", "compared"],
                name="compare",
            ),
            Node(summarise, "comparison", "metrics", name="summarise"),
            Node(decide, ["comparison", "compared", "params:gate"], "gate", name="decide"),
            Node(report, ["cleaning_report", "metrics", "gate"], "summary", name="report"),
        ],
        tags="evaluate",
    )
    score = Pipeline([Node(score_new, ["champion", "new_hours"], "new_scores", name="score_new")])
    return {
        "prepare": prepare,
        "train": train,
        "evaluate": evaluate,
        "score": score,
        "__default__": prepare + train + evaluate,
    }
