"""Compare new rows with the training data of a model, window by window.

The value of each check, for each window, key and column:

======================  =========================================================================
``level``               median difference from the usual course, in training spreads
``common``              median of ``level`` over all keys
``slow``                moving average of ``level`` over windows: gradual changes
``spread``              ratio of the spread of values to the usual one (logarithm)
``slow_spread``         moving average of ``spread`` over windows
``ks``, ``psi``         of values without their usual course: the largest difference of the
                        distribution functions; the population stability index
``score_psi``           population stability index of an output
``flagged``             share of rows that the model flags
``new_category``        share of rows with a category not seen in training
``new_key``             rows of an unknown key, as a share of a usual window's rows
``missing``             share of rows without a value, or with one of the wrong type
``out_of_range``        share of rows outside the bounds of the schema
``stuck``               consecutive rows with the same value
``unit``                level of a window that fits after a known conversion of units
``clock``               hours by which rows are in the future
``silent_key``          hours since the last row of a key
``volume``              ratio of the number of rows to the usual one (logarithm)
``freshness``           hours since the newest row
``no_rows``             there are no rows at all
======================  =========================================================================

``missing``, ``out_of_range``, ``stuck``, ``unit`` and ``clock`` are faults of the data
(``quality``): other alarms of the same column and key are their consequences, not drift. The last
four are ``traffic``. Every other check is ``drift``, except for an unknown key with few rows.
"""

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import Schema
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.monitor.columns import FEWEST_SHARE, ColumnLooks, Look, in_short
from kedro_azure_mlops.monitor.findings import (
    NEVER,
    WINDOW_COLUMNS,
    Comparison,
    Finding,
    Kind,
    badness,
    of_no_rows,
    without_consequences,
)
from kedro_azure_mlops.monitor.limits import fixed_limit
from kedro_azure_mlops.monitor.profile import Profile
from kedro_azure_mlops.monitor.reference import CATEGORIES, NUMBERS, WHOLE
from kedro_azure_mlops.monitor.statistics import HOUR

__all__ = ["Comparison", "Finding", "Kind", "compare_rows"]


def compare_rows(
    rows: pd.DataFrame,
    profile: Profile,
    schema: Schema,
    *,
    now: pd.Timestamp | None = None,
    flagged: str | None = None,
) -> Comparison:
    """Compare rows with a profile, window by window; the newest window is judged.

    Windows are counted back from the newest row, which is at most ``now``. Rows without times are
    one window.

    Parameters
    ----------
    rows
        The columns of ``schema.inputs``, and those of ``schema.outputs`` where known, in any order.
        Pass all available windows: earlier ones show gradual changes and when a change began.
    now
        In UTC, or with an offset; needed to judge the age of the newest row, and to find rows in
        the future.
    flagged
        The boolean output that flags rows; None: ``schema.flag``, else all boolean outputs.

    Raises
    ------
    OperationError
        If the rows or the schema have different columns than the profile, naming both.
    """
    _refuse_other_columns(rows, profile, schema)
    if now is not None:
        now = now.tz_convert("UTC").tz_localize(None) if now.tzinfo else now
    if not len(rows):
        words = "no rows at all: nothing was served, or nothing was recorded"
        return of_no_rows(words, NEVER if now is None else now)
    return _Comparer(rows, profile, schema, now, flagged or schema.flag).result()


def _refuse_other_columns(rows: pd.DataFrame, profile: Profile, schema: Schema) -> None:
    about = profile.content["columns"]
    wanted = [name for name, one in about.items() if one["role"] == "input"]
    wanted += [name for name in (profile.by, profile.time) if name is not None]
    schema_columns = [one.name for one in schema.inputs]
    for owner, columns in (
        ("The rows have", list(map(str, rows.columns))),
        ("The schema has", schema_columns),
    ):
        if missing := [name for name in wanted if name not in columns]:
            raise OperationError(
                f"{owner} no column {', '.join(missing)}, so a comparison with the training data "
                f"is impossible.\n  the profile has: {', '.join(sorted(wanted))}\n"
                f"  found: {', '.join(sorted(columns))}"
            )


