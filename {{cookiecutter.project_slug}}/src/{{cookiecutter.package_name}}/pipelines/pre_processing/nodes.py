"""Put readings in order, count what real loggers do, refuse a file with too much of it."""

import hashlib
from typing import Any

import pandas as pd
from kedro_azure_mlops.error_codes import find_error_codes, list_error_codes
from kedro_azure_mlops.validation import BadDataError, first_rows, parse_numbers, parse_times

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
    readings = _parse(raw)
    in_order = readings.sort_values(["sensor_id", "timestamp"], kind="stable")
    found = _find(readings, in_order, parameters.gap_steps)
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
    report |= _counts(readings, found)
    report |= {"share_in_gaps": round(shares["in_gaps"], 4), "fingerprint": fingerprint(readings)}
    return in_order.assign(repeated=found["sent_twice"]), report


def fingerprint(readings: pd.DataFrame) -> str:
    """Compute a SHA-256 of the readings in the order of the file, whatever the file's format."""
    rows = pd.util.hash_pandas_object(readings[READING], index=False)
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


def _parse(raw: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "timestamp": parse_times(raw["timestamp"]),
            "sensor_id": raw["sensor_id"].astype(str).str.strip(),
            "temperature": parse_numbers(raw["temperature"]),
        }
    ).rename_axis("line")


def _find(readings: pd.DataFrame, in_order: pd.DataFrame, gap_steps: float) -> pd.DataFrame:
    """Mark what is unusual about each reading; ``step`` is the seconds since the one before."""
    step = in_order.groupby("sensor_id")["timestamp"].diff().dt.total_seconds()
    usual = step.where(step > 0).groupby(in_order["sensor_id"]).transform("median")
    gap = step > gap_steps * usual
    codes = find_error_codes(in_order["temperature"], in_order["sensor_id"])
    return pd.DataFrame(
        {
            "repeated": readings.duplicated(["sensor_id", "timestamp"]),
            "sent_twice": readings.duplicated(READING),
            "unordered": _unordered(readings),
            "jittered": (step > 0) & ~gap & ((step - usual).abs() > 0.5 * usual),
            "in_gaps": gap,
            "error_codes": pd.Series(codes, in_order.index),
            "step": step,
        }
    )


def _unordered(readings: pd.DataFrame) -> pd.Series:
    """Mark readings older than the one before; a file with the newest first is in order too."""
    step = readings.groupby("sensor_id")["timestamp"].diff().dt.total_seconds()
    oldest_first, newest_first = step < 0, step > 0
    return oldest_first if oldest_first.sum() <= newest_first.sum() else newest_first


def _shares(found: pd.DataFrame) -> dict[str, float]:
    """Give the share of readings, and of the time for gaps."""
    of_readings = found[["repeated", "unordered", "jittered", "error_codes"]].mean().to_dict()
    time = found["step"].sum()
    return of_readings | {"in_gaps": found.loc[found["in_gaps"], "step"].sum() / max(time, 1e-9)}


def _counts(readings: pd.DataFrame, found: pd.DataFrame) -> dict[str, Any]:
    gaps = found.loc[found["in_gaps"], "step"]
    return {
        "rows": len(readings),
        "sensors": int(readings["sensor_id"].nunique()),
        "first": str(readings["timestamp"].min()),
        "last": str(readings["timestamp"].max()),
        **{name: int(found[name].sum()) for name in _COUNTED},
        "gaps": len(gaps),
        "longest_gap_hours": round(float(gaps.max()) / 3600, 2) if len(gaps) else 0.0,
    }
