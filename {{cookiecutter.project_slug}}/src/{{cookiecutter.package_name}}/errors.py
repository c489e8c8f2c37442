"""Errors that a person can mend: shown without a traceback, with a telling exit status."""


class ProjectError(Exception):
    """Something could not be tried (exit status 2): the message says what, where and what to do."""

    exit_code = 2
