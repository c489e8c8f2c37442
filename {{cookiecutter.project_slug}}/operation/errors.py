"""Errors of the verbs: shown without a traceback, with a telling exit status."""


class OperationError(Exception):
    """A verb could not be tried (exit status 2): the message says what, where and what to do."""

    exit_code = 2
