"""Order the rows of series, count the faults of loggers, refuse a table with too many of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from kedro_azure_mlops.engine import Table, is_on_spark
from kedro_azure_mlops.error_codes import find_error_codes, list_error_codes
from kedro_azure_mlops.parameters import Parameters, Share
from kedro_azure_mlops.tables.steps import Steps, find_steps
from kedro_azure_mlops.validation import (
    BadDataError,
    fingerprint,
    first_rows,
    parse_numbers,
    parse_times,
)

__all__ = ["CleaningParameters", "clean_series", "list_findings"]

COUNTED = {
    "repeated": "repeated times",
    "sent_twice": "of them sent twice",
    "unordered": "out of order",
    "jittered": "jittered steps",
    "error_codes": "error codes",
}
_TOO_MUCH = {
    "repeated": "of the {rows} repeat a time of their {series}",
    "unordered": "of the {rows} are older than the one before",
    "jittered": "of the steps differ from the usual one by more than half of it",
    "error_codes": "of the {rows} are error codes: one recurring value far outside the others",
    "in_gaps": "of the time is in gaps",
}


class CleaningParameters(Parameters):
    """Shares of rows above which a file is refused instead of repaired.

    A step longer than ``gap_steps`` usual steps is a gap.
    """

    max_repeated: Share
    max_unordered: Share
    max_in_gaps: Share
    max_jittered: Share
    max_error_codes: Share = 0.05
    gap_steps: float = Field(gt=1)


def clean_series(
    raw: Table,
    columns: Sequence[str],
    parameters: CleaningParameters,
    *,
    group: str = "cleaning",
    rows: str = "rows",
    series: str = "series",
) -> tuple[Table, dict[str, Any]]:
    """Order rows by series and time, mark those that were sent twice, and count faults.

    * No row is dropped: the index is the line of the input file.
    * Rows that repeat a time stay in the order of the file; only one that repeats all columns of
      another is marked ``repeated``.
    * Times with an offset become UTC; times without one are left unchanged.
    * Error codes that look like measurements are counted and listed, see ``find_error_codes``.

    Parameters
    ----------
    raw
        Validated rows, in any order; ``attrs["source"]`` and ``attrs["notes"]`` go to the report.
        A Spark table comes from ``SeriesOnSpark``.
    columns
        The time, the name of the series, then numbers in any unit: the first of these is searched
        for error codes.
    group
        The name of the parameters in messages.
    rows, series
        The names of rows and of one series in messages.

    Returns
    -------
    ``columns`` and ``repeated``, and the report: counts, ``share_in_gaps``, and the ``fingerprint``
    of the rows in the order of the file. For a Spark table, the line is a column, rows have no
    order, and the fingerprint differs.

    Raises
    ------
    BadDataError
        If a share is above its maximum; the message shows the first rows concerned.
    """
    if is_on_spark(raw):
        from kedro_azure_mlops.tables.on_spark import clean_on_spark

        return clean_on_spark(raw, columns, parameters, group=group, rows=rows, series=series)
    source = raw.attrs.get("source", "the data")
    read, numbers = parse(raw, columns)
    steps = find_steps(numbers, read[columns[0]].to_numpy())
    found = mark(read, columns, numbers, steps, parameters.gap_steps)
    count = _count(read[columns[0]], numbers, found)
    refuse_too_much(count, parameters, lambda name: read[found[name]], source, group, rows, series)
    codes = list_error_codes(read[found["error_codes"]], columns[2], columns[1])
    notes = raw.attrs.get("notes", [])
    report = report_of(count, source, notes, codes, fingerprint(read[[*columns]]))
    return read.assign(repeated=found["sent_twice"]).iloc[steps.order], report


def refuse_too_much(
    count: Mapping[str, Any],
    parameters: CleaningParameters,
    offending: Callable[[str], pd.DataFrame],
    source: str,
    group: str,
    rows: str,
    series: str,
) -> None:
    """Refuse a table with more faults than allowed.

    Parameters
    ----------
    count
        As for ``report_of``.
    offending
        Returns the rows with a fault, or at least the first ones, indexed by line.
    source
        The name of the table in messages.
    group, rows, series
        As for ``clean_series``.

    Raises
    ------
    BadDataError
        If there are more; the message shows the first rows concerned.
    """
    for name, fault in _TOO_MUCH.items():
        share = _share_in_gaps(count) if name == "in_gaps" else count[name] / count["rows"]
        maximum = getattr(parameters, f"max_{name}")
        if share > maximum:
            raise BadDataError(
                f"{source}: {share:.1%} {fault.format(rows=rows, series=series)}, more "
                f"than {group}.max_{name} = {maximum:.1%}.\n\n"
                f"The first offending rows:\n{first_rows(offending(name))}"
            )


def report_of(
    count: Mapping[str, Any],
    source: str,
    notes: Sequence[str],
    codes: Sequence[str],
    fingerprint: str,
) -> dict[str, Any]:
    """Build the report of ``clean_series``.

    Parameters
    ----------
    count
        The number of ``rows``, of ``series`` and, by name, of rows with each fault, including
        ``in_gaps``; the ``first`` and the ``last`` time; the ``seconds`` of all steps, the
        ``seconds_in_gaps``, and the ``longest_gap``.
    """
    return {
        "source": source,
        "notes": [*notes],
        "found_codes": [*codes],
        "rows": count["rows"],
        "series": count["series"],
        "first": str(pd.Timestamp(count["first"])),
        "last": str(pd.Timestamp(count["last"])),
        **{name: int(count[name]) for name in COUNTED},
        "gaps": int(count["in_gaps"]),
        "longest_gap_hours": round(float(count["longest_gap"]) / 3600, 2),
        "share_in_gaps": round(_share_in_gaps(count), 4),
        "fingerprint": fingerprint,
    }


def list_findings(report: Mapping[str, Any]) -> list[str]:
    """Return lines of text with the counts of ``clean_series`` and the notes of the reader."""
    counts = [f"{report[name]:,} {label}" for name, label in COUNTED.items()]
    gaps = f"{report['gaps']} gaps (longest {report['longest_gap_hours']} h)"
    return [
        f"found: {', '.join([*counts, gaps])}",
        *(f"note: {note}" for note in report.get("notes", [])),
        *(f"error code, left out of training: {code}" for code in report["found_codes"]),
    ]


def parse(raw: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Read times and numbers; also number the series of the rows in the order of their names."""
    time, by, *values = columns
    places, series = pd.factorize(raw[by])
    names = np.array([str(name).strip() for name in [*series, np.nan]], object)
    read = {time: parse_times(raw[time]), by: names[places]}
    read |= {name: parse_numbers(raw[name]) for name in values}
    return pd.DataFrame(read).rename_axis("line"), pd.factorize(names, sort=True)[0][places]


