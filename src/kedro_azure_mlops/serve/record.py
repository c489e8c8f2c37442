"""Record answers without delaying them: time, request, latency, columns.

A server puts the columns of a request into a bounded queue; a thread writes them every 0.8 seconds
(see ``SECONDS``) in the format of ``kedro_azure_mlops.serve.parts``. Rows that do not fit into the
queue or onto the disk are dropped and counted. ``kedro mlops monitor`` reads the files.

Environment variables configure a server; ``kedro mlops serve`` sets them from ``recording`` in
``mlops.yml``: ``RECORD_FOLDER`` switches recording on; ``RECORD_SHARE``,
``RECORD_MAX_MEGABYTES``, ``RECORD_KEEP_DAYS``, ``RECORD_LEAVE_OUT`` (names, as a JSON list) and
``RECORD_PYTHON`` (a Python with pyarrow) are optional.
"""

import atexit
import contextlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from kedro_azure_mlops.contract import Schema
from kedro_azure_mlops.serve.parts import (
    LINES,
    PARQUET,
    ZIPPED,
    Answered,
    Form,
    joined,
    lock,
)

logger = logging.getLogger(__name__)

SECONDS = 0.8  # between writes: with the write itself, a killed process loses less than a second
MOST_ROWS = 250_000  # waiting to be written, some 30 MB; a single request may have more
MOST_CHARACTERS = 50_000_000  # in the texts of waiting rows
_ROWS_TO_WAKE = 10_000  # trigger an immediate write, which frees their memory
_ROWS_PER_LINE = 2_000  # about: requests are answered between two lines
_SECONDS_BETWEEN_SWEEPS = 60
_SECONDS_TO_COMPACT = 10  # when a server stops; the next one compacts the rest
_PARTS = 10  # limits a file, and what a sweep frees, to a tenth of the allowed size
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


@dataclass(frozen=True)
class Settings:
    """The folder for recorded answers, and which answers to record.

    Parameters
    ----------
    share
        Fraction of requests to record, above 0 and at most 1. They are chosen by their ids, so a
        request is recorded completely, and by all servers or none.
    max_megabytes, keep_days
        Limits of the folder; the oldest files are removed first.
    leave_out
        Columns of the model that are never written.
    python
        Python with pyarrow that converts finished files to Parquet; None: the running one.
    """

    folder: Path
    share: float = 1.0
    max_megabytes: float = 1000.0
    keep_days: float = 30.0
    leave_out: tuple[str, ...] = ()
    python: str | None = None

    def variables(self) -> dict[str, str]:
        """Return the environment variables that pass these settings to a server."""
        return {
            "RECORD_FOLDER": str(self.folder),
            "RECORD_SHARE": str(self.share),
            "RECORD_MAX_MEGABYTES": str(self.max_megabytes),
            "RECORD_KEEP_DAYS": str(self.keep_days),
            "RECORD_LEAVE_OUT": json.dumps(self.leave_out),
        } | ({"RECORD_PYTHON": self.python} if self.python else {})

    @classmethod
    def from_variables(cls, given: Mapping[str, str] = os.environ) -> "Settings | None":
        """Return the settings from environment variables; None if they name no folder.

        Raises
        ------
        ValueError
            If a variable is invalid; the message names it and its valid values.
        """
        folder = given.get("RECORD_FOLDER")
        if not folder:
            return None
        try:
            names = json.loads(given.get("RECORD_LEAVE_OUT") or "[]")
            if not isinstance(names, list):
                raise ValueError
        except ValueError:
            raise ValueError(
                'RECORD_LEAVE_OUT must be a JSON list of columns, such as ["name"]'
            ) from None
        return cls(
            Path(folder),
            _number(given, "RECORD_SHARE", cls.share, most=1.0),
            _number(given, "RECORD_MAX_MEGABYTES", cls.max_megabytes),
            _number(given, "RECORD_KEEP_DAYS", cls.keep_days),
            tuple(map(str, names)),
            given.get("RECORD_PYTHON") or None,
        )


