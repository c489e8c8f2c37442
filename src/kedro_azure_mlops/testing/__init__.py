"""A stand-in for Azure on loopback, for tests: ``StandIn``, and the fixture ``azure_stand_in``.

Every pytest run with the plugin installed imports this module, so it imports nothing itself.
"""

from typing import Any

__all__ = ["StandIn"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kedro_azure_mlops.testing import stand_in

    return getattr(stand_in, name)
