"""Comparisons as metrics for tracking and as a table for people."""

import numpy as np
import pandas as pd

from kedro_azure_mlops.reporting import collect_metrics, format_table

COMPARISON = pd.DataFrame(
    {"recall": [0.5, 0.25, np.nan], "far_off": [np.inf, 2.0, 3.0]},
    index=["challenger", "champion", "no_method"],
)


def slices(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"recall": 0.75}, index=[*names])


def test_all_metrics_but_the_challengers_have_the_row_name_as_a_prefix() -> None:
    assert collect_metrics(COMPARISON, slices()) == {
        "recall": 0.5,
        "champion.recall": 0.25,
        "champion.far_off": 2.0,
        "no_method.far_off": 3.0,
    }


def test_a_few_slices_are_tracked_if_mlflow_accepts_their_names() -> None:
    metrics = collect_metrics(COMPARISON, slices("room 1", "a#b", "è"))
    assert {name for name in metrics if name.startswith("slice.")} == {
        "slice.room 1.recall",
        "slice.è.recall",
    }
    many = slices(*(f"s{number}" for number in range(21)))
    assert collect_metrics(COMPARISON, many) == collect_metrics(COMPARISON, slices())
    assert "slice.s19.recall" in collect_metrics(COMPARISON, many[:20])


def test_a_table_has_the_existing_columns_with_their_labels() -> None:
    text = format_table(COMPARISON, {"far_off": "far off", "missing": "x", "recall": "share found"})
    assert [line.split() for line in text.splitlines()] == [
        ["far", "off", "share", "found"],
        ["challenger", "inf", "0.500"],
        ["champion", "2.000", "0.250"],
        ["no", "method", "3.000", "-"],
    ]
