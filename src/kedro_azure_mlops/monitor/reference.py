"""Describe training rows, and calibrate limits for ordinary windows from them.

See ``profile.reference_profile``.
"""

import json
import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import Column, Schema
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.monitor.limits import FEWEST_WINDOWS, Calibration, upper_limits
from kedro_azure_mlops.monitor.profile import DIGEST, MOST_BYTES, VERSION, as_json, key_digest
from kedro_azure_mlops.monitor.readers import (
    in_future,
    numbers_of,
    texts_of,
    time_column,
    times_of,
)
from kedro_azure_mlops.monitor.statistics import (
    WEEK_HOURS,
    Cut,
    Moments,
    bins_of,
    counts_of,
    ewma,
    expected_course,
    hours_of_week,
    kolmogorov_smirnov,
    medians,
    population_stability,
    runs_so_far,
    variances,
)

__all__ = [
    "CATEGORIES",
    "NUMBERS",
    "common_level",
    "describe",
    "is_out_of_range",
    "spread_ratio",
    "time_column",
]

logger = logging.getLogger(__name__)

CATEGORIES = ("string", "boolean")
NUMBERS = ("double", "long")
MOST_CATEGORIES = 50  # distinguished per column
FREE_TEXT = 1_000  # distinct values above which a column has no categories
ENOUGH_FOR_SPREAD, ENOUGH_FOR_SHAPE = 8, 5  # rows in a window
WHOLE = 0.8  # fraction of a window that rows must cover for it to count as whole
_MOST_WINDOWS, _MOST_FOLDS = 400, 10
_FEW_ROWS = 0.05  # fraction of the rows that a gap can show to have a wrong time
_MOVED = 6.0  # shift of the level, in spreads of the windows, that counts as a permanent change
_FEW_VALUES = 30  # distinct values: up to this number, a column has no usual course
_HOURS = {"week": WEEK_HOURS, "day": 24, "none": 1}
_FEWEST_RUN = 6  # consecutive rows with one value
_RUN_FACTOR = 2.0
_MOST_NAME_BYTES = 60_000  # for the names of keys that are not profiled separately
_DETAILS = (("week", 20, 2_100), ("day", 20, 950), ("day", 10, 780))  # course, bins, bytes


def describe(rows: pd.DataFrame, schema: Schema, window: str, seed: int) -> dict[str, Any]:
    """Return the content of a profile, see ``profile.reference_profile``."""
    if missing := [one.name for one in schema.inputs if one.name not in rows]:
        raise OperationError(
            f"The training rows have no column {', '.join(missing)}, which the model's schema "
            f"requires; they have {', '.join(map(str, rows.columns))}. They cannot be profiled."
        )
    if not len(rows):
        raise OperationError("There are no training rows to profile.")
    training = _Training(rows, schema, pd.Timedelta(window), seed)
    most = training.most_keys()
    while True:
        content = training.profile(most)
        if len(as_json(content)) <= MOST_BYTES or most < 2:
            return content
        most = min(most, len(content["series"])) * 3 // 4