class _Comparer(ColumnLooks):
    """Checks the columns, keys and traffic of new rows, and collects the findings."""

    def result(self) -> Comparison:
        if len(self.rows):
            self._look()
        self._check_whole_table()
        self._collect()
        start = end = NEVER
        if self.has_times and len(self.ns):
            start, end = pd.Timestamp(self.ns.min()), pd.Timestamp(self.ns.max())
        findings = sorted(without_consequences(self.found), key=badness)
        return Comparison(findings, self._table(), len(self.rows), start, end, self.notes)

    def _look(self) -> None:
        about = self.content["columns"]
        for column in self.schema.inputs:
            if column.name not in about:
                continue
            if column.type in NUMBERS:
                self.look_at_numbers(column)
            elif column.type in CATEGORIES:
                self.look_at_categories(column, about[column.name])
        for column in self.schema.outputs:
            if column.name not in about or column.name not in self.rows:
                continue
            if column.type in NUMBERS:
                self.look_at_score(column)
            elif column.type == "boolean" and column.name == (self.flag or column.name):
                self.look_at_flag(column)
        if self.has_times:
            self._volume()
            self._silent_keys()
        self._new_keys()

    def _new_keys(self) -> None:
        usual = float(np.median(self.usual[self.usual > 0])) if (self.usual > 0).any() else 1.0
        last = self.cut.windows - 1
        end = int(self.ns.max())
        for code in self.unknown:
            times = self.ns[self.key_of_row == code]
            windows = last - (end - times) // self.width
            n = np.bincount(windows, minlength=self.cut.windows)
            if not n[-1]:
                continue
            share, name = n[-1] / max(usual, 1), str(self.names[code])
            kind: Kind = "drift" if share >= FEWEST_SHARE else "traffic"
            since = self.since(n > 0, n.astype(float))
            words = f"{name}: {self.profile.by} not seen in training, {n[-1]:,} rows"
            self.find("new_key", None, name, share, FEWEST_SHARE, since, words, kind)

    def _volume(self) -> None:
        overall = self.content["overall"]
        usual = overall["rows_per_window"]
        if not usual or self.content["start"] is None:
            return
        n = self.cut.total().sum(axis=1)
        covered = np.ones(len(n))
        covered[0] = (self.cut.ends[0] - int(self.ns.min())) / self.width
        with np.errstate(divide="ignore"):
            found = np.abs(np.log(n / (usual * np.maximum(covered, 1e-9))))[:, None]
        found[covered < WHOLE] = np.nan
        found[n == 0] = np.log(usual) + 1
        limit = np.full(found.shape, float(overall.get("limits", {}).get("volume") or np.nan))
        limit = np.where(np.isnan(limit), fixed_limit("volume", found), limit)

        def words(key: int) -> str:
            return f"{n[-1]:,.0f} rows in {_span(self.width)}, usually {usual:,.0f}"

        self.looks.append(Look("volume", None, [None], found, limit, words))

    def _silent_keys(self) -> None:
        if self.profile.by is None:
            return
        last = np.full(self.n.shape, np.iinfo(np.int64).min)
        cut = self.cut.first_keys(len(self.series))
        np.maximum.at(last, (cut.window, cut.key), cut.time)
        last = np.maximum.accumulate(last, axis=0)
        begin = int(self.ns.min())
        silent = (self.cut.ends[:, None] - np.maximum(last, begin)) / HOUR
        gaps = np.array([one["gap_hours"] for one in self.series])
        present = np.array([one["windows_with_rows"] for one in self.series])
        width = self.width / HOUR
        for_frequent_keys = np.clip(2 * gaps, width / 4, width)
        limit = np.where(present >= WHOLE, for_frequent_keys, np.maximum(2 * gaps, 2 * width))
        limit = np.broadcast_to(limit, silent.shape)

        def words(key: int) -> str:
            when = "at all" if last[-1, key] < begin else f"for {in_short(silent[-1, key])} hours"
            return f"no rows {when}"

        self.looks.append(Look("silent_key", None, self.keys, silent, limit, words))

    def _check_whole_table(self) -> None:
        """Check the table as a whole: missing keys and times, and the age of the newest row."""
        end = pd.Timestamp(self.ns.max()) if len(self.ns) else NEVER
        for name, count in (
            (self.profile.by, self.keyless),
            (self.profile.time, self.without_time),
        ):
            share = count / self.row_count
            if name is not None and share > float(
                fixed_limit("out_of_range", np.array(self.row_count))
            ):
                words = f"{share:.1%} of the rows have no {name}: they cannot be judged"
                self.find("missing", name, None, share, 0.02, end, words)
        if not len(self.ns):
            words = f"no row has a time in {self.profile.time or 'served_at'}"
            self.find("no_rows", None, None, 0.0, 1.0, end, words)
        elif self.now is not None and self.has_times:
            hours = (self.now - end) / pd.Timedelta("1h")
            gap = self.content["overall"]["gap_hours"]
            limit = max(self.width / HOUR, 2 * gap)
            if hours > limit:
                words = f"the newest row is {in_short(hours)} hours old ({end:%Y-%m-%d %H:%M})"
                self.find("freshness", None, None, hours, limit, end, words)

    def _collect(self) -> None:
        for look in self.looks:
            alarm = look.alarm
            for key in np.flatnonzero(alarm[-1]):
                since = self.since(alarm[:, key], look.value[:, key])
                value, limit = float(look.value[-1, key]), float(look.limit[-1, key])
                words = look.words(int(key))
                self.find(look.check, look.column, look.keys[int(key)], value, limit, since, words)

    def _table(self) -> pd.DataFrame:
        parts = []
        starts = pd.to_datetime(self.cut.ends - self.width)
        for look in self.looks:
            window, key = np.nonzero(np.isfinite(look.value))
            names = np.array(look.keys, object)
            part = {
                "start": starts[window],
                "end": starts[window] + pd.Timedelta(self.width),
                "key": names[key],
                "column": look.column,
                "check": look.check,
                "value": look.value[window, key],
                "limit": np.asarray(look.limit)[window, key],
                "alarm": look.alarm[window, key],
            }
            parts.append(pd.DataFrame(part, columns=WINDOW_COLUMNS))
        return (
            pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=WINDOW_COLUMNS)
        )


def _span(width: int) -> str:
    return str(pd.Timedelta(width)).replace(" 00:00:00", "").replace("0 days ", "")
