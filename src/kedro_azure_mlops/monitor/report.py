"""The monitoring report as a self-contained HTML page, including plots and style."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import Column
from kedro_azure_mlops.explain import EXPLANATION
from kedro_azure_mlops.monitor.comparison import Finding
from kedro_azure_mlops.monitor.exports import minute
from kedro_azure_mlops.monitor.plots import (
    course_svg,
    distribution_svg,
    shares_svg,
    windows_svg,
)
from kedro_azure_mlops.monitor.result import MonitorReport, in_words, score_of

_PAGE = Path(__file__).with_name("report.html")
_PICTURED = 12  # findings with pictures; the others are listed
_CHECKS = 30  # checks of the newest window in the table
_SLICES = 60
_CATEGORIES = 12
_KINDS = {"drift": "changed", "quality": "data quality", "traffic": "traffic"}
_ALL, _NONE = "all", "-"
_USUAL_RANGE = (0.1, 0.5, 0.9)
_DECILES = np.linspace(0, 1, 11)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
_ROW_CHECKS = {"volume", "silent_key", "new_key", "freshness", "no_rows"}
_MEANINGS = {
    "level": "distance of the newest window from its usual course, in training spreads",
    "slow": "the same, averaged over the last windows: gradual changes",
    "common": "how far all series have shifted together, in training spreads",
    "spread": "how much wider than usual the values are spread (logarithm)",
    "ks": "largest difference of the distribution functions, without the usual course",
    "psi": "population stability index, without the usual course",
    "score_psi": "population stability index of the model's scores",
    "flagged": "share of the rows that the model flags",
    "new_category": "share of rows with a value not seen in training",
    "new_key": "a series not seen in training: the model has no answer for its rows",
    "missing": "share of rows without a value, or with one of the wrong type",
    "out_of_range": "share of rows outside the bounds of the model's schema",
    "stuck": "consecutive rows with the same value",
    "unit": "values that match the training data after a known conversion of units",
    "clock": "hours by which rows are in the future",
    "silent_key": "hours since the last row of the series",
    "volume": "ratio of the number of rows to the usual one (logarithm)",
    "freshness": "hours since the newest row",
    "no_rows": "there are no rows to judge",
}


def html_report(found: MonitorReport) -> str:
    """Return the report as a self-contained page, without scripts or network requests."""
    parts = [
        *_header(found),
        *_findings(found),
        *_slices(found),
        *_quality(found),
        *_volume(found),
        *_flagged(found),
        *_checks(found),
        *_notes(found),
        *_judged(found),
    ]
    title = f"{found.model} in {found.env}: {_verdict(found)}"
    page = Template(_PAGE.read_text(encoding="utf-8"))
    return page.substitute(title=escape(title), body="\n".join(parts))


def _header(found: MonitorReport) -> Iterator[str]:
    compared = found.comparison
    kind = "alarm" if found.alarm else "fine"
    yield f'<header><div class="verdict {kind}">'
    yield f'<p class="kicker">{_e(found.model)} in {_e(found.env)} · {minute(found.at)} UTC</p>'
    yield f"<h1>{_e(_verdict(found))}</h1>"
    yield f"<p>{_e(_advice(found))}</p></div>"
    keys = f"{len(found.slices):,}" if len(found.slices) else _NONE
    by = found.profile.by or "series"
    since = min((one.since for one in found.findings), default=None)
    facts = [
        ("Alarms", f"{len(found.findings)}"),
        ("Since", minute(since) if since is not None else _NONE),
        ("Rows judged", f"{compared.rows:,}"),
        (f"Distinct {by}", keys),
        ("First row", minute(compared.start)),
        ("Newest row", minute(compared.end)),
        ("Model", found.version_in_words),
    ]
    yield f'<dl class="facts">{_pairs(facts)}</dl></header>'


def _verdict(found: MonitorReport) -> str:
    """Return the outcome in one sentence: what changed, since when, in which series."""
    if not found.alarm:
        return "No alarm: the rows look like the training data"
    if not found.comparison.rows:
        return "No traffic: there are no rows to judge"
    kinds = {one.kind for one in found.findings}
    faults = [
        words
        for kind, words in (
            ("quality", "the data looks wrong"),
            ("drift", "the data has changed" if found.comparison.drifted else "metrics are low"),
            ("traffic", "the number of rows is unusual"),
        )
        if kind in kinds
    ]
    names = list(dict.fromkeys(one.key for one in found.findings if one.key))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    since = min(one.since for one in found.findings)
    text = f"{' and '.join(faults)} since {minute(since)}"
    return f"{text[0].upper()}{text[1:]}{': ' if names else ''}{', '.join(names[:3])}{more}"


def _advice(found: MonitorReport) -> str:
    if not found.alarm:
        return "No action is needed."
    if found.quality:
        return (
            "Do not train on these rows: a model would learn the fault. Check the source of the "
            "data first; the alarm clears once it is sound."
        )
    if found.drifted:
        return (
            "The data is sound, so the world itself may have changed: see what shifted, label any "
            "faults, and train again. The gate decides whether the new model is better."
        )
    return "Check the source of the rows: nothing suggests that the model is at fault."


def _findings(found: MonitorReport) -> Iterator[str]:
    if not found.alarm:
        return
    yield '<section aria-labelledby="shifted"><h2 id="shifted">What shifted, worst first</h2>'
    if found.comparison.rows:
        yield (
            '<p class="small soft key"><i class="then"></i>training'
            '<i class="now"></i>now<i class="usual"></i>usual range, 10 % to 90 %'
            '<i class="alarm"></i>alarm, flagged row</p>'
        )
    for finding in found.findings[:_PICTURED]:
        yield from _finding(found, finding)
    if rest := found.findings[_PICTURED:]:
        yield f"<h3>And {len(rest)} more</h3><ul>"
        yield from (f"<li>{_e(one.words)}</li>" for one in rest)
        yield "</ul>"
    yield "</section>"


def _finding(found: MonitorReport, finding: Finding) -> Iterator[str]:
    meaning = _MEANINGS.get(finding.check, "a metric measured with labels")
    yield f'<article class="card finding {finding.kind}"><h3>{_e(finding.words)}</h3>'
    yield (
        f'<p class="small soft"><span class="tag {finding.kind}">{_KINDS[finding.kind]}</span> '
        f"<b>{_e(finding.check)}</b>: {meaning}</p>"
    )
    if figures := [figure for figure in _pictures(found, finding) if figure]:
        yield f'<div class="pictures">{"".join(figures)}</div>'
    yield "</article>"


def _pictures(found: MonitorReport, finding: Finding) -> Iterator[str]:
    by, column, key = found.profile.by, finding.column, finding.key
    label = f"{column or finding.check} of {key or _ALL}"
    rows = found.rows
    if key is not None and by in rows.columns:
        rows = rows[(rows[by].astype(str) == key).to_numpy()]
    if finding.check in _ROW_CHECKS:
        yield _rows_by_window(found, rows, [finding])
        first = next((one.name for one in found.schema.inputs if one in _numbers(found)), None)
        if first is not None and finding.check == "new_key" and len(rows):
            yield from _values(found, finding, rows, first, f"{first} of {key}")
        return
    is_number = column in {one.name for one in _numbers(found)}
    is_one_series = key is not None or by is None
    if column is not None and len(rows) and is_number and is_one_series:
        yield from _values(found, finding, rows, column, label)
    elif column is not None and column in rows.columns:
        about = found.profile.content["columns"].get(column, {})
        if about.get("categories"):
            yield _categories(found, column, _newest(found, rows), about["categories"])
    yield _windows(found, finding, label)


def _values(
    found: MonitorReport, finding: Finding, rows: pd.DataFrame, column: str, label: str
) -> Iterator[str]:
    """Yield plots of the distribution of numbers, in training and now, and of their course."""
    about, order = _column_profile(found, column, finding.key), found.order
    usual = (_DECILES, np.array(about["quantiles"], float)) if about.get("quantiles") else None
    now = _newest(found, rows)[column].to_numpy(float)
    if usual is None and about.get("edges"):
        yield _by_decile(np.array(about["edges"]), np.array(about["shares"]), now, label)
    else:
        then = f", in training {_number(np.interp(0.5, *usual))}" if usual else ""
        alt = f"Distribution of {label}: median {_number(_median(now))} now{then}"
        yield _figure(distribution_svg(usual, now, alt), alt)
    if order is None:
        return
    flag = found.schema.flag
    low, middle, high = (np.interp(p, *usual) for p in _USUAL_RANGE) if usual else (0, 0, 0)
    alt = f"{label} over time"
    picture = course_svg(
        rows[order],
        rows[column].to_numpy(float),
        alt,
        usual=(float(low), float(middle), float(high)) if usual else None,
        marked=(rows[flag] == 1).to_numpy() if flag in rows.columns else None,
        alarm=(finding.since, found.comparison.end),
        end_of_training=found.profile.end,
    )
    yield _figure(picture, alt)


def _newest(found: MonitorReport, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the newest window."""
    if found.order is None:
        return rows
    begin = found.comparison.end - found.profile.window
    return rows[(rows[found.order] > begin).to_numpy()]


