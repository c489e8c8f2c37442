"""Errors of the verbs: shown without a traceback, with a telling exit status."""


class OperationError(Exception):
    """A verb could not be tried (exit status 2): the message says what, where and what to do."""

    exit_code = 2


class RefusedError(Exception):
    """The answer of a verb is no (exit status 1): the message says why and what to do."""

    exit_code = 1
