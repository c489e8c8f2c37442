"""Errors that users can fix: shown without a traceback, with a meaningful exit status."""


class _ShownError(Exception):
    """An error in parts: what happened, where, and what to do next; its text has all of them."""

    def __init__(
        self, what: object = "", *, where: str | None = None, next: str | None = None
    ) -> None:
        super().__init__(what)
        self.where, self.next = where, next

    @property
    def what(self) -> str:
        """The first part: what happened."""
        return super().__str__()

    def __str__(self) -> str:
        parts = {"where": self.where, "next": self.next}
        more = [f"{name}: {text}" for name, text in parts.items() if text]
        return "\n".join([self.what, *more])


class OperationError(_ShownError):
    """An operation failed (exit status 2); the message says what, where and how to fix it."""

    exit_code = 2


class RefusedError(_ShownError):
    """A check refused the request (exit status 1); the message gives the reason and the fix."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
