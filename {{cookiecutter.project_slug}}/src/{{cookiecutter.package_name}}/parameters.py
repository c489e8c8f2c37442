"""Typed parameters: a wrong name or type in ``parameters.yml`` stops the run before any node."""

from typing import Annotated, Any, Literal

from kedro_azure_mlops.estimators import new_estimator, refuse_unusable
from kedro_azure_mlops.parameters import Parameters, Share, Span
from pydantic import Discriminator, Field, Tag, WrapValidator, model_validator

from .detector import SCORES
from .features import FEATURES
from .score import TRUSTED

_USUAL = "sklearn.ensemble.IsolationForest"  # known to be fine: trying it would take each run time


_Window = Annotated[Span, WrapValidator(lambda text, check: text if text == "all" else check(text))]
_Holdout = Annotated[
    Annotated[float, Field(gt=0, lt=1), Tag("share")] | Annotated[Span, Tag("span")],
    Discriminator(lambda given: "span" if isinstance(given, str) else "share"),
]


class TrainingParameters(Parameters):
    """The newest readings to learn from, and how many of them judge the model first.

    ``window`` is ``all`` or a span before the newest reading; ``holdout`` is a share of the
    readings in it, the newest ones, or a span.
    """

    window: _Window
    holdout: _Holdout
    refit_on_all_after_gate: bool


class ValidationParameters(Parameters):
    """Bounds of a reading; the catalog checks them when a file is read, a server in a request."""

    minimum: float
    maximum: float
    stuck_clock_rows: int = Field(ge=1)


class CleaningParameters(Parameters):
    """Shares of rows above which a file is refused instead of repaired."""

    max_repeated: Share
    max_unordered: Share
    max_in_gaps: Share
    max_jittered: Share
    max_error_codes: Share = 0.05
    gap_steps: float = Field(gt=1)


class FeatureParameters(Parameters):
    """How a reading is described by what came before it."""

    gap_steps: float = Field(gt=1)
    std_floor: float = Field(gt=0)
    seasonal_halflife_days: float = Field(gt=0)


class DetectorParameters(Parameters):
    """The estimator, its threshold and its refits.

    ``estimator`` is any class with ``fit`` and with ``score_samples`` or ``decision_function``,
    lower for what is more unusual, as scikit-learn has it. It is refused here, before any node
    runs, if it cannot be used or cannot be stored without pickle.
    """

    estimator: str
    arguments: dict[str, Any]
    contamination: float = Field(gt=0, lt=0.5)
    refit_every: Span | None
    seed: int = Field(ge=0, lt=2**32)

    def new_estimator(self) -> Any:
        """Return an unfitted estimator; it gets the seed if it takes one."""
        return new_estimator(self.estimator, self.arguments, self.seed)

    @model_validator(mode="after")
    def _can_be_used(self) -> "DetectorParameters":
        if self.estimator != _USUAL or self.arguments:
            refuse_unusable(self.estimator, self.arguments, SCORES, len(FEATURES), trusted=TRUSTED)
        return self


class EvaluationParameters(Parameters):
    """How flagged rows become alarms."""

    alarm_hold: Span


class ScoreParameters(Parameters):
    """The files to score, the model, whether flags are explained, and the size of a piece."""

    input: str | None
    output: str
    model: Literal["champion", "trained"]
    explain: bool = False
    rows_per_piece: int = Field(ge=1)
