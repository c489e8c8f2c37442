"""Types for a project's typed parameters: a wrong one stops a run before its first node."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["Parameters", "Share", "Span"]


class Parameters(BaseModel):
    """A group of ``parameters.yml`` that refuses unknown names and is not changed by nodes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _positive_span(text: str) -> str:
    import pandas as pd

    if not pd.Timedelta(text) > pd.Timedelta(0):
        raise ValueError(f"{text!r} is not a length of time above zero, such as 7D or 12h")
    return text


Share = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1."""

Span = Annotated[str, AfterValidator(_positive_span)]
"""A length of time that pandas can read, such as ``7D`` or ``12h``."""
