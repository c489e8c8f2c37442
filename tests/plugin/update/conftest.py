"""A fixture that renders this template once; the others come from the top-level conftest."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from tests.plugin.update.rendering import Rendered


@pytest.fixture(scope="package")
def baked(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Rendered]:
    """Render the whole template, once."""

    @cache
    def render() -> Rendered:
        output = str(tmp_path_factory.mktemp("baked"))
        return Rendered(
            Path(cookiecutter(str(template), no_input=True, default_config=True, output_dir=output))
        )

    return render
