"""Readings that are scored piece by piece, so that any number of them fits into memory."""

from .model import TrainedModel
from .readings import NewReadings
from .scores import NewScores

__all__ = ["NewReadings", "NewScores", "TrainedModel"]
