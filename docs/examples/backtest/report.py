"""Report the backtest as text, with the schedule that the numbers support."""

import pandas as pd

from kedro_azure_mlops.baselines import BASELINES

from ...evaluation import Events
from .nodes import BacktestParameters

_COLUMNS = {
    "refits": "refits",
    "roc_auc": "ROC AUC",
    "average_precision": "avg precision",
    "event_recall": "event recall",
    "false_alarms_per_week": "false alarms/wk",
    "alarms_per_week": "alarms/wk",
    "share_flagged": "flagged",
}
_METRIC = "average_precision"


def write_backtest_report(
    backtest: pd.DataFrame,
    scores: pd.DataFrame,
    labels: pd.DataFrame,
    parameters: BacktestParameters,
) -> str:
    """Return the table and the advice as plain text."""
    rows = scores[scores["detector"] == backtest.index[0]]
    faults = len(Events(labels).touching(rows).windows)
    return "\n".join(
        [
            f"Backtest: {len(rows):,} readings of {rows['sensor_id'].nunique()} sensor(s), "
            f"{rows['timestamp'].min()} to {rows['timestamp'].max()}, {faults} labelled faults.",
            "Each was scored from earlier readings only; rows flagged earlier were left out of "
            "the refits.",
            "",
            _table(backtest),
            "",
            *_name_unused_schedules(backtest),
            advise(backtest, faults, parameters.worthwhile),
            "",
        ]
    )


def advise(backtest: pd.DataFrame, faults: int, worthwhile: float) -> str:
    """Name the least frequent schedule that is nearly as good as the best, in one sentence.

    Parameters
    ----------
    backtest
        One row per detector, the schedules from the least to the most frequent refits.
    faults
        Number of labelled faults that the numbers are based on.
    worthwhile
        A difference of average precision below this is no reason to retrain more often.
    """
    if _METRIC not in backtest.columns:
        return (
            "Advice: none. No labelled fault is in these readings, so the schedules cannot be "
            "ranked; the table shows how many alarms each would have raised."
        )
    schedules = backtest[~backtest.index.isin(BASELINES)]
    best = schedules[_METRIC].max()
    chosen = schedules.index[schedules[_METRIC] >= best - worthwhile][0]
    rarest = schedules.index[0]
    if chosen == rarest:
        return (
            f"Advice: no difference worth retraining for. {_precision(schedules, rarest)}, at best "
            f"{best:.3f} with another schedule ({worthwhile:g} more would be worth it; "
            f"{faults} faults)." + _beaten_by(backtest, chosen)
        )
    gain = schedules.loc[chosen, _METRIC] - schedules.loc[rarest, _METRIC]
    alarms = schedules["false_alarms_per_week"]
    return (
        f"Advice: retrain {_readable(chosen)}. {_precision(schedules, chosen)}, {gain:+.3f} "
        f"against {_readable(rarest)}; false alarms {alarms[chosen]:.2f} against "
        f"{alarms[rarest]:.2f} per sensor and week ({faults} faults)."
        + _beaten_by(backtest, chosen)
    )


def _precision(schedules: pd.DataFrame, name: str) -> str:
    return f"Refitted {_readable(name)}, average precision is {schedules.loc[name, _METRIC]:.3f}"


def _beaten_by(backtest: pd.DataFrame, chosen: str) -> str:
    """Return a sentence about a baseline that does as well, which makes no schedule worth it."""
    ours = backtest.loc[chosen, _METRIC]
    others = backtest.loc[backtest.index.isin(BASELINES), _METRIC]
    if others.empty or others.max() < ours:
        return ""
    return f" But {_readable(others.idxmax())}, a baseline, has {others.max():.3f}."


def _name_unused_schedules(backtest: pd.DataFrame) -> list[str]:
    """Return a note for each schedule whose interval is longer than the history."""
    unused = [name for name in backtest.index if backtest.loc[name, "refits"] == 0]
    return [
        f"Note: the time after the start is too short for a refit {_readable(name)}."
        for name in unused
        if name != "never"
    ]


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _table(backtest: pd.DataFrame) -> str:
    shown = backtest[[name for name in _COLUMNS if name in backtest.columns]]
    refits = shown["refits"].map(lambda count: "-" if pd.isna(count) else f"{count:.0f}")
    shown = shown.assign(refits=refits).rename(index=_label, columns=_COLUMNS)
    return shown.rename_axis(None).to_string(float_format=lambda value: f"{value:.3f}", na_rep="-")


def _label(name: str) -> str:
    return _readable(name) if name in BASELINES else f"refit {_readable(name)}"
