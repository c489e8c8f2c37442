"""Fixtures: a shell of its own, and this very template with hardly a file to render."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config

from tests.plugin.update.rendering import LEAKING, PROJECT, ROOT, Rendered


@pytest.fixture(scope="package", autouse=True)
def _opened_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep out the settings of whoever runs the tests, and leave nothing in their home."""
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as shell:
        for name in list(os.environ):
            if name.startswith(LEAKING):
                shell.delenv(name)
        shell.setenv("HOME", home)
        shell.setenv("USERPROFILE", home)
        shell.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(scope="package")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's questions and hooks with hardly a file to render."""
    copy = tmp_path_factory.mktemp("questions")
    shutil.copy(ROOT / "cookiecutter.json", copy)
    shutil.copytree(ROOT / "hooks", copy / "hooks", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / PROJECT).mkdir()
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / PROJECT / name, copy / PROJECT)
    return copy


@pytest.fixture
def derive() -> Callable[..., dict[str, str]]:
    """Answer the questions and return all variables, rendering no file."""

    def answer(**answers: str) -> dict[str, str]:
        context = generate_context(str(ROOT / "cookiecutter.json"), extra_context=answers)
        return dict(prompt_for_config(context, no_input=True))

    return answer


@pytest.fixture(scope="package")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Rendered]:
    """Render the whole template, once."""

    @cache
    def render() -> Rendered:
        template = tmp_path_factory.mktemp("template")
        junk = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", "*.egg-info")
        shutil.copy(ROOT / "cookiecutter.json", template)
        for folder in ("hooks", PROJECT):
            shutil.copytree(ROOT / folder, template / folder, ignore=junk)
        output = str(tmp_path_factory.mktemp("baked"))
        return Rendered(
            Path(cookiecutter(str(template), no_input=True, default_config=True, output_dir=output))
        )

    return render
