"""Variables of the environment, as CI systems and people set them."""

import os


def variable(name: str) -> str:
    """Read a variable; Azure Pipelines passes one that is not defined as ``$(NAME)``."""
    value = os.environ.get(name, "").strip()
    return "" if value.startswith("$(") else value
