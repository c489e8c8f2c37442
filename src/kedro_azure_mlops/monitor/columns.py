"""Check single columns of new rows, by window and key, against a profile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import Column, Schema
from kedro_azure_mlops.monitor.conversions import find_conversion
from kedro_azure_mlops.monitor.findings import KINDS, NEVER, Finding, Kind
from kedro_azure_mlops.monitor.limits import fixed_limit
from kedro_azure_mlops.monitor.profile import Profile
from kedro_azure_mlops.monitor.readers import numbers_of, texts_of, times_of
from kedro_azure_mlops.monitor.reference import (
    ENOUGH_FOR_SHAPE,
    ENOUGH_FOR_SPREAD,
    WHOLE,
    common_level,
    is_out_of_range,
)
from kedro_azure_mlops.monitor.statistics import (
    Cut,
    Moments,
    bins_of,
    counts_of,
    population_stability,
    runs_so_far,
)
from kedro_azure_mlops.monitor.usual import Reference, measure

__all__ = ["FEWEST_SHARE", "ColumnLooks", "Look", "in_short"]

FEWEST_SHARE = 0.1  # of a window's usual rows: fewer say little about a distribution or a key
_TOLERATED = pd.Timedelta("1h")  # how far a clock may be ahead
_LARGEST_KS = 0.98  # above it, the distributions hardly overlap
_ENOUGH_FOR_QUARTER = 4 * ENOUGH_FOR_SPREAD  # so that a quarter of a window is enough


@dataclass(frozen=True)
class Look:
    """One check on one column: values and limits of shape ``(windows, keys)``."""

    check: str
    column: str | None
    keys: Sequence[str | None]
    value: np.ndarray
    limit: np.ndarray
    words: Callable[[int], str]  # description of the newest window, by key number

    @property
    def alarm(self) -> np.ndarray:
        """A mask of the values that exceed their limits."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.value > self.limit)


def _drift_sentence(
    column: str,
    check: str,
    found: np.ndarray,
    limit: np.ndarray,
    reference: Reference,
    raw: Moments,
    key: int,
) -> str:
    before, after = reference.medians[key], raw.shift[-1, key]
    details = f"{_SHORT[check]} {in_short(found[-1, key])}, limit {in_short(limit[-1, key])}"
    if (
        check in ("spread", "slow_spread", "ks", "psi")
        and abs(after - before) < reference.spreads[key] / 4
    ):
        return f"{column} is distributed differently ({details})"
    return f"{column} shifted, median {in_short(before)} -> {in_short(after)} ({details})"


_SHORT = {
    "level": "level",
    "slow": "slow change",
    "spread": "spread",
    "slow_spread": "slow change of spread",
    "ks": "KS",
    "psi": "stability index",
}


