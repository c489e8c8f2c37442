"""What ends an update before anything is changed."""


class RefusedError(Exception):
    """The update could not be tried; the message says why and what to do (exit status 2)."""
