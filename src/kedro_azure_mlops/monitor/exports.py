"""A monitoring result as a table, as JSON, and as a textfile for the Prometheus node exporter."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd

from kedro_azure_mlops.monitor.findings import Kind
from kedro_azure_mlops.monitor.result import MonitorReport

_SHOWN = 12  # checks in the table; up to twice as many if all are alarms
_WIDTHS = {"key": 16, "column": 14, "check": 13}


def table(found: MonitorReport) -> Iterator[str]:
    """Yield the newest checks in lines of at most 80 characters, and each reason on one line."""
    compared = found.comparison
    yield f"{found.model}, {found.version_in_words}, in {found.env}"
    has_times = compared.rows and found.order is not None
    span = f", {minute(compared.start)} to {minute(compared.end)}" if has_times else ""
    yield f"{compared.rows:,} rows{span}, from {found.source}"
    since = {(one.check, one.column, one.key): one.since for one in found.findings}
    checks = found.newest_checks
    alarms = sum(bool(one["alarm"]) for one in checks)
    shown = checks[: max(_SHOWN, min(alarms, 2 * _SHOWN))]
    rows = [[*_WIDTHS, "value", "limit", "since"]]
    for one in shown:
        names = [_cell(one[name], width) for name, width in _WIDTHS.items()]
        start = since.get((one["check"], *(_na_to_none(one[name]) for name in ("column", "key"))))
        numbers = [f"{one['value']:.3g}", f"{one['limit']:.3g}"]
        state = "alarm" if one["alarm"] else ""
        rows.append([*names, *numbers, state if start is None else minute(start)])
    if shown:
        yield ""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [
                f"{cell:>{width}}" if number in {3, 4} else f"{cell:{width}}"
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            yield "  ".join(cells).rstrip()
        if len(checks) > len(shown):
            yield f"and {len(checks) - len(shown):,} more, in report.json"
    yield ""
    for note in found.notes:
        yield f"note: {note}"
    reasons = found.reasons
    yield f"{len(reasons)} alarm{'s' if len(reasons) > 1 else ''}:" if reasons else "No alarm"
    yield from (f"- {reason}" for reason in reasons)


def minute(time: Any) -> str:
    """Format a time to the minute."""
    return "-" if time is None or pd.isna(time) else f"{pd.Timestamp(time):%Y-%m-%d %H:%M}"


def _cell(value: Any, width: int) -> str:
    text = "all" if pd.isna(value) else " ".join(str(value).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _na_to_none(value: Any) -> Any:
    return None if pd.isna(value) else value


def json_report(found: MonitorReport) -> dict[str, Any]:
    """Return a monitoring result as JSON values; unknown values are null."""
    compared, profile = found.comparison, found.profile
    return {
        "env": found.env,
        "model": {"name": found.model, "version": found.version, "digest": found.digest},
        "at": f"{found.at.isoformat()}Z",
        "alarm": found.alarm,
        "drifted": found.drifted,
        "quality": found.quality,
        "retrain": found.retrain,
        "reasons": found.reasons,
        "findings": [_json_values(vars(one)) for one in found.findings],
        "judged": _json_values(
            {
                "source": found.source,
                "rows": compared.rows,
                "start": compared.start,
                "end": compared.end,
            }
        ),
        "metrics": _json_values(found.metrics),
        "slices": {str(key): _json_values(dict(row)) for key, row in found.slices.iterrows()},
        "newest_window": [_json_values(row) for row in found.newest_checks],
        "flagged": [_json_values(row) for row in found.flagged.to_dict("records")],
        "notes": found.notes,
        "profile": _json_values(
            {
                "rows": profile.rows,
                "start": profile.start,
                "end": profile.end,
                "window_seconds": profile.window.total_seconds(),
                "keys": len(profile.keys),
            }
        ),
    }


def textfile(found: MonitorReport) -> str:
    """Return the newest values for the textfile collector of the Prometheus node exporter.

    Each check in alarm has a line ``mlops_monitor_alarm``, which disappears with the alarm, so an
    alert on it resolves.
    """
    base = {"env": found.env, "model": found.model}
    findings, newest = found.findings, found.newest_checks
    kinds: list[str] = [one.kind for one in findings]
    alarms = [base | {"kind": one.kind} | _labels(vars(one)) for one in findings]
    checks = [base | _labels(one) for one in newest]
    info = base | {"version": found.version, "digest": found.digest}
    families: list[tuple[str, str, list[tuple[dict[str, str], float]]]] = [
        ("alarm", "1 for each check in alarm", [(one, 1.0) for one in alarms]),
        (
            "alarms",
            "Checks in alarm, by kind",
            [(base | {"kind": kind}, float(kinds.count(kind))) for kind in get_args(Kind)],
        ),
        (
            "index",
            "Value of a check in the newest window",
            [(one, row["value"]) for one, row in zip(checks, newest, strict=True)],
        ),
        (
            "limit",
            "Value above which a check is in alarm",
            [(one, row["limit"]) for one, row in zip(checks, newest, strict=True)],
        ),
        (
            "metric",
            "Metric of the project, measured with labels",
            [(base | {"metric": name}, value) for name, value in found.metrics.items()],
        ),
        ("rows", "Rows that were judged", [(base, found.comparison.rows)]),
        ("look_timestamp_seconds", "Time of the check", [(base, _seconds(found.at))]),
        (
            "newest_row_timestamp_seconds",
            "Time of the newest row, in the time zone of the rows",
            [(base, _seconds(found.comparison.end))],
        ),
        ("model_info", "The model whose profile is the reference", [(info, 1)]),
    ]
    return "".join(_family(*family) for family in families)


def _family(name: str, help_text: str, samples: Sequence[tuple[dict[str, str], float]]) -> str:
    lines = [f"# HELP mlops_monitor_{name} {help_text}", f"# TYPE mlops_monitor_{name} gauge"]
    seen = set()
    for labels, value in samples:
        text = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
        if text not in seen and not math.isnan(value):  # a duplicate invalidates the whole file
            seen.add(text)
            shown = {math.inf: "+Inf", -math.inf: "-Inf"}.get(value) or repr(float(value))
            lines.append(f"mlops_monitor_{name}{{{text}}} {shown}")
    return "\n".join(lines) + "\n" if seen else ""


def _labels(check: dict[str, Any]) -> dict[str, str]:
    found = {name: check[name] for name in ("check", "column", "key")}
    return {name: "" if pd.isna(value) else str(value) for name, value in found.items()}


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _seconds(time: pd.Timestamp) -> float:
    return math.nan if pd.isna(time) else time.timestamp()


def _json_values(values: dict[Any, Any]) -> dict[str, Any]:
    """Convert values for JSON: times to text, missing and infinite ones to None."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, pd.Timestamp):
            plain = plain.isoformat()
        if plain is pd.NaT or (isinstance(plain, float) and not math.isfinite(plain)):
            plain = None
        found[str(name)] = plain
    return found
