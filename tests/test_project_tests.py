"""The tests that a rendered project brings along."""

from collections.abc import Callable

import pytest
from helpers import InstalledProject

pytestmark = pytest.mark.slow


def test_pass(install: Callable[..., InstalledProject]) -> None:
    tested = install().make("test")
    assert tested.returncode == 0, tested.stdout[-5000:] + tested.stderr
    skipped = [line for line in tested.stdout.splitlines() if line.startswith("SKIPPED")]
    assert not [line for line in skipped if "test_serve" in line]