class Recorder:
    """Writes the answers passed to ``put``, from ``start`` until ``close``.

    ``recorded`` and ``dropped`` count rows. Write errors are never raised: they are logged once,
    until writing works again.

    Parameters
    ----------
    digest
        Digest of the model that answers.
    clock
        Returns nanoseconds since 1970, UTC.

    Raises
    ------
    ValueError
        If the folder cannot be written, or ``leave_out`` names an unknown column.
    """

    def __init__(
        self,
        settings: Settings,
        schema: Schema,
        digest: str,
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.settings = settings
        self.recorded = self.dropped = 0
        self._clock = clock
        self._form = Form(schema, digest, settings.leave_out)
        self._texts = [one.name for one in schema.inputs if one.type == "string"]
        self._waiting: list[Answered] = []
        self._rows_waiting = self._characters_waiting = 0
        self._queue = threading.Lock()  # held only while appending
        self._disk = threading.Lock()
        self._ended = threading.Event()
        self._wake = threading.Event()  # makes the thread write early
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._is_failing = False
        self._begin()
        try:
            settings.folder.mkdir(parents=True, exist_ok=True)
            probe = settings.folder / f".{self._name}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ValueError(
                f"{settings.folder} cannot be written ({error.strerror}), so answers cannot "
                "be recorded there: name another folder, or switch recording off"
            ) from error

    def start(self) -> None:
        """Compact the leftovers of dead processes, and start to write every ``SECONDS``."""
        self.flush()
        self._compact()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        _all.add(self)

    def put(
        self,
        request_id: str,
        seconds: float,
        columns: Mapping[str, np.ndarray],
        outputs: Sequence[Sequence[Any]],
    ) -> None:
        """Queue an answered request for writing, and return immediately.

        Parameters
        ----------
        seconds
            Duration of the answer; NaN if it was not measured.
        columns
            Inputs, as passed to the scorer.
        outputs
            Lists of the values in the answer, in the order of the schema.
        """
        if self.settings.share < 1 and not is_sampled(request_id, self.settings.share):
            return
        rows = len(outputs[0]) if outputs else len(next(iter(columns.values())))
        texts = {name: joined(columns[name].tolist()) for name in self._texts}
        characters = sum(map(_characters, texts.values()))
        one = Answered(self._clock(), request_id, seconds, rows, {**columns, **texts}, outputs)
        with self._queue:
            is_full = self._waiting and (
                self._rows_waiting + rows > MOST_ROWS
                or self._characters_waiting + characters > MOST_CHARACTERS
            )
            if is_full or self._ended.is_set():
                self.dropped += rows
                return
            self._waiting.append(one)
            self._rows_waiting += rows
            self._characters_waiting += characters
            if self._rows_waiting > _ROWS_TO_WAKE:
                self._wake.set()

    def write(
        self, name: str, columns: Mapping[str, np.ndarray], outputs: Sequence[Sequence[Any]]
    ) -> None:
        """Write rows of a file immediately; if ``share`` is below 1, rows are sampled separately.

        Parameters
        ----------
        name
            Name of the piece of the file, recorded as the request's id.
        columns, outputs
            As for ``put``.
        """
        rows = len(next(iter(columns.values())))
        if self.settings.share < 1:
            generator = np.random.default_rng(zlib.crc32(name.encode()))
            kept = generator.random(rows) < self.settings.share
            columns = {column: values[kept] for column, values in columns.items()}
            outputs = [list(compress(values, kept)) for values in outputs]
            rows = int(kept.sum())
        if rows:
            self._waiting.append(Answered(self._clock(), name, math.nan, rows, columns, outputs))
            self.flush()

    def abandon(self) -> None:
        """Stop, and remove the rows that ``write`` has written; do nothing after ``close``."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._end_part()
        for lines in self._paths:
            for suffix in (LINES, ZIPPED, PARQUET):
                lines.with_name(lines.name.removesuffix(LINES) + suffix).unlink(missing_ok=True)

    def flush(self) -> None:
        """Write the queue, start a new file every hour, and keep the folder within its limits."""
        with self._disk:
            with self._queue:
                waiting, self._waiting = self._waiting, []
                self._rows_waiting = self._characters_waiting = 0
            failed = False
            for answered in _in_lines(waiting):
                try:
                    self._append(answered)
                except Exception as error:  # noqa: BLE001, a server continues
                    failed = True
                    self.dropped += sum(one.rows for one in answered)
                    self._fail(error)
                time.sleep(0)  # lets requests run between lines
            if waiting and self._is_failing and not failed:
                self._is_failing = False
                logger.warning("Answers are being recorded again.")
            try:
                self._rotate_and_sweep()
            except OSError as error:
                logger.warning("%s was not cleaned up: %s", self.settings.folder, error)

    def close(self, seconds: float | None = _SECONDS_TO_COMPACT) -> None:
        """Write the queue and compact the files, within the given number of seconds."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._wake.set()
        atexit.unregister(self.close)
        if self._thread is not None:
            self._thread.join()
        self.flush()
        self._end_part()
        self._wait_for_child(seconds)  # it may have missed the last file
        self._compact()
        self._wait_for_child(seconds)

    def _wait_for_child(self, seconds: float | None) -> None:
        if self._child is not None:
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def _begin(self) -> None:
        self._name = secrets.token_hex(4)  # identifies this writer in file names
        self._number = 0  # of the current file
        self._file: int | None = None
        self._paths: list[Path] = []  # the current file is last; all of them if a file is scored
        self._hour = ""
        self._size = 0  # bytes in the current file
        self._has_ended_parts = False
        self._since_sweep = 0  # bytes written
        self._swept = -(10**18)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.wait(SECONDS)
            self._wake.clear()
            self.flush()

    def _rotate_and_sweep(self) -> None:
        now, most = self._clock(), self.settings.max_megabytes * 1e6
        if self._child is not None:
            self._child.poll()  # reaps an ended process
        if self._file is not None and (self._hour != _hour(now) or self._size > most / _PARTS):
            self._end_part()
        if self._has_ended_parts and self._thread is not None:
            self._has_ended_parts = False
            self._compact()
        is_due = abs(now - self._swept) > _SECONDS_BETWEEN_SWEEPS * 10**9
        if is_due or self._since_sweep > most / _PARTS:
            self._sweep(now)

    def _append(self, answered: list[Answered]) -> None:
        """Write a complete line, or truncate the file to the previous one."""
        line = self._form.line(answered)
        file = self._opened(_hour(answered[0].at))
        written = 0
        try:
            while written < len(line):
                written += os.write(file, line[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self._size)
            raise
        self._size += len(line)
        self._since_sweep += len(line)
        self.recorded += sum(one.rows for one in answered)

    def _opened(self, hour: str) -> int:
        """Return this writer's file for an hour; create it if it does not exist or was removed."""
        exists = self._file is not None and os.fstat(self._file).st_nlink > 0
        if self._file is not None and exists and self._hour == hour:
            return self._file
        self._end_part()
        day, _, hour_of_day = hour.partition(" ")
        while True:
            self._number += 1
            name = f"{hour_of_day}-{self._name}-{self._number:04}{LINES}"
            path = self.settings.folder / day / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o640)
            except FileNotFoundError:  # another process removed the folder while it was empty
                continue
            if lock(file) is not False and os.fstat(file).st_nlink:
                break
            os.close(file)  # another process has compacted it before it was locked
        self._paths = [path] if self._thread else [*self._paths, path]
        self._file, self._hour, self._size = file, hour, 0
        return file

    def _end_part(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file, self._size, self._has_ended_parts = None, 0, True

    def _compact(self) -> None:
        """Compact finished files in a separate process, so that this one keeps answering."""
        if self._child is not None and self._child.poll() is None:
            return  # still running: the next hour's process compacts the rest
        command = [self.settings.python or sys.executable, "-m", "kedro_azure_mlops.serve.parts"]
        path = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
        if not any(self.settings.folder.glob(f"*/*{LINES}")):
            return
        try:
            self._child = subprocess.Popen(
                [*command, str(self.settings.folder)],
                env=os.environ | path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except OSError as error:
            logger.warning("Answers are not compacted: %s does not run: %s", command[0], error)

    def _sweep(self, now: int) -> None:
        """Remove expired files, then the oldest ones until the rest fits."""
        self._swept, self._since_sweep = now, 0
        with os.scandir(self.settings.folder) as entries:
            days = sorted(one.path for one in entries if _DAY.fullmatch(one.name))
        oldest = _hour(now - int(self.settings.keep_days * 86_400e9)).partition(" ")[0]
        while days and os.path.basename(days[0]) < oldest:  # noqa: PTH119, faster
            shutil.rmtree(days.pop(0), ignore_errors=True)
        sizes = {path: size for day in days for path, size in _files(day)}
        left = sum(sizes.values())
        for path, size in sizes.items():
            if left <= self.settings.max_megabytes * 1e6 * (1 - 1 / _PARTS):
                break
            if self._file is None or path != str(self._paths[-1]):
                Path(path).unlink(missing_ok=True)
                left -= size
        for day in days[:-1]:
            with contextlib.suppress(OSError):  # the folder is not empty
                Path(day).rmdir()

    def _fail(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.error(
                "Answers cannot be recorded in %s: %s. They are dropped and counted.",
                self.settings.folder,
                error,
            )


def identified(given: str | None) -> str:
    """Return the id sent with a request if it is valid, or a new one."""
    return given if given and _ID.fullmatch(given) else secrets.token_hex(8)


def is_sampled(request_id: str, share: float) -> bool:
    """Return whether a request belongs to the recorded share."""
    return zlib.crc32(request_id.encode()) < share * 2**32


def _number(variables: Mapping[str, str], name: str, default: float, most: float = 1e9) -> float:
    text = variables.get(name)
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 < value <= most:
        raise ValueError(f"{name} is {text}: it must be a number above 0, at most {most:g}")
    return value


def _characters(texts: str | list[str | None]) -> int:
    return len(texts) if isinstance(texts, str) else len("".join(filter(None, texts)))


def _hour(at: int) -> str:
    return datetime.fromtimestamp(at // 10**9, UTC).strftime("%Y-%m-%d %H")


def _in_lines(waiting: list[Answered]) -> list[list[Answered]]:
    """Group requests into lines; no line spans two hours."""
    lines: list[list[Answered]] = []
    rows, hour = 0, -1
    for one in waiting:
        if not lines or rows >= _ROWS_PER_LINE or one.at // (3600 * 10**9) != hour:
            lines.append([])
            rows, hour = 0, one.at // (3600 * 10**9)
        lines[-1].append(one)
        rows += one.rows
    return lines


def _files(day: str) -> list[tuple[str, int]]:
    sizes = []
    with contextlib.suppress(FileNotFoundError), os.scandir(day) as files:
        for one in files:
            with contextlib.suppress(FileNotFoundError):  # other processes remove files, too
                sizes.append((one.path, one.stat().st_size))
    return sorted(sizes)


_all: "weakref.WeakSet[Recorder]" = weakref.WeakSet()


def _restart_after_fork() -> None:
    """Start new files in a forked process: Azure's server may load the model before it forks."""
    for recorder in list(_all):
        recorder._queue, recorder._disk = threading.Lock(), threading.Lock()
        recorder._wake = threading.Event()
        recorder._waiting = []
        recorder._rows_waiting = recorder._characters_waiting = 0
        recorder._child = None
        if recorder._file is not None:
            os.close(recorder._file)
        recorder._begin()
        recorder._thread = threading.Thread(target=recorder._run, name="recorder", daemon=True)
        recorder._thread.start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_after_fork)
