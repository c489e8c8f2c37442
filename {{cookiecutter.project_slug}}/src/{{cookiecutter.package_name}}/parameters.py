"""Typed parameters: a wrong name or type in ``parameters.yml`` stops the run before any node."""

from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


def _positive_span(text: str) -> str:
    """Accept a length of time that pandas can read, such as ``7D`` or ``12h``."""
    if not pd.Timedelta(text) > pd.Timedelta(0):
        raise ValueError(f"{text!r} is not a length of time above zero, such as 7D or 12h")
    return text


Span = Annotated[str, AfterValidator(_positive_span)]
Metric = Literal[
    "roc_auc",
    "average_precision",
    "event_recall",
    "false_alarms_per_week",
    "alarms_per_week",
    "share_flagged",
]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ValidationParameters(_Parameters):
    """What a reading can be; the catalog checks it when a file is read, a server in a request."""

    minimum: float
    maximum: float
    stuck_clock_rows: int = Field(ge=1)


class CleaningParameters(_Parameters):
    """Shares of rows above which a file is refused instead of repaired."""

    max_repeated: Share
    max_unordered: Share
    max_in_gaps: Share
    max_jittered: Share
    gap_steps: float = Field(gt=1)


class FeatureParameters(_Parameters):
    """How a reading is described by what came before it."""

    gap_steps: float = Field(gt=1)
    std_floor: float = Field(gt=0)
    seasonal_halflife_days: float = Field(gt=0)


class DetectorParameters(_Parameters):
    """The isolation forest, its threshold and its refits."""

    n_estimators: int = Field(ge=1)
    max_samples: int = Field(ge=2)
    contamination: float = Field(gt=0, lt=0.5)
    refit_every: Span | None
    seed: int = Field(ge=0, lt=2**32)


class EvaluationParameters(_Parameters):
    """How flagged rows become alarms."""

    alarm_hold: Span


class ScoreParameters(_Parameters):
    """What is scored, with which model and in pieces of which size."""

    input: str | None
    output: str
    model: Literal["champion", "trained"]
    rows_per_piece: int = Field(ge=1)


class BacktestParameters(_Parameters):
    """What a walk over the history compares, and what counts as a gain."""

    start_fraction: float = Field(gt=0, lt=1)
    refit_every: list[Span | None] = Field(min_length=1)
    period: Span
    worthwhile: float = Field(ge=0)


class GateParameters(_Parameters):
    """When a challenger may become champion; a metric with null is not looked at."""

    metric: Literal["average_precision", "roc_auc", "event_recall"]
    minimum: dict[Metric, float | None]
    champion_tolerance: dict[Metric, Annotated[float, Field(ge=0)] | None]
    must_beat: list[Literal["distance_from_median", "ewma_level", "random"]]
    max_share_flagged: Share
    max_latency_ms: float = Field(gt=0)
    max_size_mb: float = Field(gt=0)
    on_incomparable: Literal["refuse", "replace"]
    require_labels: bool
