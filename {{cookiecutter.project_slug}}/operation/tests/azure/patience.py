"""For tests of faults: the Azure clients pause for seconds before they try again."""

import pytest


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the clients try again at once; the list gets the seconds they meant to wait."""
    from azure.core.pipeline.transport import HttpTransport

    pauses: list[float] = []
    monkeypatch.setattr(HttpTransport, "sleep", lambda self, duration: pauses.append(duration))
    return pauses
