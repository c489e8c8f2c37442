"""The tests of a rendered project."""

from collections.abc import Callable

import pytest

from tests.helpers import InstalledProject

pytestmark = pytest.mark.slow


def test_the_tests_of_a_rendered_project_pass(install: Callable[..., InstalledProject]) -> None:
    tested = install().make("test")
    assert tested.returncode == 0, tested.stdout[-5000:] + tested.stderr
    assert " skipped" not in tested.stdout.splitlines()[-1]
