"""Put readings in order, count what real loggers do, refuse a file with too much of it."""

from typing import Any

import numpy as np
import pandas as pd
from kedro_azure_mlops.error_codes import find_error_codes, list_error_codes
from kedro_azure_mlops.tables.steps import Steps, find_steps
from kedro_azure_mlops.validation import (
    BadDataError,
    fingerprint,
    first_rows,
    parse_numbers,
    parse_times,
)

from ...features import READING
from ...parameters import CleaningParameters

_COUNTED = ("repeated", "sent_twice", "unordered", "jittered", "error_codes")
_TOO_MUCH = {
    "repeated": "of the readings repeat a time of their sensor",
    "unordered": "of the readings are older than the one before",
    "jittered": "of the steps differ from the usual one by more than half of it",
    "in_gaps": "of the time lies in gaps",
    "error_codes": "of the readings are error codes: one value far outside that comes and goes",
}


def clean(raw: pd.DataFrame, parameters: CleaningParameters) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Order readings by sensor and time and mark the ones that were sent twice.

    * No reading is dropped: the index is the line of the input file.
    * Readings with a time that was there before stay in the order of the file; only one that
      repeats sensor, time and value is marked ``repeated``, and later gets the score of its twin.
    * Times with an offset become UTC; times without are taken as they are.
    * Gaps and jitter are counted; the features that follow know how to live with them.
    * Error codes that look like readings are counted and listed; training leaves them out.

    Parameters
    ----------
    raw
        Validated ``timestamp``, ``sensor_id`` (text) and ``temperature``, any order.

    Returns
    -------
    ``timestamp, sensor_id, temperature, repeated`` and the counts, for the log and the report.

    Raises
    ------
    BadDataError
        If a share is above its maximum in ``cleaning``, with the first rows concerned.
    """
    source = raw.attrs.get("source", "the data")
    readings, sensors = _parse(raw)
    steps = find_steps(sensors, readings["timestamp"].to_numpy())
    found = _find(readings, sensors, steps, parameters.gap_steps)
    shares = _shares(found)
    for name, share in shares.items():
        maximum = getattr(parameters, f"max_{name}")
        if share > maximum:
            raise BadDataError(
                f"{source}: {share:.1%} {_TOO_MUCH[name]}, more than cleaning.max_{name} = "
                f"{maximum:.1%}.\n\nThe first offending rows:\n{first_rows(readings[found[name]])}"
            )
    codes = list_error_codes(readings[found["error_codes"]], "temperature", "sensor_id")
    report = {"source": source, "notes": raw.attrs.get("notes", []), "found_codes": codes}
    report |= _counts(readings, sensors, found)
    report["share_in_gaps"] = round(shares["in_gaps"], 4)
    report["fingerprint"] = fingerprint(readings[READING])
    return readings.assign(repeated=found["sent_twice"]).iloc[steps.order], report


def _parse(raw: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Read times and numbers; also the number of each sensor in the order of their names."""
    places, sensors = pd.factorize(raw["sensor_id"])
    names = np.array([str(name).strip() for name in [*sensors, np.nan]], object)
    columns = {
        "timestamp": parse_times(raw["timestamp"]),
        "sensor_id": names[places],
        "temperature": parse_numbers(raw["temperature"]),
    }
    return pd.DataFrame(columns).rename_axis("line"), pd.factorize(names, sort=True)[0][places]


def _find(
    readings: pd.DataFrame, sensors: np.ndarray, steps: Steps, gap_steps: float
) -> pd.DataFrame:
    """Mark what is unusual about each reading; ``step`` is the seconds since the one before."""
    order, step, usual = steps.order, steps.seconds, steps.usual
    gap = step > gap_steps * usual
    codes, sent_twice = np.zeros(len(readings), bool), steps.is_twin.copy()
    codes[order] = find_error_codes(readings["temperature"].to_numpy()[order], sensors[order])
    sent_twice[sent_twice] = readings[sent_twice].duplicated(READING)
    return pd.DataFrame(
        {
            "repeated": step == 0,
            "sent_twice": sent_twice,
            "unordered": steps.is_older,
            "jittered": (step > 0) & ~gap & (np.abs(step - usual) > 0.5 * usual),
            "in_gaps": gap,
            "error_codes": codes,
            "step": step,
        },
        index=readings.index,
    )


def _shares(found: pd.DataFrame) -> dict[str, float]:
    """Give the share of readings, and of the time for gaps."""
    of_readings = found[["repeated", "unordered", "jittered", "error_codes"]].mean().to_dict()
    time = found["step"].sum()
    return of_readings | {"in_gaps": found.loc[found["in_gaps"], "step"].sum() / max(time, 1e-9)}


def _counts(readings: pd.DataFrame, sensors: np.ndarray, found: pd.DataFrame) -> dict[str, Any]:
    gaps = found.loc[found["in_gaps"], "step"]
    return {
        "rows": len(readings),
        "sensors": len(np.unique(sensors)),
        "first": str(readings["timestamp"].min()),
        "last": str(readings["timestamp"].max()),
        **{name: int(found[name].sum()) for name in _COUNTED},
        "gaps": len(gaps),
        "longest_gap_hours": round(float(gaps.max()) / 3600, 2) if len(gaps) else 0.0,
    }
