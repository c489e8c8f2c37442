"""The trained model, for those who do not want to score with the one in service."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from ..errors import first_line
from ..models import Champion, load_detector
from ..scoring.digest import digest
from ..scoring.scorer import UnusableModelError


class TrainedModel(AbstractDataset[None, Champion]):
    """The model of the last run as if it was in service; its version begins its digest."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._folder = Path(filepath)  # not `filepath`: a run that is given it need not use it
        self.metadata = metadata

    def load(self) -> Champion:
        """Read the model folder; one that cannot be read is a ``problem``, as of a champion."""
        if not self._folder.is_dir():
            return Champion()
        try:
            return Champion(load_detector(self._folder), digest(self._folder)[:12])
        except (DatasetError, UnusableModelError, OSError) as error:
            return Champion(problem=first_line(error))

    def save(self, data: None) -> None:
        """Refuse: it is written by the entry ``detector``."""
        raise DatasetError("The trained model is saved by the catalog entry detector.")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._folder}
