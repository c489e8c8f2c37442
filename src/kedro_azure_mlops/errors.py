"""Errors that a person can fix: shown without a traceback, with a meaningful exit status."""


class OperationError(Exception):
    """Something could not be tried (exit status 2); the message says what, where and what to do."""

    exit_code = 2


class RefusedError(Exception):
    """The answer is no (exit status 1); the message says why and what to do."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
