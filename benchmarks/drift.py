"""Detection delay and false alarms of the monitor, compared with evidently.

    python -m venv /tmp/evidently && /tmp/evidently/bin/pip install evidently 'pandas<3'
    EVIDENTLY=/tmp/evidently/bin/python .venv/bin/python benchmarks/drift.py

Each seed generates series with a step of 15 minutes: a daily wave (weaker at weekends), a slow one
of eight days, and autocorrelated noise (0.5 from one row to the next). A profile is built from ten
weeks. Thirteen ordinary weeks follow, or two of them and a permanent change in one of four series
(in one case, of fifty). Daily checks of the last 24 hours search for the change for seven days. A
spread is the standard deviation of the series in training.

An alarm that was on before the change does not count as a detection: `found` is the share of
changes that raise a new alarm within 7 days; `delay` is the median number of days until then. A
false alarm is an unbroken series of checks in alarm within thirteen ordinary weeks.
Evidently compares with all ten weeks, with its defaults (`DataDriftPreset`, one column per series),
once daily and once weekly, and gets two columns: whether any series has drifted, and its own
verdict on the table. It gets fewer ordinary weeks (four) and fewer seeds, because each check takes
a second.

Exit status: 0 if all targets are reached, 1 if one is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import Column, History, Schema
from kedro_azure_mlops.monitor.comparison import compare_rows
from kedro_azure_mlops.monitor.profile import Profile, reference_profile

SCHEMA = Schema(
    inputs=(
        Column("time", "datetime"),
        Column("key", "string"),
        Column("value", "double", -1_000, 1_000),
    ),
    outputs=(),
    history=History(order="time", by="key"),
)
START, STEP, DAY = pd.Timestamp("2024-01-01"), pd.Timedelta("15min"), pd.Timedelta("1D")
TRAINING, ORDINARY, BEFORE, AFTER = 70, 91, 14, 7  # days
CORRELATION = 0.5
LOOKED_BACK = 28 * DAY
SLOPE = 1 / 7  # spreads per day, in the seasonal change: one spread by the last check
EVIDENTLY = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
cases = json.load(open(sys.argv[1]))
verdicts = []
for reference, new, checks in cases:
    before, now = (pd.read_csv(one, index_col=0, parse_dates=True) for one in (reference, new))
    shared = [name for name in now if name in before]
    results = []
    for start, end in checks:
        current = now[(now.index > start) & (now.index <= end)]
        report = Report([DataDriftPreset()]).run(
            reference_data=before, current_data=current[shared]
        )
        count = report.dict()["metrics"][0]["value"]
        results.append([count["count"] > 0, count["share"] >= 0.5])
    verdicts.append(results)
print(json.dumps(verdicts))
"""


@dataclass(frozen=True)
class Change:
    """A permanent change: ``apply`` transforms the rows of one series after ``at``."""

    name: str
    apply: Callable[[pd.DataFrame, float], pd.DataFrame]  # (rows of a series, its spread)
    kinds: tuple[str, ...] = ("drift",)
    keys: int = 4
    must_find: bool = True


def _shifted(by: float) -> Callable[[pd.DataFrame, float], pd.DataFrame]:
    return lambda rows, spread: rows.assign(value=rows["value"] + by * spread)


def _wider(rows: pd.DataFrame, spread: float) -> pd.DataFrame:
    middle = rows["value"].median()
    return rows.assign(value=middle + (rows["value"] - middle) * np.sqrt(2))


def _seasonal(rows: pd.DataFrame, spread: float) -> pd.DataFrame:
    days = (rows["time"] - rows["time"].min()) / DAY
    return rows.assign(value=rows["value"] + SLOPE * spread * days)


def _missing(rows: pd.DataFrame, spread: float) -> pd.DataFrame:
    is_kept = np.random.default_rng(0).random(len(rows)) > 0.3
    return rows.assign(value=rows["value"].where(is_kept))


def _new_key(rows: pd.DataFrame, spread: float) -> pd.DataFrame:
    return pd.concat([rows, rows.assign(key="new")])


CHANGES = (
    Change("mean +0.5 spreads", _shifted(0.5), must_find=False),
    Change("mean +1 spread", _shifted(1)),
    Change("mean +2 spreads", _shifted(2)),
    Change("variance x2", _wider, must_find=False),
    Change("stuck", lambda rows, _: rows.assign(value=rows["value"].iloc[0]), ("quality",)),
    Change("30 % missing", _missing, ("quality",)),
    Change("a new key", _new_key),
    Change("°C to °F", lambda rows, _: rows.assign(value=rows["value"] * 1.8 + 32), ("quality",)),
    Change("seasonal, +1 in 7 days", _seasonal, must_find=False),
    Change("one of 50: mean +1", _shifted(1), keys=50),
)


