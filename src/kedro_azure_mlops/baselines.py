"""One-line baselines that a model of unusual rows has to beat."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

__all__ = ["BASELINES", "score_baselines"]

BASELINES = ("distance_from_median", "ewma_level", "random")

_HALFLIFE = "6h"
_SMALLEST = 1e-3, 1e-9  # spread and threshold, to divide by them safely


def score_baselines(
    train: pd.DataFrame,
    test: pd.DataFrame,
    columns: Sequence[str],
    contamination: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Score held-out rows of series by one-line baselines, each with its own threshold.

    ``distance_from_median`` is the distance of a value from the median of its series in training,
    in interquartile ranges; ``ewma_level`` is the same for the exponentially weighted average with
    a half-life of six hours; ``random`` is pure chance.

    Parameters
    ----------
    columns
        The time, the name of the series and the value, in any unit.
    contamination
        The share of training rows above the threshold.
    seed
        The seed of the random scores.

    Returns
    -------
    Scores of the rows of ``test`` by the names of ``BASELINES``, shape ``(n,)``: above 1 exceeds
    the threshold; 0 if the series is unknown.
    """
    time, by, value = columns
    both = pd.concat([train[[*columns]], test[[*columns]]])
    both[by] = pd.factorize(both[by])[0]  # grouping by number is faster than by name
    level = _distance_from_median(both, both[: len(train)], by, value)
    scores = {
        "distance_from_median": np.abs(level),
        "ewma_level": np.abs(_ewma(both.assign(level=level), time, by)),
        "random": np.random.default_rng(seed).random(len(both)),
    }
    return {
        name: _against_own_threshold(np.nan_to_num(score), len(train), contamination)
        for name, score in scores.items()
    }


def _against_own_threshold(score: np.ndarray, n_train: int, contamination: float) -> np.ndarray:
    threshold = float(np.quantile(score[:n_train], 1 - contamination))
    return score[n_train:] / max(threshold, _SMALLEST[1])


def _distance_from_median(
    rows: pd.DataFrame, train: pd.DataFrame, by: str, value: str
) -> np.ndarray:
    by_series = train.groupby(by)[value]
    spread = (by_series.quantile(0.75) - by_series.quantile(0.25)).clip(lower=_SMALLEST[0])
    distance = rows[value] - rows[by].map(by_series.median())
    return (distance / rows[by].map(spread)).to_numpy()


def _ewma(rows: pd.DataFrame, time: str, by: str) -> np.ndarray:
    ordered = rows.reset_index(drop=True).sort_values([by, time], kind="stable")
    averages = ordered.groupby(by)["level"].ewm(halflife=_HALFLIFE, times=ordered[time]).mean()
    return averages.droplevel(0).sort_index().to_numpy()
