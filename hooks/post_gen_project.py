"""Say what to type next."""

import os
import subprocess
import sys
from shlex import quote


def quoted(path: str) -> str:
    """Return a path as the user's shell takes it."""
    return subprocess.list2cmdline([path]) if os.name == "nt" else quote(path)


# A console that cannot show a character must not turn a good render into a failed one.
sys.stdout.reconfigure(errors="backslashreplace")
print(
    f"""
The project is ready. Next:

  cd {quoted(os.getcwd())}
  make setup
  make run
"""
)
