"""A project without the sample has the same platform files; only its computation differs."""

import re
from collections.abc import Callable

import pytest

from tests.helpers import BakedProject

NAMES = {"project_name": "Own Problem", "package_name": "own", "description": "Solves it."}
COMPUTED = re.compile(
    r"src/own/pipelines/|operation/(configuration|tests)/|docs/|README\.md|AGENTS\.md|\.gitignore"
)
# Pins, the wheel, the licence, and patterns that need not match any file.
NOT_READ = re.compile(r"requirements/\w+\.txt|wheels/|LICENSE|\.template-owned")
SAMPLE_WORDS = re.compile(r"(?i)sensor|temperature|\breadings?\b|detector|anomal|test_sample|°C")


@pytest.fixture(scope="module")
def empty(baked: Callable[..., BakedProject]) -> BakedProject:
    """A project without the sample, with the files of both providers."""
    return baked(sample="none", ci_provider="both", **NAMES)


def test_platform_files_match_those_of_the_sample(
    baked: Callable[..., BakedProject], empty: BakedProject
) -> None:
    """The tests of CI, Bicep, the Makefile and the ops scripts thus apply to both."""
    sample = baked(ci_provider="both", **NAMES)
    both = sample.files & empty.files
    pairs = {n: [(p.path / n).read_bytes() for p in (sample, empty)] for n in both}
    differ = {name for name, (one, other) in pairs.items() if one != other}
    assert [name for name in sorted(differ) if not COMPUTED.match(name)] == []
    platform = {name for name in both if not COMPUTED.match(name)}
    for folder in (".github/", "azure_pipelines/", "operation/execution/", "requirements/"):
        assert any(name.startswith(folder) for name in platform)


def test_nothing_mentions_the_sample(empty: BakedProject) -> None:
    mentions = {
        f"{name}: {line}"
        for name in empty.files
        if not NOT_READ.match(name)
        for line in empty.read(name).splitlines()
        if SAMPLE_WORDS.search(line)
    }
    assert sorted(mentions) == []


def test_the_project_has_the_usual_pipelines(empty: BakedProject) -> None:
    names = {name.split("/")[3] for name in empty.files if "/pipelines/" in name}
    names.discard("__init__.py")
    assert names == {"pre_processing", "data_engineering", "data_science", "metrics"}


def test_the_gate_is_marked_as_not_set(empty: BakedProject) -> None:
    assert empty.yaml("operation/configuration/base/mlops.yml")["gate"] == {"rules": []}
    assert "rules: [] # not set" in empty.read("operation/configuration/base/mlops.yml")


def test_the_data_file_is_not_ignored_by_git(empty: BakedProject) -> None:
    parameters = empty.yaml("operation/configuration/base/parameters.yml")
    assert empty.has_file(parameters["rows_file"])
    assert f"!/{parameters['rows_file']}\n" in empty.read(".gitignore")