def _numbers(found: MonitorReport) -> list[Column]:
    """List the numeric columns, including outputs."""
    columns = (*found.schema.inputs, *found.schema.outputs)
    return [one for one in columns if one.type in {"double", "long"} and one.name in found.rows]


def _categories(
    found: MonitorReport, column: str, newest: pd.DataFrame, known: dict[str, float]
) -> str:
    now = newest[column].astype(str).value_counts(normalize=True)
    both = pd.DataFrame({"then": pd.Series(known, dtype=float), "now": now}).fillna(0.0)
    both = both.loc[both.max(axis=1).sort_values(ascending=False).index].head(_CATEGORIES)
    alt = f"Shares of the values of {column}, in training and now"
    names = [str(name) for name in both.index]
    return _figure(shares_svg(names, both["then"].to_numpy(), both["now"].to_numpy(), alt), alt)


def _by_decile(edges: np.ndarray, shares: np.ndarray, now: np.ndarray, label: str) -> str:
    """Plot the shares of a score between training deciles; the training extremes are unknown."""
    now = now[np.isfinite(now)]
    counts = np.bincount(np.searchsorted(edges, now), minlength=len(edges) + 1)
    ends = [_number(one) for one in edges]
    names = [f"up to {ends[0]}", *map("to {}".format, ends[1:]), f"above {ends[-1]}"]
    alt = f"Shares of {label} between the training deciles"
    return _figure(shares_svg(names, shares, counts / max(len(now), 1), alt), alt)


