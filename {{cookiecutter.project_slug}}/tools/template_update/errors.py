"""What ends a command before its work is done, and what it says and answers then."""

import signal
import sys
import traceback
from collections.abc import Callable


class RefusedError(Exception):
    """The update could not be tried; the message says why and what to do (exit status 2)."""


def exit_status(program: str, work: Callable[[], int], unchanged: str = "") -> int:
    """Do the work of a command and return its exit status, also where it cannot be done.

    Parameters
    ----------
    unchanged
        What is so after an interruption or a fault, if that is known.
    """
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return work()
    except (RefusedError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted{unchanged and ', ' + unchanged}", file=sys.stderr)
        return 130
    except Exception:  # noqa: BLE001 - Python would end with 1, which means conflicts
        traceback.print_exc()
        fault = f"this is a fault of its own{unchanged and '; ' + unchanged}"
        print(f"{program}: {fault}", file=sys.stderr)
        return 2
