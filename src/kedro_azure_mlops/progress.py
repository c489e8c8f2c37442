"""Show the progress of work over rows, and a spinner while a command prints nothing.

rich draws the spinner. It is imported on use: servers and updates with only click work without it.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

__all__ = ["Activity", "Progress", "shown_activity"]

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_FRAMES = 0.1
_SILENCE = 2.0  # seconds without a line until the spinner appears

Report = Callable[[str], None]
_spinner_report: Report | None = None  # set while a command runs in a terminal


class Progress:
    """Reports the progress of work over rows: next to the spinner, or as log lines.

    A log gets at most one line every five seconds, and none for shorter work.

    Parameters
    ----------
    what
        The beginning of the line, such as "Scored".
    total
        The number of rows; None if unknown.
    logger
        The logger of the lines, at level INFO.
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
        self._started = self._last = clock()

    def advance(self, rows: int, share: float | None = None) -> None:
        """Count processed rows.

        Parameters
        ----------
        share
            The finished share of the work, from 0 to 1, if known without the number of rows, for
            example from the bytes of a file.
        """
        self.done += rows
        now = self._clock()
        pause = _SECONDS_BETWEEN_FRAMES if _spinner_report else _SECONDS_BETWEEN_LINES
        if now - self._last < pause:
            return
        self._last = now
        share = self.done / self._total if self._total else share
        left = ""
        if share:
            seconds = round((now - self._started) * (1 / share - 1))
            left = f", {share:.0%}, about {timedelta(seconds=seconds)} left"
        line = f"{self._what} {self.done:,} rows{left}"
        if _spinner_report:
            _spinner_report(line)
        else:
            self._logger.info("%s", line)


class Activity:
    """A spinner below the last line of a command that has not printed for two seconds.

    It never shows after an unfinished line, such as a question.

    Parameters
    ----------
    title
        The title of the work.
    stream
        A terminal.
    clock
        Returns seconds.
    """

    def __init__(
        self, title: str, stream: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._stream, self._clock = title, stream, clock
        self._started = self._last = clock()
        self._text, self._is_at_line_start = "", True
        self._bars: Any = None
        self._lock = threading.RLock()
        self._ended = threading.Event()

    def report(self, text: str) -> None:
        """Show a text next to the spinner, such as the progress of the work."""
        self._text = text

    def tick(self) -> None:
        """Draw the next frame, if it is due."""
        from kedro_azure_mlops.safety import redact

        with self._lock:
            if self._ended.is_set() or not self._is_at_line_start:
                return
            is_new = self._bars is None
            if is_new and self._clock() - self._last < _SILENCE:
                return
            self._bars = self._bars or _spinner(self._stream, self._clock, self._started)
            text = f"{self._title}: {self._text}" if self._text else self._title
            self._bars.update(self._bars.task_ids[0], description=redact(text))
            if is_new:
                self._bars.start()
            else:
                self._bars.refresh()

    def pause(self, text: str = "") -> None:
        """Remove the spinner, before this text is printed."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
                self._bars = None
            self._last = self._clock()
            self._is_at_line_start = text.endswith("\n") if text else self._is_at_line_start

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Draw from a thread, and remove the spinner before anything is printed."""
        global _spinner_report  # noqa: PLW0603, there is one terminal
        thread = threading.Thread(target=self.draw, daemon=True)
        before = sys.stdout, sys.stderr
        watched = _Watched(sys.stdout, self), _Watched(sys.stderr, self)
        sys.stdout, sys.stderr = watched  # type: ignore[assignment]
        _spinner_report = self.report
        handlers = _handlers()  # they hold the original streams
        for handler in handlers:
            handler.addFilter(self._make_room)
        thread.start()
        try:
            yield
        finally:
            _spinner_report = None
            for handler in handlers:
                handler.removeFilter(self._make_room)
            self._ended.set()
            self.pause()
            thread.join()
            # unless something else has wrapped them in the meantime
            sys.stdout = before[0] if sys.stdout is watched[0] else sys.stdout
            sys.stderr = before[1] if sys.stderr is watched[1] else sys.stderr

    def _make_room(self, _: logging.LogRecord) -> bool:
        self.pause("\n")
        return True

    def draw(self) -> None:
        """Draw frames until the activity ends."""
        with suppress(ImportError, OSError, ValueError):  # no rich, or the terminal was closed
            while not self._ended.wait(_SECONDS_BETWEEN_FRAMES):
                self.tick()


@contextmanager
def shown_activity(title: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Show a spinner while the block runs; in the log of a CI run, print its duration.

    Work shorter than two seconds shows nothing. A pipe or a file gets nothing.
    """
    from kedro_azure_mlops.ci import in_ci
    from kedro_azure_mlops.terminal import is_terminal, show_note

    if is_terminal(sys.stderr) and is_terminal(sys.stdout):
        with Activity(title, sys.stderr, clock).watching():
            yield
        return
    begun = clock()
    try:
        yield
    finally:
        if in_ci() and (seconds := clock() - begun) >= _SILENCE:
            show_note(title, f"took {timedelta(seconds=round(seconds))}")


class _Watched:
    """A stream that removes the spinner before each write."""

    def __init__(self, stream: Any, activity: Activity) -> None:
        self._stream, self._activity = stream, activity

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        self._activity.pause(text)
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


def _handlers() -> set[logging.Handler]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return {handler for logger in loggers for handler in getattr(logger, "handlers", ())}


def _spinner(stream: Any, clock: Callable[[], float], begun: float) -> Any:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    from kedro_azure_mlops.terminal import has_colors, or_ascii

    line = Column(no_wrap=True, overflow="ellipsis")
    shown = Bars(
        SpinnerColumn(or_ascii("dots", "line", "⠋", stream)),
        TextColumn("{task.description}", markup=False, table_column=line),
        TimeElapsedColumn(),
        console=Console(file=stream, color_system="auto" if has_colors(stream) else None),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        get_time=clock,
    )
    shown.add_task("", total=None)
    shown.tasks[0].start_time = begun
    # a killed process would leave the terminal without a cursor
    shown.console.show_cursor = lambda show=True: False  # type: ignore[method-assign]
    return shown
