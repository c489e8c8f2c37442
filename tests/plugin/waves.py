"""Series for tests of monitoring: a daily wave, quieter weekends, autocorrelated noise."""

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import Column, History, Schema

START, DAY = pd.Timestamp("2024-01-01"), pd.Timedelta("1D")
KEYS = ("attic", "cellar", "hall", "yard")
SCHEMA = Schema(
    inputs=(
        Column("time", "datetime"),
        Column("key", "string"),
        Column("value", "double", minimum=-200, maximum=400),
    ),
    outputs=(Column("score", "double", nullable=True), Column("is_odd", "boolean", nullable=True)),
    history=History(order="time", by="key"),
    flag="is_odd",
)


def waves(
    days: int, seed: int = 0, keys: tuple[str, ...] = KEYS, step: str = "30min"
) -> pd.DataFrame:
    """Return rows of ``SCHEMA``, ordered by time, with key levels 20 apart."""
    random = np.random.default_rng(seed)
    time = pd.date_range(START, periods=int(days * DAY / pd.Timedelta(step)), freq=step)
    hour = (time.hour + time.minute / 60).to_numpy()
    by_day = np.where(time.dayofweek >= 5, 0.6, 1.0)
    noise = random.normal(size=(len(time), len(keys)))
    for row in range(1, len(noise)):
        noise[row] = 0.5 * noise[row - 1] + np.sqrt(0.75) * noise[row]
    parts = []
    for number, key in enumerate(keys):
        wave = by_day * np.sin(2 * np.pi * (hour - 3 * number) / 24)
        values = 20 * (number + 1) + 2 * wave + noise[:, number]
        score = np.abs(noise[:, number]) / 4
        columns = {"time": time, "key": key, "value": values.round(2), "score": score.round(4)}
        parts.append(pd.DataFrame(columns | {"is_odd": score > 1}))
    return pd.concat(parts).sort_values("time", kind="stable", ignore_index=True)