def mark(
    rows: pd.DataFrame, columns: Sequence[str], series: np.ndarray, steps: Steps, gap_steps: float
) -> pd.DataFrame:
    """Mark the faults of each row; ``step`` is the seconds since the previous one."""
    order, step, usual = steps.order, steps.seconds, steps.usual
    gap = step > gap_steps * usual
    codes, sent_twice = np.zeros(len(rows), bool), steps.is_twin.copy()
    codes[order] = find_error_codes(rows[columns[2]].to_numpy()[order], series[order])
    sent_twice[sent_twice] = rows[sent_twice].duplicated([*columns])
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
        index=rows.index,
    )


def _count(times: pd.Series, series: np.ndarray, found: pd.DataFrame) -> dict[str, Any]:
    gaps = found.loc[found["in_gaps"], "step"]
    return {
        "rows": len(found),
        "series": len(np.unique(series)),
        "first": times.min(),
        "last": times.max(),
        **{name: found[name].sum() for name in (*COUNTED, "in_gaps")},
        "seconds": found["step"].sum(),
        "seconds_in_gaps": gaps.sum(),
        "longest_gap": gaps.max() if len(gaps) else 0.0,
    }


def _share_in_gaps(count: Mapping[str, Any]) -> float:
    """Return the share of the time that is in gaps."""
    return float(count["seconds_in_gaps"] / max(count["seconds"], 1e-9))
