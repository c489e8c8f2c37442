"""Causal features of temperature series: the one function that training and serving share."""

import numpy as np
import pandas as pd

from .parameters import FeatureParameters

FEATURES = ["value", "diff", "mean_6h", "mean_1d", "log_std_1h", "seasonal", "seasonal_6h"]

_MIN_ROWS = 6  # a window holds at least this many rows, however slowly the sensor is read


def build_features(clean: pd.DataFrame, parameters: FeatureParameters) -> pd.DataFrame:
    """Describe every reading by itself and by what its sensor did before it.

    Parameters
    ----------
    clean
        Columns ``timestamp``, ``sensor_id``, ``temperature`` (degrees, any unit), ordered by
        sensor and then by time.

    Returns
    -------
    The same rows and index with the columns of ``FEATURES`` added, in the unit of the
    temperature except for ``log_std_1h`` (natural logarithm of that unit). A row depends on
    itself and on earlier rows of its own sensor, never on later ones.
    """
    by_sensor = [
        _sensor_features(series, parameters) for _, series in clean.groupby("sensor_id", sort=False)
    ]
    features = pd.concat(by_sensor) if by_sensor else pd.DataFrame(columns=FEATURES, dtype=float)
    return clean.join(features)


def _sensor_features(series: pd.DataFrame, parameters: FeatureParameters) -> pd.DataFrame:
    value = pd.Series(
        series["temperature"].to_numpy(float), index=pd.DatetimeIndex(series["timestamp"])
    )
    seasonal = value - _usual_at_this_time_of_day(value, parameters.seasonal_halflife_days)
    seasonal = seasonal.fillna(0.0)
    spread = _window(value, "1h", "std").fillna(1.0)  # one row has none: neither stuck nor noisy
    log_std = np.log(spread + parameters.std_floor)
    columns = {
        "value": value,
        "diff": value.diff().mask(_after_gap(value.index, parameters.gap_steps), 0.0).fillna(0.0),
        "mean_6h": _window(value, "6h", "mean"),
        "mean_1d": _window(value, "1D", "mean"),
        "log_std_1h": log_std,
        "seasonal": seasonal,
        "seasonal_6h": _window(seasonal, "6h", "mean"),
    }
    return pd.DataFrame({name: column.to_numpy() for name, column in columns.items()}, series.index)


def _window(series: pd.Series, span: str, statistic: str) -> pd.Series:
    """Apply a statistic to the last ``span`` of time, or the last six rows where it holds fewer."""
    by_time = series.rolling(span)
    by_rows = series.rolling(_MIN_ROWS, min_periods=1)
    enough = by_time.count() >= _MIN_ROWS
    return getattr(by_time, statistic)().where(enough, getattr(by_rows, statistic)())


def _after_gap(timestamps: pd.DatetimeIndex, gap_steps: float) -> np.ndarray:
    """Mark rows that follow a hole of more than ``gap_steps`` usual sampling steps."""
    step = timestamps.to_series().diff().dt.total_seconds()
    usual = step.where(step > 0).rolling(25, min_periods=1).median().shift(1)
    return (step > gap_steps * usual).to_numpy()


def _usual_at_this_time_of_day(value: pd.Series, halflife_days: float) -> pd.Series:
    """Average what this half hour was on earlier days, recent days weighing more."""
    day = value.index.normalize()
    half_hour = ((value.index - day) // pd.Timedelta("30min")).astype(int)
    daily = value.groupby([half_hour, day]).mean()
    by_half_hour = daily.groupby(level=0)
    smooth = by_half_hour.ewm(halflife=halflife_days).mean().droplevel(0)
    usual = smooth.groupby(level=0).shift(1)
    keys = pd.MultiIndex.from_arrays([half_hour, day])
    return pd.Series(usual.reindex(keys).to_numpy(), value.index)
