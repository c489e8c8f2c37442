"""What this process says, without secrets: its standard streams, log lines and tracebacks."""

import logging
import sys
import threading
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TextIO

from .redaction import Redactor, redact

_LONGEST = 65_536  # characters that are held back for the end of their line


class RedactingFormatter(logging.Formatter):
    """Hides the secrets in what another formatter makes of a log record and its traceback."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines, of a record."""
        return redact(self._formatter.format(record))


def protect_logs() -> None:
    """Hide secrets in what the handlers of the root logger write."""
    for handler in logging.getLogger().handlers:
        formatter = handler.formatter or logging.Formatter()
        if not isinstance(formatter, RedactingFormatter):
            handler.setFormatter(RedactingFormatter(formatter))


class RedactedStream:
    """A text stream that hides secrets; in all else it is the stream that it wraps.

    The beginning of a line waits for the end of it, or to be flushed. Where the stream is line
    buffered, as in a terminal, a carriage return ends a line too: so progress bars are seen. A
    stream that writes through (``python -u``) gets each piece at once: there a secret is hidden if
    it is, with its name where it has no form of its own, in one piece. A private key is hidden to
    its end, however many pieces it comes in.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._redactor = Redactor()
        self._begun = ""
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the lines that are whole."""
        with self._lock:
            end = text.rfind("\n") + 1
            if getattr(self._stream, "line_buffering", False):
                end = max(end, text.rfind("\r") + 1)
            if getattr(self._stream, "write_through", False):
                end = len(text)
            begun, self._begun = self._begun + text[:end], text[end:]
            if end == 0 and len(begun) + len(text) <= _LONGEST:
                self._begun = begun + text
            else:
                self._write(begun)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write also what is begun of a line."""
        with self._lock:
            self._write_begun()
            self._stream.flush()

    def close(self) -> None:
        """Write what is begun of a line and close the stream."""
        with self._lock:
            self._write_begun()
            self._stream.close()

    def __enter__(self) -> "RedactedStream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write_begun(self) -> None:
        begun, self._begun = self._begun, ""
        self._write(begun)

    def _write(self, text: str) -> None:
        if hidden := self._redactor.redact(text):
            self._stream.write(hidden)


def protect_output() -> None:
    """Hide secrets in all that this process prints from here on, tracebacks and warnings too.

    Not protected: bytes that are written past the streams, and child processes that inherit them.
    """
    sys.stdout, sys.stderr = _protected(sys.stdout), _protected(sys.stderr)
    if getattr(sys.excepthook, "__self__", None).__class__ is not _Excepthook:
        sys.excepthook = _Excepthook(sys.excepthook).show


class _Excepthook:
    def __init__(self, before: Any) -> None:
        self._before = before

    def show(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Show a traceback as before, unless there is something to hide.

        The frames that rich draws break lines, and a secret in two pieces is not recognised.
        """
        text = "".join(traceback.format_exception(kind, error, trace))
        hidden = redact(text)
        if hidden == text:
            self._before(kind, error, trace)
        else:
            sys.stderr.write(hidden)
            sys.stderr.flush()


def _protected(stream: Any) -> Any:
    """Wrap a stream, once; a process without a console has none."""
    is_done = stream is None or isinstance(stream, RedactedStream)
    return stream if is_done else RedactedStream(stream)