def series(keys: int, days: int, seed: int) -> pd.DataFrame:
    """Generate series with the columns ``time``, ``key`` and ``value``."""
    random = np.random.default_rng(seed)
    time = pd.date_range(START, periods=int(days * DAY / STEP), freq=STEP)
    hour = (time.hour + time.minute / 60).to_numpy()
    by_day = np.where(time.dayofweek >= 5, 0.6, 1.0)
    age = ((time - START) / DAY).to_numpy()
    parts = []
    for key in range(keys):
        noise = random.normal(size=len(time)) * np.sqrt(1 - CORRELATION**2)
        for row in range(1, len(noise)):
            noise[row] += CORRELATION * noise[row - 1]
        wave = by_day * np.sin(2 * np.pi * (hour - random.uniform(0, 24)) / 24)
        slow = 0.05 * np.sin(2 * np.pi * (age - random.uniform(0, 8)) / 8)
        level, scale = random.uniform(10, 60), random.uniform(0.5, 4)
        values = level + scale * (wave + slow + 0.5 * noise)
        parts.append(pd.DataFrame({"time": time, "key": f"s{key:02}", "value": values.round(2)}))
    return pd.concat(parts, ignore_index=True)


def changed(rows: pd.DataFrame, at: pd.Timestamp, change: Change, spread: float) -> pd.DataFrame:
    """Apply a change to the first series after a point in time."""
    is_hit = (rows["time"] > at) & (rows["key"] == "s00")
    if change.name.startswith("seasonal"):
        is_hit = rows["time"] > at  # a season affects all series
        hit = [change.apply(part, spread) for _, part in rows[is_hit].groupby("key")]
        return pd.concat([rows[~is_hit], *hit])
    return pd.concat([rows[~is_hit], change.apply(rows[is_hit], spread)])


def look(rows: pd.DataFrame, profile: Profile, end: pd.Timestamp) -> list[str]:
    """Return the kinds of the findings in the last window up to a point in time."""
    seen = rows[(rows["time"] > end - LOOKED_BACK) & (rows["time"] <= end)]
    return [one.kind for one in compare_rows(seen, profile, SCHEMA).findings]


def alarms(looks: Sequence[bool]) -> int:
    """Count unbroken series of checks in alarm."""
    on = np.array(looks, bool)
    return int(np.sum(on & ~np.append(False, on[:-1])))


def first_new(before: bool, after: Sequence[bool]) -> int | None:
    """Return the number (from 1) of the first check that raises a new alarm, or None."""
    last = before
    for number, on in enumerate(after, 1):
        if on and not last:
            return number
        last = on
    return None


@dataclass
class Result:
    """The results of one system: alarms per quarter, checks in alarm, day of each new alarm."""

    quarter: list[float]
    share_on: list[float]
    days: dict[str, list[int | None]]

    def found(self, change: str) -> float:
        days = self.days.get(change, [])
        return float(np.mean([day is not None for day in days])) if days else float("nan")

    def delay(self, change: str) -> float:
        days = [day for day in self.days.get(change, []) if day is not None]
        return float(np.median(days)) if days else float("nan")


def measure(seeds: range) -> tuple[Result, dict[str, float]]:
    """Measure our monitor; also the share of first alarms of the right kind, by change."""
    result = Result([], [], {})
    kinds: dict[str, list[bool]] = {}
    for seed in seeds:
        for keys in (4, 50):
            rows = series(keys, TRAINING + ORDINARY, seed)
            split = START + TRAINING * DAY - STEP
            train, new = rows[rows["time"] <= split], rows[rows["time"] > split]
            profile = Profile.from_dict(reference_profile(train, SCHEMA))
            if keys == 4:
                ends = [split + day * DAY for day in range(1, ORDINARY + 1)]
                on = [bool(look(new, profile, end)) for end in ends]
                result.quarter.append(alarms(on))
                result.share_on.append(float(np.mean(on)))
            at = split + BEFORE * DAY
            spread = float(train.loc[train["key"] == "s00", "value"].std())
            for change in (one for one in CHANGES if one.keys == keys):
                other = changed(new, at, change, spread)
                findings = [look(other, profile, at + day * DAY) for day in range(AFTER + 1)]
                day = first_new(bool(findings[0]), [bool(one) for one in findings[1:]])
                result.days.setdefault(change.name, []).append(day)
                if day is not None:
                    right = set(change.kinds) == {*findings[day]} - {"traffic"}
                    kinds.setdefault(change.name, []).append(right)
    return result, {name: float(np.mean(some)) for name, some in kinds.items()}


