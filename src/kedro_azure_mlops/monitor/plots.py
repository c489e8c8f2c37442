"""Plots for the monitoring report: small inline SVG.

Colours are CSS classes of the page (``then``, ``now``, ``alarm``), so they follow its light or dark
mode. All text is escaped.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

_WIDTH, _HEIGHT = 360, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 24
_BINS = 36
_COLUMNS = 600  # resolution of a line, higher than that of the plot
_MOST_MARKS = 150
_TICKS = 4
_SHORT, _LONG = pd.Timedelta("2D"), pd.Timedelta("300D")

Usual = tuple[np.ndarray, np.ndarray]
"""Ascending probabilities and the training quantiles at them; shapes ``(q,)``."""


def visible_rows(values: np.ndarray, columns: int = 2_000) -> np.ndarray:
    """Select the visible points of a long line: the lowest and the highest in each column.

    Parameters
    ----------
    values
        Shape ``(n,)``, in drawing order.
    columns
        Number of columns to divide the line into; more than the pixels of the plot.

    Returns
    -------
    Row numbers, ascending; all of them if there are few.
    """
    rows = len(values) // columns
    if rows < 3:
        return np.arange(len(values))
    cut = values[: rows * columns].reshape(columns, rows)
    chosen = np.stack([cut.argmin(axis=1), cut.argmax(axis=1)], axis=1)
    chosen += rows * np.arange(columns)[:, None]
    return np.unique(np.append(chosen, np.arange(rows * columns, len(values))))


def distribution_svg(usual: Usual | None, now: np.ndarray, alt: str) -> str:
    """Plot the current distribution of values over the training distribution.

    Parameters
    ----------
    usual
        The training distribution; None if it is unknown.
    now
        Shape ``(n,)``; NaN and infinite values are left out.
    """
    now = now[np.isfinite(now)]
    known = usual[1] if usual else now[:0]
    both = np.concatenate([known, now])
    if not len(both):
        return ""
    low, high = both.min(), both.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    then = np.zeros(_BINS)
    if usual:
        below = np.interp(edges, usual[1], usual[0], left=0.0, right=1.0)
        below[0] = 0.0  # many rows may share the lowest value
        then = np.diff(below) * 100
    found = np.histogram(now, edges)[0] * (100 / max(len(now), 1))
    picture = _Picture((low, high), (0, max(then.max(), found.max()) * 1.08 or 1.0), alt)
    picture.grid("%")
    picture.ticks(_round_numbers(low, high))
    if usual:
        picture.steps(edges, then, "then fill")
    picture.steps(edges, found, "now line")
    return picture.svg()


def course_svg(
    times: pd.Series,
    values: np.ndarray,
    alt: str,
    *,
    usual: tuple[float, float, float] | None = None,
    marked: np.ndarray | None = None,
    alarm: tuple[pd.Timestamp, pd.Timestamp] | None = None,
    end_of_training: pd.Timestamp | None = None,
) -> str:
    """Plot values over time, with the usual range.

    Parameters
    ----------
    times, values
        Shape ``(n,)``, ascending in time.
    usual
        A low quantile, the median and a high quantile of the training rows.
    marked
        Mask of the rows to mark with a dot, such as flagged ones, shape ``(n,)``.
    alarm
        The period to shade.
    end_of_training
        The time to mark with a line, if it is within the plot.
    """
    good = np.isfinite(values)
    ns = times.to_numpy("datetime64[ns]").astype(np.int64)[good]
    marked = np.zeros(len(ns), bool) if marked is None else marked[good]
    values = values[good]
    if not len(values):
        return ""
    bounds = [*(usual or ()), values.min(), values.max()]
    low, high = min(bounds), max(bounds)
    pad = (high - low) * 0.06 or 0.5
    first, last = int(ns[0]), int(ns[-1])
    picture = _Picture((first, max(last, first + 1)), (low - pad, high + pad), alt)
    if alarm:
        picture.band(max(alarm[0].value, first), min(alarm[1].value, last), "shade")
    if usual:
        picture.box(first, last, usual[0], usual[2], "then usual")
        picture.path([first, last], [usual[1], usual[1]], "then line dashed")
    picture.grid()
    picture.times(first, last)
    if end_of_training is not None and first < end_of_training.value < last:
        at = end_of_training.value
        picture.path([at, at], [low - pad, high + pad], "axis dashed")
    seen = visible_rows(values, _COLUMNS)
    picture.path(ns[seen], values[seen], "now line")
    dots = np.flatnonzero(marked)
    dots = dots[visible_rows(values[dots], _MOST_MARKS // 3)]
    picture.dots(ns[dots], values[dots], "alarm")
    return picture.svg()


def windows_svg(
    ends: pd.Series, values: np.ndarray, alarms: np.ndarray, alt: str, *, limit: float | None = None
) -> str:
    """Plot one bar per window, in another colour for windows in alarm.

    Parameters
    ----------
    ends, values, alarms
        Shape ``(n,)``: the end of each window, its value, whether it is in alarm.
    limit
        The value to mark with a line.
    """
    values = np.where(np.isfinite(values), values, 0.0)
    if not len(values):
        return ""
    ns = ends.to_numpy("datetime64[ns]").astype(np.int64)
    width = int(np.diff(ns).min()) if len(ns) > 1 else 1
    first, last = int(ns[0]) - width, int(ns[-1])
    bounds = [0.0, *values, *([limit] if limit is not None else [])]
    low, high = min(bounds), max(bounds)
    picture = _Picture((first, last), (low * 1.08, high * 1.08 or 1.0), alt)
    picture.grid()
    picture.times(first, last)
    for end, value, is_alarm in zip(ns.tolist(), values.tolist(), alarms.tolist(), strict=True):
        kind = "alarm fill" if is_alarm else "now fill"
        picture.box(end - width * 0.88, end - width * 0.12, min(0.0, value), max(0.0, value), kind)
    if limit is not None:
        picture.path([first, last], [limit, limit], "alarm line dashed")
    return picture.svg()


def shares_svg(names: Sequence[str], then: np.ndarray, now: np.ndarray, alt: str) -> str:
    """Plot the shares of categories, in training and now.

    Parameters
    ----------
    names, then, now
        Shape ``(n,)``; shares from 0 to 1.
    """
    height = 30 * len(names) + 6
    most = max(float(then.max(initial=0)), float(now.max(initial=0)), 1e-9)
    parts = []
    for row, (name, one, other) in enumerate(zip(names, then, now, strict=True)):
        top = 4 + 30 * row
        parts.append(
            f'<text class="label" x="0" y="{top + 15}">{escape(_shorter(name, 16))}</text>'
        )
        for y, share, kind in ((top, one, "then fill"), (top + 11, other, "now fill")):
            width = 180 * share / most
            parts.append(
                f'<rect class="{kind}" x="112" y="{y}" width="{width:.1f}" height="9"/>'
                f'<text class="label" x="{116 + width:.1f}" y="{y + 9}">{share:.1%}</text>'
            )
    return _svg(height, alt, "".join(parts))


class _Picture:
    """A plot under construction, with coordinates in data units."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], alt: str) -> None:
        self._x, self._y, self._alt = x, y, alt
        self._parts: list[str] = []

    def svg(self) -> str:
        return _svg(_HEIGHT, self._alt, "".join(self._parts))

    def grid(self, unit: str = "") -> None:
        """Draw horizontal lines at round values, with labels."""
        for value in _round_numbers(*self._y):
            y, right = self._at_y(value), _WIDTH - _RIGHT
            text = f"{_number(value)}{unit}"
            self._parts.append(
                f'<path class="axis" d="M{_LEFT} {y:.1f}H{right}"/>'
                f'<text class="label end" x="{_LEFT - 5}" y="{y + 4:.1f}">{text}</text>'
            )

    def ticks(self, values: Sequence[float]) -> None:
        """Label values below the horizontal axis."""
        for value in values:
            self._below(value, _number(value), "middle")

    def times(self, first: int, last: int) -> None:
        """Label the first, middle and last time below the axis."""
        span = pd.Timedelta(last - first)
        form = "%H:%M" if span < _SHORT else "%Y-%m" if span > _LONG else "%m-%d"
        if span < _SHORT and span > _SHORT / 8:
            form = "%m-%d %H:%M"
        labels = ((first, "start"), ((first + last) // 2, "middle"), (last, "end"))
        for at, anchor in labels:
            self._below(at, pd.Timestamp(at).strftime(form), anchor)

    def steps(self, edges: np.ndarray, heights: np.ndarray, kind: str) -> None:
        """Draw the outline of a histogram."""
        x = np.repeat(edges, 2)
        y = np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])
        self.path(x, y, kind)

    def path(
        self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, kind: str
    ) -> None:
        """Draw a line."""
        points = [f"{self._at_x(a):.1f} {self._at_y(b):.1f}" for a, b in zip(x, y, strict=True)]
        self._parts.append(f'<path class="{kind}" d="M{"L".join(points)}"/>')

    def box(self, left: float, right: float, low: float, high: float, kind: str) -> None:
        """Draw a rectangle."""
        x, y = self._at_x(left), self._at_y(high)
        width, height = self._at_x(right) - x, self._at_y(low) - y
        self._parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{max(height, 0.5):.1f}"/>'
        )

    def band(self, left: float, right: float, kind: str) -> None:
        """Shade a part of the horizontal axis."""
        if right > left:
            self.box(left, right, *self._y, kind)

    def dots(self, x: np.ndarray, y: np.ndarray, kind: str) -> None:
        """Draw points."""
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            center = f'cx="{self._at_x(a):.1f}" cy="{self._at_y(b):.1f}"'
            self._parts.append(f'<circle class="{kind} fill" {center} r="2.4"/>')

    def _below(self, at: float, text: str, anchor: str) -> None:
        self._parts.append(
            f'<text class="label {anchor}" x="{self._at_x(at):.1f}" y="{_HEIGHT - 7}">'
            f"{escape(text)}</text>"
        )

    def _at_x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def _at_y(self, value: float) -> float:
        low, high = self._y
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _svg(height: int, alt: str, content: str) -> str:
    words = escape(alt, quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{words}">'
        f"<title>{words}</title>{content}</svg>"
    )


def _round_numbers(low: float, high: float) -> list[float]:
    """Return about four round numbers in a range."""
    rough = (high - low) / _TICKS
    size = 10.0 ** np.floor(np.log10(rough))
    step = min((size * n for n in (1, 2, 2.5, 5, 10)), key=lambda one: abs(np.log(one / rough)))
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(n * step) for n in np.arange(first, last + 1)]


def _number(value: float) -> str:
    if abs(value) >= 1e4 and value == round(value):
        for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.4g}{unit}"
    return f"{value + 0.0:.4g}"


def _shorter(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
