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


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class GateParameters(_Parameters):
    """When a challenger may become champion."""

    metric: Literal["average_precision", "roc_auc", "event_recall"]
    minimum: float
    champion_tolerance: float = Field(ge=0)
    must_beat: list[Literal["distance_from_median", "ewma_level", "random"]]
    max_share_flagged: Share
    on_incomparable: Literal["refuse", "replace"]
    require_labels: bool