def _column_profile(found: MonitorReport, column: str, key: str | None) -> dict[str, Any]:
    """Return the profile's statistics for a column of a key; empty if it has none."""
    series = found.profile.content["series"]
    own = next((one for one in series if one["key"] == key), None)
    return own["columns"].get(column, {}) if own else {}


def _windows(found: MonitorReport, finding: Finding, label: str) -> str:
    windows = found.comparison.windows
    if windows.empty:
        return ""
    of_key = windows["key"].map(lambda one: _text(one, "")) == _text(finding.key, "")
    of_column = windows["column"].map(lambda one: _text(one, "")) == _text(finding.column, "")
    own = windows[of_key & of_column & (windows["check"] == finding.check)].sort_values("end")
    if len(own) < 3:
        return ""
    alt = f"{finding.check} of {label} in each window, and its limit"
    values, alarms = own["value"].to_numpy(float), own["alarm"].to_numpy(bool)
    return _figure(windows_svg(own["end"], values, alarms, alt, limit=finding.limit), alt)


def _slices(found: MonitorReport) -> Iterator[str]:
    if found.slices.empty:
        return
    by = found.profile.by or "series"
    alarms = pd.Series([one.key for one in found.findings if one.key], dtype=object).value_counts()
    count = found.slices.index.astype(str).map(lambda key: int(alarms.get(key, 0)))
    order = np.lexsort((np.arange(len(count)), -np.asarray(count)))
    table = found.slices.iloc[order]
    yield f'<section aria-labelledby="slices"><h2 id="slices">By {_e(by)}</h2>'
    metrics = [name for name in table.columns if name not in {"rows", "flagged"}]
    heads = [by, "state", *(name for name in ("rows", "flagged") if name in table), *metrics]
    rows = []
    for number, (key, row) in enumerate(list(table.iterrows())[:_SLICES]):
        raised = int(count[order[number]])
        state = (
            f'<span class="tag">{raised} {_plural("alarm", raised)}</span>'
            if raised
            else ('<span class="tag fine">no alarm</span>')
        )
        cells = [_e(key), state, f"{int(row['rows']):,}"]
        if "flagged" in row:
            cells.append(f"{row['flagged']:.2%}")
        rows.append([*cells, *(_number(row[name]) for name in metrics)])
    yield _table(f"Numbers by {by}", heads, rows, numbers=range(2, len(heads)))
    if len(table) > _SLICES:
        yield f'<p class="small soft">And {len(table) - _SLICES:,} more, in report.json.</p>'
    if found.metrics:
        shown = [f"{name} {_number(value)}" for name, value in found.metrics.items()]
        yield f'<p class="small soft">All rows together: {_e(", ".join(shown))}.</p>'
    yield "</section>"


