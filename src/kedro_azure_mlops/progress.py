"""Progress of work over rows: how many, which share, how long it will take."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Logs how far work over rows has come, at most a line every five seconds.

    Shorter work logs nothing.

    Parameters
    ----------
    what
        What is done to the rows, "Scored": the line begins with it.
    total
        How many rows there are; None if that is not known.
    logger
        Where the lines go, at level INFO.
    clock
        Returns seconds.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        logger: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done = 0
        self._what, self._total, self._logger, self._clock = what, total, logger, clock
        self._begun = self._last = clock()

    def advance(self, rows: int, share: float | None = None) -> None:
        """Count rows that are done.

        Parameters
        ----------
        share
            How much of the work is done, from 0 to 1, where that is known without the number of
            rows: of the bytes of a file, say.
        """
        self.done += rows
        now = self._clock()
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        share = self.done / self._total if self._total else share
        left = ""
        if share:
            seconds = round((now - self._begun) * (1 / share - 1))
            left = f", {share:.0%}, about {timedelta(seconds=seconds)} left"
        self._logger.info("%s %s rows%s", self._what, f"{self.done:,}", left)
