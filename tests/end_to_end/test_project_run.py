"""The results of a run of the default project, and the data it rejects."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import InstalledProject, read_hook_words, read_manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ran(install: Callable[..., InstalledProject]) -> InstalledProject:
    """The default project after its first run."""
    project = install()
    first = project.make("run")
    assert first.returncode == 0, first.stdout + first.stderr
    (project.path / "first.log").write_text(first.stdout + first.stderr, encoding="utf-8")
    return project


def test_prints_the_metrics_and_the_decision(ran: InstalledProject) -> None:
    output = ran.read("first.log")
    assert "Gate: PASSED" in output
    assert "event recall" in output


def test_tracks_the_run_and_makes_the_model_champion(ran: InstalledProject) -> None:
    tracked = ran.tracked()
    (run,) = tracked.runs
    assert run["status"] == "FINISHED"
    assert run["metrics"]["average_precision"] > 0.3
    assert tracked.versions == [1]
    assert tracked.models == {"temperature-anomalies": {"champion": 1}}


def test_writes_a_score_for_every_reading(ran: InstalledProject) -> None:
    scores = ran.read("data/processed/scores.csv").splitlines()
    readings = ran.read("data/raw/temperatures.csv").splitlines()
    assert scores[0] == "timestamp,sensor_id,temperature,score,is_anomaly"
    assert len(scores) == len(readings)


def test_refuses_a_worse_model_and_keeps_the_champion(ran: InstalledProject) -> None:
    before = ran.tracked()
    arguments = "detector.arguments.n_estimators=1,detector.arguments.max_samples=4"
    worse = f"{arguments},detector.refit_every=null"
    output = ran.make("run", f"PARAMS={worse}").stdout
    assert "Gate: REFUSED" in output
    after = ran.tracked()
    assert after.versions == [*before.versions, before.versions[-1] + 1]
    assert after.models == {"temperature-anomalies": {"champion": 1}}

    assert "Gate: PASSED" in ran.make("run").stdout
    assert ran.tracked().versions == after.versions, "the model in service is not registered again"
    assert ran.tracked().models == after.models


def test_refuses_bad_data_and_keeps_the_model(ran: InstalledProject) -> None:
    good = ran.read("data/raw/temperatures.csv").splitlines(keepends=True)
    bad = [*good[:700], good[700].rsplit(",", 1)[0] + ",nan\n", *good[701:]]
    (ran.path / "bad.csv").write_text("".join(bad), encoding="utf-8")
    (ran.path / "good.csv").write_text("".join(good), encoding="utf-8")
    before = ran.tracked()
    model = files_below(ran.path / "data" / "processed" / "model")

    refused = ran.make("run", "PARAMS=raw_file=bad.csv")
    assert refused.returncode != 0
    output = refused.stdout + refused.stderr
    assert "701" in output
    assert "temperature" in output
    assert "Traceback" not in output
    assert ran.tracked().versions == before.versions
    assert ran.tracked().models == before.models
    assert files_below(ran.path / "data" / "processed" / "model") == model

    assert ran.make("run", "PARAMS=raw_file=good.csv").returncode == 0
    finished = [run["status"] for run in ran.tracked().runs].count("FINISHED")
    assert finished == [run["status"] for run in before.runs].count("FINISHED") + 1


@pytest.mark.parametrize("name", ["dev", "stage", "prod"])
def test_catalogs_of_all_environments_load(ran: InstalledProject, name: str) -> None:
    shown = ran.run(".venv/bin/kedro", "catalog", "describe-datasets", "--env", name)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "raw_temperatures" in shown.stdout


def test_leaves_no_untracked_files(ran: InstalledProject) -> None:
    for name in ("first.log", "bad.csv", "good.csv"):
        (ran.path / name).unlink(missing_ok=True)
    for command in (["init", "--quiet"], ["add", "--all"]):
        assert ran.run("git", *command).returncode == 0
    added = set(ran.run("git", "ls-files").stdout.splitlines())
    package = "temperature_anomalies"
    names = ("always", "azure_pipelines", "sample")
    assert added == set().union(*(read_manifest(name, package) for name in names))


LOCKS = ("run", "dev", "azure", "job", "serve")


def test_no_package_can_have_the_name_of_an_installed_module(
    install: Callable[..., InstalledProject],
) -> None:
    project = install()
    code = (
        "from importlib.metadata import packages_distributions as found\n"
        "print(*(f'{m}:{d}' for m, ds in found().items() for d in ds if m.isidentifier()))"
    )
    # the environment of the tests, which the project shares, has more than the project's locks
    locks = "\n".join(project.read(f"requirements/{name}.txt") for name in LOCKS)
    locked = set(re.findall(r"^([\w.-]+)==", locks, re.MULTILINE))
    pairs = (pair.split(":") for pair in project.python(code).split())
    normal = re.compile("[-_.]+")
    installed = {m.lower() for m, d in pairs if normal.sub("-", d).lower() in locked}
    # Stray files that wheels install next to their modules are never imported.
    stray = re.compile("_.*|vendor_licenses|pydevd_plugins|kedro_datasets_.*|conftest|.*__mypyc")
    modules = {name for name in installed if not stray.fullmatch(name)}
    assert modules - read_hook_words("DEPENDENCIES") - read_hook_words("LAYOUT") == set()


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files in a folder by path."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
