"""How the core in ``src`` is executed, configured, watched and tested; the only place for Azure."""

import sys
from pathlib import Path

# `python -m operation.execution` starts beside src/, not in it.
_CORE = str(Path(__file__).resolve().parents[1] / "src")
if _CORE not in sys.path:
    sys.path.insert(0, _CORE)