def measure_evidently(python: str, seeds: range, weekly: bool) -> list[Result]:
    """Measure evidently on the same series: any drifted column, and its verdict on the table."""
    cases: list[tuple[str, str, list[tuple[str, str]]]] = []
    names: list[str] = []
    span = 7 if weekly else 1
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for keys in (4, 50):
                rows = series(keys, TRAINING + ORDINARY, seed)
                split = START + TRAINING * DAY - STEP
                train, new = rows[rows["time"] <= split], rows[rows["time"] > split]
                reference = _wide(train, Path(folder) / f"{seed}-{keys}.csv")
                at = split + BEFORE * DAY
                spread = float(train.loc[train["key"] == "s00", "value"].std())
                for change in (*([None] if keys == 4 else []), *CHANGES):
                    if change is not None and change.keys != keys:
                        continue
                    other = new if change is None else changed(new, at, change, spread)
                    days = range(span, 29, span) if change is None else range(0, AFTER + 1, span)
                    first = split if change is None else at
                    ends = [first + day * DAY for day in days]
                    name = "" if change is None else change.name
                    file = _wide(other, Path(folder) / f"{seed}-{keys}-{len(cases)}.csv")
                    cases.append(
                        (reference, file, [(str(end - span * DAY), str(end)) for end in ends])
                    )
                    names.append(name)
        wanted = Path(folder) / "wanted.json"
        wanted.write_text(json.dumps(cases), encoding="utf-8")
        verdicts = json.loads(
            subprocess.run(
                [python, "-c", EVIDENTLY, str(wanted)], check=True, capture_output=True, text=True
            ).stdout
        )
    results = []
    for reading in (0, 1):
        result = Result([], [], {})
        for name, looks in zip(names, verdicts, strict=True):
            on = [one[reading] for one in looks]
            if not name:
                result.quarter.append(alarms(on) * ORDINARY / 28)
                result.share_on.append(float(np.mean(on)))
                continue
            number = first_new(on[0], on[1:])
            result.days.setdefault(name, []).append(None if number is None else number * span)
        results.append(result)
    return results


def _wide(rows: pd.DataFrame, file: Path) -> str:
    table = rows.pivot_table(index="time", columns="key", values="value", dropna=False)
    table.to_csv(file)
    return str(file)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument(
        "--evidently",
        default=os.environ.get("EVIDENTLY"),
        help="the Python of an environment with evidently (default: the variable EVIDENTLY)",
    )
    parser.add_argument("--evidently-seeds", type=int, default=3)
    options = parser.parse_args()
    ours, kinds = measure(range(options.seeds))
    columns = {"ours": ours}
    if options.evidently:
        seeds = range(options.evidently_seeds)
        for words, weekly in (("day", False), ("week", True)):
            any_column, verdict = measure_evidently(options.evidently, seeds, weekly)
            columns |= {f"evidently/{words}, any": any_column, f"evidently/{words}": verdict}
    else:
        print(
            "no comparison with evidently: set --evidently or the variable EVIDENTLY to the Python "
            "of an environment with evidently\n"
        )
    return 0 if report(columns, kinds) else 1


def report(columns: dict[str, Result], kinds: dict[str, float]) -> bool:
    """Print the table and the targets; return whether all are reached."""
    print(f"{'found (median days)':26}" + "".join(f"{name:>22}" for name in columns))
    for change in CHANGES:
        cells = [
            f"{one.found(change.name):.0%} ({one.delay(change.name):.0f})"
            for one in columns.values()
        ]
        right = f"   {kinds.get(change.name, float('nan')):.0%} as {'/'.join(change.kinds)}"
        print(f"{change.name:26}" + "".join(f"{cell:>22}" for cell in cells) + right)
    for words, values in (
        ("false alarms per quarter", lambda one: f"{np.mean(one.quarter):.2f}"),
        ("ordinary checks in alarm", lambda one: f"{np.mean(one.share_on):.1%}"),
    ):
        print(f"{words:26}" + "".join(f"{values(one):>22}" for one in columns.values()))
    ours, *others = columns.values()
    sure = [one.name for one in CHANGES if one.must_find]
    late = [name for name in sure if ours.found(name) < 1 or max(ours.days[name]) > 1]  # type: ignore[type-var]
    worse = [
        change.name
        for change in CHANGES
        if any(ours.found(change.name) < other.found(change.name) for other in others)
    ]
    good = [
        _target("every change of one spread and every fault found within a day", late),
        _target(
            "at most one false alarm per quarter", [] if np.mean(ours.quarter) <= 1 else ["ours"]
        ),
    ]
    if others:
        good.append(_target("no worse than evidently in any row", worse))
    return all(good)


def _target(words: str, missed: list[str]) -> bool:
    print(
        f"{'MISSED' if missed else 'PASS'}  {words}" + (f": {', '.join(missed)}" if missed else "")
    )
    return not missed


if __name__ == "__main__":
    sys.exit(main())