def _quality(found: MonitorReport) -> Iterator[str]:
    rows = found.rows
    if rows.empty:
        return
    yield '<section aria-labelledby="quality"><h2 id="quality">Data quality</h2>'
    lines = []
    for column in found.schema.inputs:
        if column.name not in rows:
            lines.append([_e(column.name), "not recorded", _NONE, _NONE, _NONE])
            continue
        values = rows[column.name]
        missing, outside = float(values.isna().mean()), _NONE
        span = _NONE
        if pd.api.types.is_numeric_dtype(values):
            low = -np.inf if column.minimum is None else column.minimum
            high = np.inf if column.maximum is None else column.maximum
            known = values.dropna()
            outside = f"{int((~known.between(low, high)).sum()):,}"
            span = f"{_number(known.min())} to {_number(known.max())}" if len(known) else _NONE
        elif pd.api.types.is_datetime64_any_dtype(values):
            span = f"{minute(values.min())} to {minute(values.max())}"
        else:
            span = f"{values.nunique():,} values"
        lines.append([_e(column.name), column.type, f"{missing:.2%}", outside, _e(span)])
    yield _table(
        "Data quality",
        ["column", "type", "missing", "outside its bounds", "values"],
        lines,
        numbers=(2, 3),
    )
    own = [one for one in found.findings if one.kind == "quality"]
    text = f"{len(own)} {_plural('alarm', len(own))}, see above." if own else "No alarm."
    yield f'<p class="small soft">Missing, stuck and impossible values: {text}</p></section>'


def _volume(found: MonitorReport) -> Iterator[str]:
    about_all = [one for one in found.findings if one.kind == "traffic" and one.key is None]
    if picture := _rows_by_window(found, found.rows, about_all):
        yield '<section aria-labelledby="volume"><h2 id="volume">Volume</h2>'
        yield f'<div class="card"><div class="pictures">{picture}</div></div></section>'