class _Training:
    """Training rows, read once, from which profiles of different detail are built."""

    def __init__(self, rows: pd.DataFrame, schema: Schema, window: pd.Timedelta, seed: int) -> None:
        self.schema, self.window, self.width = schema, window, window.value
        self.by = schema.history.by if schema.history else None
        self.time = time_column(schema)
        times = times_of(rows, [self.time])
        if times is not None:
            rows, times = rows[~np.isnat(times)], times[~np.isnat(times)]
            if (is_wrong := _are_wrong(times)).any():
                logger.warning(
                    "Training rows with a wrong time in %s, such as %s, left out of the profile of "
                    "the model: %s. Correct their times.",
                    self.time or "the index",
                    _time(times[is_wrong][0].astype(np.int64)),
                    f"{is_wrong.sum():,}",
                )
                rows, times = rows[~is_wrong], times[~is_wrong]
        if not len(rows):
            raise OperationError(f"No training row has a time in {self.time}.")
        self.has_times = times is not None
        self.ns = np.zeros(len(rows), np.int64) if times is None else times.astype(np.int64)
        self.rows, self.seed = rows, seed
        self.codes: np.ndarray
        self.names: np.ndarray
        self.codes, self.names = (
            (np.zeros(len(rows), np.int64), np.array([None], object))
            if self.by is None
            else texts_of(rows, self.by)
        )
        present = {one.name for one in schema.outputs} & set(rows.columns)
        skipped = {self.by, self.time, schema.reason}
        inputs = [one for one in schema.inputs if one.name not in skipped]
        outputs = [one for one in schema.outputs if one.name in present - skipped]
        self.inputs = [one for one in inputs if one.type in NUMBERS]
        self.categories = [one for one in inputs if one.type in CATEGORIES]
        self.scores = [one for one in outputs if one.type in NUMBERS]
        self.flags = [one for one in outputs if one.type == "boolean"]
        self.values = {
            one.name: numbers_of(rows, one) for one in (*self.inputs, *self.scores, *self.flags)
        }

    def most_keys(self) -> int:
        """Return the number of keys that fit with the least detail."""
        return max(int((MOST_BYTES - 2_000) / self._bytes(_DETAILS[-1])), 1)

    def _bytes(self, detail: tuple[str, int, int]) -> int:
        return 300 + detail[2] * len(self.inputs) + 270 * len(self.scores) + 80 * len(self.flags)

    def profile(self, most: int) -> dict[str, Any]:
        """Return a profile in which at most ``most`` keys are described separately."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        order = np.lexsort((np.arange(len(counts)), -counts))
        is_cut = len(self.names) > most
        names_bytes = min(_MOST_NAME_BYTES, 30 * max(len(self.names) - most, 0)) if is_cut else 0
        if is_cut:  # leave room for the names of the other keys
            most = max(int(most * (1 - names_bytes / MOST_BYTES)), 1)
        kept = np.sort(order[:most])
        series = np.full(len(self.names) + 1, len(kept) if is_cut else -1)
        series[kept] = np.arange(len(kept))
        series[-1] = -1  # no key
        shown: list[Any] = [self.names[one] for one in kept]
        budget = MOST_BYTES - 2_000 - names_bytes
        fitting = [one for one in _DETAILS if self._bytes(one) * len(kept) <= budget]
        course, bins, _ = fitting[0] if fitting else _DETAILS[-1]
        others = [str(one) for one in np.delete(self.names, kept)] if is_cut else []
        keys = len(kept) + is_cut
        cut = Cut.of(series[self.codes], self.ns, keys, self.width, _MOST_WINDOWS)
        builder = _ProfileBuilder(self, cut, course, bins)
        content = builder.content([*shown, *([None] * is_cut)], counts)
        names_fit = len(json.dumps(others, ensure_ascii=False)) <= _MOST_NAME_BYTES
        digests = sorted({key_digest(one) for one in others})
        digests_fit = not names_fit and (DIGEST + 4) * len(digests) <= _MOST_NAME_BYTES
        return content | {
            "keys": len(self.names) if self.by else 0,
            "keys_together": len(others),
            "knows_keys": names_fit or digests_fit,
            "other_keys": others if names_fit else [],
            "other_key_digests": digests if digests_fit else [],
        }


def _are_wrong(times: np.ndarray) -> np.ndarray:
    """Return a mask of times in the future, and of few times before a gap longer than all since.

    They would leave most windows empty, so that limits could not be calibrated.
    """
    is_wrong = in_future(times, pd.Timestamp.now("UTC").tz_localize(None))
    ns = np.sort(times[~is_wrong].astype(np.int64))
    oldest = ns[: int(_FEW_ROWS * len(ns)) + 1].astype(float)  # differences may exceed 64 bits
    gaps = np.flatnonzero(np.diff(oldest) > ns[-1:] - oldest[1:])
    if len(gaps):
        is_wrong |= times.astype(np.int64) < ns[gaps[-1] + 1]
    return is_wrong


class _ProfileBuilder:
    """Computes the window statistics and limits of one profile, and its content."""

    def __init__(self, training: _Training, cut: Cut, course: str, bins: int) -> None:
        self.t, self.cut, self.bins = training, cut, bins
        self.whole = self._whole_windows()
        self.days = (int(training.ns.max()) - int(training.ns.min())) / (24 * 3_600e9)
        self.course = "none" if self.days < 4 else "day" if self.days < 21 else course
        per_block = max(round(pd.Timedelta("7D") / training.window), 1)
        number = len(self.whole)
        self.calibration = Calibration(
            training.window, min(per_block, max(number, 1)), training.seed
        )
        self.calibrated = training.has_times and number >= FEWEST_WINDOWS
        length = max(per_block, -(-number // _MOST_FOLDS))
        length = min(length, max(number // 2, 1))
        fold = np.full(max(cut.windows, 1), 0)  # 0: windows too old to be judged
        fold[self.whole] = 1 + np.arange(number) // length
        self.fold_of_window, self.folds = fold, int(fold.max()) + 1
        self._waiting: dict[str, list[tuple[np.ndarray, list[dict[str, Any]]]]] = {}

    def _whole_windows(self) -> np.ndarray:
        cut = self.cut
        if not len(cut.time):
            return np.zeros(0, np.int64)
        begin = cut.ends - self.t.width
        whole = int(cut.time.min()) - begin[0] <= (1 - WHOLE) * self.t.width
        first = max(0 if whole else 1, cut.windows - _MOST_WINDOWS)
        return np.arange(first, cut.windows)

    def content(self, names: list[Any], counts: np.ndarray) -> dict[str, Any]:
        t, cut = self.t, self.cut
        n = cut.total()
        series = [dict(one) for one in self._series(names, n)]
        columns: dict[str, Any] = {}
        overall = self._overall(n)
        for column in t.inputs:
            columns[column.name] = self._column_facts(column, "input")
            self._numbers(column, series, overall["columns"])
        for column in t.scores:
            columns[column.name] = self._column_facts(column, "output")
            self._score(column, series)
        for column in t.flags:
            columns[column.name] = self._column_facts(column, "output")
            self._flag(column, series, overall)
        for column in t.categories:
            columns[column.name] = self._column_facts(column, "input")
            self._categories(column, columns[column.name])
        self._set_limits()
        why = f"{len(self.whole)} whole windows of {self.t.window}"
        if not t.has_times:
            why = "the rows have no times"
        elif not self.calibrated:
            why += f", {FEWEST_WINDOWS} are needed"
        return {
            "version": VERSION,
            "window": str(t.window),
            "by": t.by,
            "time": t.time,
            "rows": len(t.rows),
            "start": _time(t.ns.min()) if t.has_times else None,
            "end": _time(t.ns.max()) if t.has_times else None,
            "rows_per_hour": _short(len(t.rows) / max(self.days * 24, 1)) if t.has_times else None,
            "course": self.course,
            "bins": self.bins,
            "limits": {"how": "calibrated" if self.calibrated else "fixed", "why": why},
            "columns": columns,
            "overall": overall,
            "series": series,
        }

    def _series(self, names: list[Any], n: np.ndarray) -> Iterator[dict[str, Any]]:
        cut = self.cut
        bounds = np.searchsorted(cut.key, np.arange(cut.keys + 1))
        steps = np.diff(cut.time, prepend=cut.time[:1])
        steps[bounds[:-1][bounds[:-1] < len(steps)]] = 0  # a key's first row has no predecessor
        gaps = cut.largest(steps)
        for number, name in enumerate(names):
            time = cut.time[bounds[number] : bounds[number + 1]]
            known = n[self.whole, number]
            yield {
                "key": name,
                "rows": len(time),
                "start": _time(time[0]) if self.t.has_times and len(time) else None,
                "end": _time(time[-1]) if self.t.has_times and len(time) else None,
                "rows_per_window": _short(np.median(known[known > 0])) if (known > 0).any() else 0,
                "windows_with_rows": _short((known > 0).mean()) if len(known) else 0,
                "gap_hours": self._usual_gap(gaps[:, number]),
                "columns": {},
            }

    def _usual_gap(self, longest: np.ndarray) -> float:
        """Return the gap, in hours, that is exceeded in one of ten windows."""
        longest = longest[longest > 0]
        return _hours(np.quantile(longest, 0.9)) if len(longest) else 0.0

    def _column_facts(self, column: Column, role: str) -> dict[str, Any]:
        values = self.t.values.get(column.name)
        missing = self.t.rows[column.name].isna() if values is None else np.isnan(values)
        return {
            "type": column.type,
            "role": role,
            "minimum": column.minimum,
            "maximum": column.maximum,
            "missing": _short(missing.mean()),
        }

    def _numbers(
        self,
        column: Column,
        series: list[dict[str, Any]],
        overall_of_columns: dict[str, Any],
    ) -> None:
        values = self.t.values[column.name][self.cut.rows]
        entries = [one["columns"].setdefault(column.name, {}) for one in series]
        missing = np.isnan(values)
        n = self.cut.total()
        self._share("missing", missing, n, entries)
        if column.minimum is not None or column.maximum is not None:
            self._share("out_of_range", is_out_of_range(values, column), n, entries)
        cut, values = self.cut.only(~missing), values[~missing]
        fold = self.fold_of_window[cut.window]
        kind = "none" if len(np.unique(values)) <= _FEW_VALUES else self.course
        values = self._aligned(cut, values, entries)
        course, expected = expected_course(cut, values, fold, self.folds, kind)
        course = course[:, : _HOURS[kind]]
        rest = values - expected
        inner = self._inner_variance(cut, rest)
        rest = values if kind == "none" else rest  # discrete values must match the bins
        moments = Moments.of(cut, values, expected)
        edges = self._edges(cut, rest, self.bins)
        counts = counts_of(cut, bins_of(cut, rest, edges), self.bins)
        totals = counts.sum(axis=0)
        self._describe(cut, values, course, edges, totals, entries)
        spreads = np.array([one["spread"] for one in entries])
        for entry, variance in zip(entries, inner, strict=True):
            entry["inner_variance"] = _short(variance)
        level = moments.shift / spreads
        self._limit("level", level, entries)
        self._limit("slow", ewma(level), entries)
        wider = spread_ratio(moments, inner, spreads)
        self._limit("spread", wider, entries)
        self._limit("slow_spread", ewma(wider), entries)
        overall = overall_of_columns.setdefault(column.name, {})
        self._limit("common", common_level(level), [overall])
        others = self._other_shares(counts)
        is_enough = moments.n >= ENOUGH_FOR_SHAPE
        for check, measure in (("ks", kolmogorov_smirnov), ("psi", population_stability)):
            self._limit(check, np.where(is_enough, measure(counts, others), np.nan), entries)
        self._runs(cut, values, entries)

    def _shifts(self, cut: Cut, rest: np.ndarray) -> list[tuple[int, int, float]]:
        """Find permanent changes of level: the key, its first row at the new level, the change.

        Such a change is an unbroken run of windows, the newest or the oldest ones, that are all far
        from the level of the others.
        """
        found = []
        levels = medians(cut, rest)
        bounds = np.searchsorted(cut.key, np.arange(cut.keys + 1))
        for key in range(cut.keys if self.calibrated else 0):
            rows = slice(bounds[key], bounds[key + 1])
            known = np.flatnonzero(np.isfinite(levels[:, key]))
            level = levels[known, key]
            if len(level) < FEWEST_WINDOWS:
                continue
            distance = level - np.median(level)
            scale = 1.4826 * np.median(np.abs(distance))
            far = np.abs(distance) > max(_MOVED * scale, rest[rows].std() / 4)
            same = np.sign(distance) == np.sign(distance[-1])
            newest = int(np.argmin((far & same)[::-1])) if not far.all() else 0
            oldest = (
                int(np.argmin(far & (np.sign(distance) == np.sign(distance[0]))))
                if not newest
                else 0
            )
            first = len(level) - newest if newest else oldest
            if not 0 < first < len(level):
                continue
            by = float(np.median(level[first:]) - np.median(level[:first]))
            # in the windows on both sides of the change, find the row where the new level begins
            near = np.flatnonzero(np.isin(cut.window[rows], known[first - 1 : first + 1]))
            middle = np.median(level[:first]) + by / 2
            fits = np.cumsum(((rest[rows][near] - middle) * np.sign(by))[::-1])
            found.append((key, int(bounds[key] + near[len(near) - 1 - int(np.argmax(fits))]), by))
        return found

    def _aligned(self, cut: Cut, values: np.ndarray, entries: list[dict[str, Any]]) -> np.ndarray:
        """Shift the values before a permanent change of level to the new level."""
        by_day = "none" if self.course == "none" else "day"  # a weekday may have only new rows
        course, _ = expected_course(cut, values, cut.key * 0, 1, by_day)
        values = values.copy()
        for key, row, by in self._shifts(cut, values - course[cut.key, hours_of_week(cut.time)]):
            first = int(np.searchsorted(cut.key, key))
            values[first:row] += by
            entries[key]["moved"] = {"at": _time(cut.time[row]), "by": _short(by)}
        return values

    def _inner_variance(self, cut: Cut, rest: np.ndarray) -> np.ndarray:
        """Return the variance of the residuals within windows, shape ``(keys,)``."""
        n = cut.total()
        with np.errstate(invalid="ignore", divide="ignore"):
            total = np.nansum(variances(cut, n, rest) * n, axis=0)
        return np.asarray(total / np.maximum(n.sum(axis=0), 1))

    def _edges(self, cut: Cut, values: np.ndarray, bins: int) -> np.ndarray:
        found = np.zeros((cut.keys, bins - 1))
        bounds = np.searchsorted(cut.key, np.arange(cut.keys + 1))
        inside = np.linspace(0, 1, bins + 1)[1:-1]
        for key in range(cut.keys):
            own = values[bounds[key] : bounds[key + 1]]
            if len(own):
                found[key] = np.quantile(own, inside)
        return np.array([[_short(one) for one in row] for row in found]).reshape(found.shape)

    def _other_shares(self, counts: np.ndarray) -> np.ndarray:
        """Return, for each window, the shares by bin over all windows outside its fold."""
        by_fold = np.zeros((self.folds, *counts.shape[1:]))
        np.add.at(by_fold, self.fold_of_window[: len(counts)], counts)
        others = (counts.sum(axis=0) - by_fold)[self.fold_of_window[: len(counts)]]
        return np.asarray(others / np.maximum(others.sum(axis=-1, keepdims=True), 1))

    def _describe(
        self,
        cut: Cut,
        values: np.ndarray,
        course: np.ndarray,
        edges: np.ndarray,
        counts: np.ndarray,
        entries: list[dict[str, Any]],
    ) -> None:
        bounds = np.searchsorted(cut.key, np.arange(cut.keys + 1))
        deciles = np.linspace(0, 1, 11)
        for key, entry in enumerate(entries):
            own = values[bounds[key] : bounds[key + 1]]
            if not len(own):
                own = np.zeros(1)
            mean, spread = float(own.mean()), float(own.std())
            spread = max(spread, 1e-3 * abs(mean), 1e-9)
            decimals = 3 - math.floor(math.log10(spread))
            entry |= {
                "rows": int(bounds[key + 1] - bounds[key]),
                "mean": _short(mean),
                "spread": _short(spread),
                "quantiles": [_short(one) for one in np.quantile(own, deciles)],
                "edges": [_short(one) for one in edges[key]],
                "shares": [round(one, 5) for one in (counts[key] / max(counts[key].sum(), 1))],
                "course": [round(float(one), decimals) for one in course[key]],
            }

    def _runs(self, cut: Cut, values: np.ndarray, entries: list[dict[str, Any]]) -> None:
        longest = cut.largest(runs_so_far(cut, values)).astype(float)
        longest[cut.total() == 0] = np.nan
        for key, entry in enumerate(entries):
            known = longest[self.whole, key]
            known = known[np.isfinite(known)]
            if not len(known):
                known = longest[:, key][np.isfinite(longest[:, key])]
            if not len(known):
                known = np.zeros(1)
            limit = _RUN_FACTOR * np.quantile(known, 0.95) + 2
            limit = max(limit, _FEWEST_RUN)
            if (known > limit).mean() > 0.1:
                limit = 1.2 * known.max()
            entry["longest_run"] = int(known.max())
            entry.setdefault("limits", {})["stuck"] = _short(limit)

    def _score(self, column: Column, series: list[dict[str, Any]]) -> None:
        values = self.t.values[column.name][self.cut.rows]
        entries = [one["columns"].setdefault(column.name, {}) for one in series]
        cut, values = self.cut.only(~np.isnan(values)), values[~np.isnan(values)]
        edges = self._edges(cut, values, 10)
        counts = counts_of(cut, bins_of(cut, values, edges), 10)
        totals = counts.sum(axis=0)
        for key, entry in enumerate(entries):
            total = int(totals[key].sum())
            entry |= {
                "rows": total,
                "edges": edges[key].tolist(),
                "shares": [round(one, 5) for one in totals[key] / max(total, 1)],
            }
        found = population_stability(counts, self._other_shares(counts))
        self._limit("score_psi", np.where(cut.total() >= ENOUGH_FOR_SHAPE, found, np.nan), entries)

    def _flag(self, column: Column, series: list[dict[str, Any]], overall: dict[str, Any]) -> None:
        values = self.t.values[column.name][self.cut.rows]
        cut, values = self.cut.only(~np.isnan(values)), values[~np.isnan(values)]
        n, flagged = cut.total(), cut.total(values)
        overall_entry = overall["columns"].setdefault(column.name, {})
        overall_entry["share"] = _short(flagged.sum() / max(n.sum(), 1))
        entries = [one["columns"].setdefault(column.name, {}) for one in series]
        for entry, part, total in zip(entries, flagged.sum(axis=0), n.sum(axis=0), strict=True):
            entry["share"] = _short(part / max(total, 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            self._limit("flagged", flagged / n, entries)
            self._limit("flagged", (flagged.sum(axis=1) / n.sum(axis=1))[:, None], [overall_entry])

    def _overall(self, n: np.ndarray) -> dict[str, Any]:
        one_key = self.cut.together()
        gaps = one_key.largest(np.diff(one_key.time, prepend=one_key.time[:1]))
        known = n[self.whole].sum(axis=1)
        usual = float(np.median(known[known > 0])) if (known > 0).any() else 0.0
        found: dict[str, Any] = {
            "rows_per_window": _short(usual),
            "gap_hours": self._usual_gap(gaps[:, 0]),
            "columns": {},
        }
        with np.errstate(divide="ignore"):
            volume = np.abs(np.log(n.sum(axis=1) / max(usual, 1)))[:, None]
        self._limit("volume", np.where(np.isfinite(volume), volume, np.nan), [found])
        return found

    def _categories(self, column: Column, about: dict[str, Any]) -> None:
        codes, names = texts_of(self.t.rows, column.name)
        codes, cut = codes[self.cut.rows], self.cut
        missing = (codes < 0).astype(float)
        n = cut.total().sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            self._limit("missing", cut.total(missing).sum(axis=1, keepdims=True) / n, [about])
        if len(names) > FREE_TEXT:
            about["free_text"] = True
            return
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        kept = np.lexsort((np.arange(len(counts)), -counts))[:MOST_CATEGORIES]
        total = max(int(counts.sum()), 1)
        about["categories"] = {str(names[one]): _short(counts[one] / total) for one in kept}
        about["known_categories"] = len(names)
        number = np.full(len(names) + 1, len(kept))
        number[kept] = np.arange(len(kept))
        found = counts_of(cut.only(codes >= 0).one_key(), number[codes[codes >= 0]], len(kept) + 1)
        moved = population_stability(found, self._other_shares(found), ordered=False)
        self._limit("psi", moved, [about])
        with np.errstate(invalid="ignore", divide="ignore"):
            other = found[..., -1] / found.sum(axis=-1)
        self._limit("new_category", other, [about])

    def _share(
        self, check: str, mask: np.ndarray, n: np.ndarray, entries: list[dict[str, Any]]
    ) -> None:
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = self.cut.total(mask.astype(float)) / n
        for entry, part in zip(entries, self.cut.total(mask.astype(float)).sum(0), strict=True):
            entry[check] = _short(part / max(n.sum(), 1))
        self._limit(check, shares, entries)

    def _limit(self, check: str, found: np.ndarray, entries: list[dict[str, Any]]) -> None:
        """Store a statistic until its limit can be set, which depends on the number of series."""
        self._waiting.setdefault(check, []).append((found, entries))

    def _set_limits(self) -> None:
        if not self.calibrated:
            return
        for check, parts in self._waiting.items():
            found = np.concatenate([one[self.whole] for one, _ in parts], axis=1)
            centred = check in CENTRED
            limits = upper_limits(found, check, self.calibration, centred=centred)
            entries = [entry for _, group in parts for entry in group]
            for entry, limit in zip(entries, limits, strict=True):
                entry.setdefault("limits", {})[check] = _short(limit)


CENTRED = {"level", "common", "slow", "spread", "slow_spread"}
"""Signed statistics, compared by absolute value."""


def common_level(level: np.ndarray) -> np.ndarray:
    """Return the median level over all keys, shape ``(windows, 1)``; NaN with fewer than two."""
    known = np.isfinite(level).sum(axis=1) > 1
    found = np.full((len(level), 1), np.nan)
    found[known, 0] = np.nanmedian(level[known], axis=1)
    return found


def spread_ratio(moments: Moments, inner: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Return the logarithm of the ratio of the values' spread to the usual one."""
    tiny = (1e-6 * spreads) ** 2
    with np.errstate(invalid="ignore"):
        found = 0.5 * np.log((moments.variance + tiny) / (moments.usual + inner + tiny))
    return np.asarray(np.where(moments.n >= ENOUGH_FOR_SPREAD, found, np.nan))


def is_out_of_range(values: np.ndarray, column: Column) -> np.ndarray:
    """Return a mask of the numbers outside the bounds of the schema."""
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    return np.asarray((values < low) | (values > high))


def _short(value: Any) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _hours(ns: Any) -> float:
    return round(float(ns) / 3_600e9, 3)


def _time(ns: Any) -> str:
    return str(pd.Timestamp(int(ns)).isoformat())
