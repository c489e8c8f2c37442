"""Errors that a person can mend: shown without a traceback, with a telling exit status."""


class ProjectError(Exception):
    """Something could not be tried (exit status 2): the message says what, where and what to do."""

    exit_code = 2


def first_line(error: Exception) -> str:
    """Shorten an error to what fits in a sentence."""
    return next(iter(str(error).splitlines()), type(error).__name__)