def _rows_by_window(found: MonitorReport, rows: pd.DataFrame, findings: list[Finding]) -> str:
    """Plot the number of rows per window, with the windows of the findings marked as alarms."""
    order, window, end = found.order, found.profile.window, found.comparison.end
    if order is None or found.rows.empty:
        return ""
    ages = (end - found.rows[order]).to_numpy("timedelta64[ns]").astype(np.int64)
    number = int(ages.max() // window.value) + 1
    own = (end - rows[order]).to_numpy("timedelta64[ns]").astype(np.int64) // window.value
    counts = np.bincount(own.clip(0), minlength=number)[::-1]
    ends = pd.Series([end - window * n for n in range(number)][::-1])
    alarms = np.zeros(number, bool)
    for one in findings:
        alarms |= (ends > one.since).to_numpy()
    alt = f"Rows in each window of {in_words(window)}: {counts[-1]:,} in the newest"
    return _figure(windows_svg(ends, counts.astype(float), alarms, alt), alt)


def _flagged(found: MonitorReport) -> Iterator[str]:
    rows, flag, score = found.flagged, found.schema.flag, score_of(found.schema)
    if flag is None:
        return
    yield '<section aria-labelledby="flagged"><h2 id="flagged">Flagged rows</h2>'
    if rows.empty:
        yield "<p>The model flagged no rows.</p></section>"
        return
    total = int((found.rows[flag] == 1).sum())
    yield (
        f'<p class="small soft">{len(rows)} of {total:,} rows with {_e(flag)}, the highest scores '
        "of each series first.</p>"
    )
    inputs = [one.name for one in found.schema.inputs if one.name in rows]
    heads = [*inputs, *([score] if score else []), *([EXPLANATION] if EXPLANATION in rows else [])]
    numbers = [
        number for number, name in enumerate(heads) if pd.api.types.is_numeric_dtype(rows[name])
    ]
    lines = [[_cell(row[name]) for name in heads] for _, row in rows.iterrows()]
    shown = ["why" if name == EXPLANATION else name for name in heads]
    yield _table("Flagged rows", shown, lines, numbers=numbers, head=False)
    yield "</section>"


def _checks(found: MonitorReport) -> Iterator[str]:
    newest = found.newest_checks
    if not newest:
        return
    yield '<section aria-labelledby="checks"><h2 id="checks">Checks of the newest window</h2>'
    yield (
        f'<p class="small soft">{min(len(newest), _CHECKS)} of {len(newest):,}: alarms first, then '
        "those nearest to their limits.</p>"
    )
    by = found.profile.by or "series"
    lines = []
    for one in newest[:_CHECKS]:
        share = abs(one["value"]) / one["limit"] if one["limit"] > 0 else 0.0
        full = min(share, 1.0) if math.isfinite(share) else 0.0
        over = " over" if one["alarm"] else ""
        meter = f'<span class="meter{over}"><b style="width:{full:.0%}"></b></span>'
        state = '<span class="tag">alarm</span>' if one["alarm"] else ""
        cells = [_text(one["key"], _ALL), _text(one["column"], _NONE), one["check"]]
        numbers = [_number(one["value"]), _number(one["limit"])]
        lines.append([*map(_e, cells), *numbers, f"{meter} {state}"])
    yield _table("Checks", [by, "column", "check", "value", "limit", ""], lines, numbers=(3, 4))
    yield "</section>"


def _notes(found: MonitorReport) -> Iterator[str]:
    if found.notes:
        yield '<section aria-labelledby="notes"><h2 id="notes">Notes</h2><ul>'
        yield from (f"<li>{_e(note)}</li>" for note in found.notes)
        yield "</ul></section>"


def _judged(found: MonitorReport) -> Iterator[str]:
    profile, compared = found.profile, found.comparison
    limits = profile.limits
    how = ", ".join(_text(limits.get(name), "") for name in ("how", "why") if limits.get(name))
    facts = [
        ("Rows", f"{compared.rows:,}, {minute(compared.start)} to {minute(compared.end)}"),
        ("From", found.source),
        ("Model", f"{found.model}, {found.version_in_words}"),
        ("Trained on", f"{profile.rows:,} rows, {minute(profile.start)} to {minute(profile.end)}"),
        (f"Known {profile.by or 'series'}", f"{len(profile.keys):,}"),
        ("Window", in_words(profile.window)),
        ("Limits", how or _NONE),
    ]
    yield '<section aria-labelledby="judged"><h2 id="judged">What was judged</h2>'
    yield f'<div class="card"><dl class="facts">{_pairs(facts)}</dl></div></section>'
    yield (
        '<footer class="small soft">Written by <code>kedro mlops monitor</code>. The same numbers '
        "are in report.json, in the same folder.</footer>"
    )


def _table(
    label: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Iterable[int] = (),
    head: bool = True,
) -> str:
    """Return a table that becomes a list on narrow screens; cells are HTML."""
    right = set(numbers)
    classes = [' class="n"' if number in right else "" for number in range(len(heads))]
    top = "".join(
        f'<th scope="col"{html_class}>{_e(name).replace("_", "_<wbr>")}</th>'
        for name, html_class in zip(heads, classes, strict=True)
    )
    lines = []
    for row in rows:
        cells = [
            f'<th scope="row">{cell}</th>'
            if head and number == 0
            else f'<td{html_class or _class_of(cell)} data-of="{_e(name)}">{cell}</td>'
            for number, (name, html_class, cell) in enumerate(zip(heads, classes, row, strict=True))
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="scroll" role="region" aria-label="{_e(label)}" tabindex="0">'
        f'<table class="stack"><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>'
    )


def _class_of(cell: str) -> str:
    return ' class="t"' if _TIME.fullmatch(cell) else ""


def _pairs(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{_e(name)}</dt><dd>{_e(text)}</dd></div>" for name, text in facts)


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{_e(caption)}</figcaption></figure>" if svg else ""


def _cell(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return minute(value)
    if isinstance(value, float):
        return _number(value)
    return _e(_text(value, _NONE))


def _e(value: object) -> str:
    return escape(str(value), quote=True)


def _text(value: Any, missing: str) -> str:
    return (
        missing if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
    )


def _number(value: Any) -> str:
    number = float(value)
    if not math.isfinite(number):
        return _NONE if math.isnan(number) else "∞"
    return f"{number:,.0f}" if abs(number) >= 1e4 else f"{number:.4g}"


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