class ColumnLooks:
    """Checks of new rows, by window, against the profile of their keys and columns."""

    def __init__(
        self,
        rows: pd.DataFrame,
        profile: Profile,
        schema: Schema,
        now: pd.Timestamp | None,
        flag: str | None,
    ) -> None:
        self.profile, self.schema, self.now, self.flag = profile, schema, now, flag
        self.content, self.width = profile.content, profile.window.value
        self.found: list[Finding] = []
        self.notes: list[str] = []
        self.looks: list[Look] = []
        times = times_of(rows, [profile.time, "served_at"])
        self.has_times = times is not None
        times = np.zeros(len(rows), "datetime64[ns]") if times is None else times
        self.row_count = len(rows)
        known = ~np.isnat(times)
        self.without_time = int(len(rows) - known.sum())
        past = known & ~self._is_in_future(times)
        kept = past if past.any() else known
        self.rows, self.ns = rows[kept], times[kept].astype(np.int64)
        self.series: list[dict[str, Any]] = self.content["series"]
        self.codes, self.names = self._keys()
        self.keys = [one["key"] for one in self.series]
        self.cut = Cut.of(self.codes, self.ns, len(self.series) + 1, self.width)
        self.n = self.cut.total()[:, :-1]  # the last one holds unknown keys
        self.usual = np.array([one["rows_per_window"] or 0.0 for one in self.series])

    def _is_in_future(self, times: np.ndarray) -> np.ndarray:
        if self.now is None or not self.has_times:
            return np.zeros(len(times), bool)
        in_future = times > (self.now + _TOLERATED).to_datetime64()
        if in_future.any():
            hours = float(
                (times[in_future].max() - self.now.to_datetime64()) / np.timedelta64(1, "h")
            )
            since = pd.Timestamp(times[in_future].min())
            words = (
                f"{int(in_future.sum()):,} rows are in the future, by up to {in_short(hours)} "
                "hours: clocks differ, or times are in another zone"
            )
            self.find("clock", None, None, hours, 1.0, since, words)
        return np.asarray(in_future)

    def _keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's key as a number of the profile (one past the last if unknown)."""
        last = len(self.series)
        if self.profile.by is None:
            self.unknown, self.keyless = np.zeros(0, np.int64), 0
            return np.zeros(len(self.rows), np.int64), np.array([None], object)
        codes, names = texts_of(self.rows, self.profile.by)
        numbers = {one["key"]: number for number, one in enumerate(self.series)}
        others = numbers.get(None, last)
        is_known = self.profile.knows if self.content["knows_keys"] else lambda name: True
        self.unknown = np.array([n for n, name in enumerate(names) if not is_known(name)], np.int64)
        if not self.content["knows_keys"]:
            self.notes.append("The profile has too many keys to recognise a new one.")
        key_number = np.array([numbers.get(name, others) for name in names] + [last], np.int64)
        key_number[self.unknown] = last
        self.keyless = int((codes < 0).sum())
        self.key_of_row = codes
        return key_number[codes], names

    def look_at_numbers(self, column: Column) -> None:
        """Check a numeric column for drift and faults."""
        values = numbers_of(self.rows, column)[self.cut.rows]
        reference = Reference(self.series, column.name)
        missing = np.isnan(values)
        self._share("missing", column, missing, reference, "are missing or of a different type")
        if column.minimum is not None or column.maximum is not None:
            low, high = column.minimum, column.maximum
            words = f"are outside {_bounds(low, high)}, the bounds of the schema"
            self._share("out_of_range", column, is_out_of_range(values, column), reference, words)
        cut = self.cut.only(~missing).first_keys(len(self.series))
        values = values[~missing & (self.cut.key < len(self.series))]
        if not len(values):
            return
        self._runs(column, cut, values, reference)
        measured = measure(cut, values, reference, self._end_of_seen_windows())
        n = measured["n"]
        with np.errstate(invalid="ignore"):
            few = n < np.maximum(FEWEST_SHARE * self.usual, 1)
        newest = cut.window == cut.windows - 1
        raw = Moments.of(cut.only(newest), values[newest], np.zeros(int(newest.sum())))
        for check in ("level", "slow", "spread", "slow_spread", "ks", "psi"):
            found = np.where(few, np.nan, np.abs(measured[check]))
            limit = self._limits(check, reference, n)
            shifted = partial(_drift_sentence, column.name, check, found, limit, reference, raw)
            self.looks.append(Look(check, column.name, self.keys, found, limit, shifted))
        self._common(column, measured["level"], few)
        self._units(column, cut, values, reference)

    def _end_of_seen_windows(self) -> int:
        """Return the time (nanoseconds) up to which windows may contain training rows.

        The level that the model learned may have changed only at the end of training.
        """
        if not self.has_times or self.content["end"] is None:
            return 0
        return int(self.profile.end.value) + self.width - 1

    def _common(self, column: Column, level: np.ndarray, few: np.ndarray) -> None:
        """Check all keys together: a small common shift is lost in the noise of each key."""
        if len(self.series) < 2:
            return
        overall = Reference([self.content["overall"]], column.name)
        found = np.abs(common_level(np.where(few, np.nan, level)))
        limit = np.broadcast_to(overall.limits("common"), found.shape)
        limit = np.where(np.isnan(limit), fixed_limit("common", self.n.sum(axis=1)[:, None]), limit)

        def words(key: int) -> str:
            details = f"{in_short(found[-1, 0])} spreads, limit {in_short(limit[-1, 0])}"
            return f"{column.name} shifted in all keys together (by {details})"

        self.looks.append(Look("common", column.name, [None], found, limit, words))

    def _limits(self, check: str, reference: Reference, n: np.ndarray) -> np.ndarray:
        """Return the limits, widened for windows with fewer rows than usual."""
        limit = reference.limits(check)
        with np.errstate(invalid="ignore", divide="ignore"):
            wider = np.sqrt(np.maximum(self.usual / n, 1))
        if check.startswith("slow"):
            wider = np.ones(n.shape)
        limit = np.where(np.isnan(limit), fixed_limit(check, n), limit * wider)
        return np.minimum(limit, _LARGEST_KS) if check == "ks" else np.asarray(limit)

    def _share(
        self, check: str, column: Column, mask: np.ndarray, reference: Reference, words: str
    ) -> None:
        counted = self.cut.total(mask.astype(float))[:, :-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = counted / self.n

        def sentence(key: int) -> str:
            return f"{share[-1, key]:.1%} of the values of {column.name} {words}"

        limit = self._limits(check, reference, self.n)
        self.looks.append(Look(check, column.name, self.keys, share, limit, sentence))

    def _runs(self, column: Column, cut: Cut, values: np.ndarray, reference: Reference) -> None:
        runs = cut.largest(runs_so_far(cut, values)).astype(float)
        runs[cut.total() == 0] = np.nan
        limit = np.broadcast_to(reference.limits("stuck"), runs.shape)

        def words(key: int) -> str:
            return f"{column.name} is stuck: one value in {runs[-1, key]:.0f} consecutive rows"

        self.looks.append(Look("stuck", column.name, self.keys, runs, limit, words))

    def _units(self, column: Column, cut: Cut, values: np.ndarray, reference: Reference) -> None:
        """Find keys whose newest rows fit the profile only after a known conversion of units."""
        looks = [one for one in self.looks if one.column == column.name]
        level, spread = (
            next(one for one in looks if one.check == name) for name in ("level", "spread")
        )
        alarm = level.alarm | spread.alarm
        for key in np.flatnonzero(alarm[-1]).tolist():
            in_window = np.flatnonzero((cut.key == key) & (cut.window == cut.windows - 1))
            is_whole = len(in_window) >= max(WHOLE * self.usual[key], _ENOUGH_FOR_QUARTER)
            quarter = [in_window[-(len(in_window) // 4) :]] if is_whole else []
            own = Reference([self.series[key]], column.name)
            for rows in (in_window, *quarter):
                part, n = cut.only(rows).one_key(), np.full((1, len(self.series)), len(rows))
                limits = {
                    check: float(self._limits(check, reference, n)[-1, key])
                    for check in ("level", "spread", "ks")
                }

                def measured(values: np.ndarray, part: Cut = part, own: Reference = own) -> Any:
                    return {name: one[-1, 0] for name, one in measure(part, values, own).items()}

                found = find_conversion(values[rows], measured, limits)
                if found is not None:
                    since = self.since(alarm[:, key], level.value[:, key])
                    words = (
                        f"{column.name} looks converted {found[0]}: converted back, it matches the "
                        "training data"
                    )
                    shifted = (self.keys[key], found[1], limits["level"])
                    self.find("unit", column.name, *shifted, since, words)
                    break

    def look_at_score(self, column: Column) -> None:
        """Check the distribution of an output."""
        values = numbers_of(self.rows, column)[self.cut.rows]
        reference = Reference(self.series, column.name)
        wanted = ~np.isnan(values) & (self.cut.key < len(self.series))
        cut = self.cut.only(wanted).first_keys(len(self.series))
        counts = counts_of(
            cut, bins_of(cut, values[wanted], reference.edges), reference.shares.shape[1]
        )
        n = counts.sum(axis=-1)
        found = np.where(
            n >= ENOUGH_FOR_SHAPE, population_stability(counts, reference.shares), np.nan
        )
        found[:, reference.rows == 0] = np.nan
        limit = self._limits("score_psi", reference, n)

        def words(key: int) -> str:
            details = f"{in_short(found[-1, key])}, limit {in_short(limit[-1, key])}"
            return f"{column.name} is distributed differently (stability index {details})"

        self.looks.append(Look("score_psi", column.name, self.keys, found, limit, words))

    def look_at_flag(self, column: Column) -> None:
        """Check the share of flagged rows."""
        values = numbers_of(self.rows, column)[self.cut.rows]
        wanted = ~np.isnan(values)
        cut = self.cut.only(wanted)
        n, marked = cut.total()[:, :-1], cut.total(values[wanted])[:, :-1]
        overall = Reference([self.content["overall"]], column.name)
        parts = [(self.keys, n, marked, Reference(self.series, column.name))]
        if len(self.series) > 1:
            totals = n.sum(axis=1, keepdims=True), marked.sum(axis=1, keepdims=True)
            parts.append(([None], *totals, overall))
        for keys, rows, part, reference in parts:
            with np.errstate(invalid="ignore", divide="ignore"):
                share = part / rows
            limit = reference.limits("flagged")
            limit = np.where(
                np.isnan(limit), reference.of("share") + fixed_limit("flagged", rows), limit
            )

            def words(key: int, share: Any = share, reference: Any = reference) -> str:
                return (
                    f"{column.name} flags {share[-1, key]:.1%} of the rows, "
                    f"{reference.of('share')[key]:.1%} in training"
                )

            self.looks.append(Look("flagged", column.name, keys, share, limit, words))

    def look_at_categories(self, column: Column, about: dict[str, Any]) -> None:
        """Check the shares of categories, for all keys together."""
        codes, names = texts_of(self.rows, column.name)
        codes, cut = codes[self.cut.rows], self.cut.one_key()
        n = cut.total()
        limits = about.get("limits", {})

        def add(
            check: str, found: np.ndarray, rows: np.ndarray, words: Callable[[int], str]
        ) -> None:
            limit = np.full(found.shape, float(limits.get(check) or np.nan))
            limit = np.where(np.isnan(limit), fixed_limit(check, rows), limit)
            self.looks.append(Look(check, column.name, [None], found, limit, words))

        with np.errstate(invalid="ignore"):
            missing = cut.total((codes < 0).astype(float)) / n
        add("missing", missing, n, lambda key: f"{missing[-1, 0]:.1%} of {column.name} is missing")
        known = about.get("categories")
        if known is None or not (codes >= 0).any():
            return
        number_of = {name: number for number, name in enumerate(known)}
        numbers = np.array([number_of.get(str(name), len(number_of)) for name in names], np.int64)
        known_cut = cut.only(codes >= 0)
        counts = counts_of(known_cut, numbers[codes[codes >= 0]], len(number_of) + 1)
        shares = np.array([*known.values(), max(1 - sum(known.values()), 0.0)])
        rows = counts.sum(axis=-1)
        found = population_stability(counts, shares, ordered=False)
        add("psi", found, rows, lambda key: f"the category shares of {column.name} changed")
        new = [str(name) for name in names if str(name) not in number_of]
        with np.errstate(invalid="ignore", divide="ignore"):
            other = counts[..., -1] / rows

        def words(key: int) -> str:
            shown = ", ".join(new[:3]) + (" ..." if len(new) > 3 else "")
            return f"{other[-1, 0]:.1%} of {column.name} is in new categories: {shown}"

        add("new_category", other, rows, words)

    def since(self, alarm: np.ndarray, value: np.ndarray) -> pd.Timestamp:
        """Return when the unbroken run of alarms began; windows without a value do not end it."""
        if not self.has_times:
            return NEVER
        broken = np.flatnonzero(~alarm & np.isfinite(value))
        after = int(broken[-1]) + 1 if len(broken) else 0
        first = after + int(np.argmax(alarm[after:])) if alarm[after:].any() else len(alarm) - 1
        return max(pd.Timestamp(self.cut.ends[first] - self.width), pd.Timestamp(self.ns.min()))

    def find(
        self,
        check: str,
        column: str | None,
        key: str | None,
        value: float,
        limit: float,
        since: pd.Timestamp,
        words: str,
        kind: Kind | None = None,
    ) -> None:
        """Add a finding; its text starts with the key and ends with the time."""
        kind = kind or KINDS.get(check, "drift")
        if key is not None and not words.startswith(f"{key}:"):
            words = f"{key}: {words}"
        if not pd.isna(since):
            words += f", since {since:%Y-%m-%d %H:%M}"
        self.found.append(Finding(kind, check, column, key, value, limit, since, words))


def in_short(value: Any) -> str:
    """Format a number for messages."""
    return f"{float(value):.3g}" if abs(value) < 1_000 else f"{float(value):,.0f}"


def _bounds(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"from {in_short(low)}" if low is not None else f"up to {in_short(high or 0)}"
    return f"{in_short(low)} to {in_short(high)}"
