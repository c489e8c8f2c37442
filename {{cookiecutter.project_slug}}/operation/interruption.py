"""Ctrl-C and its likes: a verb that is ended by a signal takes back what it has begun."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

INTERRUPTED = 130  # exit status, as shells have it
_ENDING = ("SIGTERM", "SIGHUP")


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt also where CI or a closed terminal ends the process."""

    def interrupt(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    with _handled(_ENDING, interrupt):
        yield


def until_interrupted(work: Callable[[], int], said: str) -> int:
    """Do the work of a verb; where it is ended by a signal, say what became of it."""
    try:
        with terminated_as_interrupted():
            return work()
    except KeyboardInterrupt:
        sys.stderr.write(f"{said}\n")
        return INTERRUPTED


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let nothing but a kill end what takes a moment: CI sends one signal after the other."""
    with _handled(("SIGINT", *_ENDING), signal.SIG_IGN):
        yield


@contextmanager
def _handled(names: tuple[str, ...], handler: Callable[..., Any] | int) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which gets all signals
        yield
        return
    numbers = [number for name in names if (number := getattr(signal, name, None))]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
