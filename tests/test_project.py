"""Rendered projects at work: installed once, their own checks and tests run, their effects seen."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, ROOT, USERS_ENVIRONMENT, BakedProject, render
from filelock import FileLock
from test_render import listed

pytestmark = pytest.mark.slow

TRACKED = """
import json
from mlflow import MlflowClient

client = MlflowClient("sqlite:///mlruns.db")
runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
models = client.search_registered_models()
print(json.dumps({
    "runs": [{"status": r.info.status, "metrics": r.data.metrics, "params": r.data.params}
             for r in runs],
    "versions": sorted(int(v.version) for m in models
                       for v in client.search_model_versions(f"name='{m.name}'")),
    "models": {m.name: {alias: int(v) for alias, v in m.aliases.items()} for m in models},
}))
"""


@dataclass(frozen=True)
class Tracked:
    """What a project's MLflow store holds."""

    runs: list[dict[str, Any]]
    versions: list[int]
    models: dict[str, dict[str, int]]


@dataclass(frozen=True)
class InstalledProject(BakedProject):
    """A rendered project whose environment is there."""

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call one of its verbs."""
        return self.run("make", *arguments, **environment)

    def python(self, code: str) -> str:
        """Run some code in its environment and return what it prints."""
        process = self.run(".venv/bin/python", "-c", code)
        assert process.returncode == 0, process.stderr
        return process.stdout

    def tracked(self) -> Tracked:
        """Return what its MLflow store holds."""
        return Tracked(**json.loads(self.python(TRACKED)))


@pytest.fixture(scope="session")
def environment(template: Path) -> Path:
    """The environment of the project's locks, installed once for all renders and kept in build/."""
    locks = [template / PROJECT / "requirements" / f"{name}.txt" for name in ("run", "dev")]
    key = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks) + sys.version.encode())
    folder = ROOT / "build" / f"environment-{key.hexdigest()[:12]}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            uv = ["sh", ROOT / "tools" / "uv.sh"]
            where = USERS_ENVIRONMENT | {"VIRTUAL_ENV": str(folder)}
            create = [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder]
            subprocess.run(create, env=where, check=True)
            subprocess.run([*uv, "pip", "sync", "--quiet", *locks], env=where, check=True)
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def install(
    template: Path, tmp_path_factory: pytest.TempPathFactory, environment: Path
) -> Callable[..., InstalledProject]:
    """Render with some answers and put the shared environment where `make setup` would."""

    def installed(**answers: str) -> InstalledProject:
        project = render(template, tmp_path_factory.mktemp("installed"), **answers)
        (project.path / ".venv").symlink_to(environment)
        (environment / ".synced").touch()
        return InstalledProject(project.path)

    return installed


OPTIONS = {
    "defaults": {},
    "github_actions": {"ci_provider": "github_actions"},
    "everything_else": {
        "project_name": 'Öl & "Gas" \\ #1\'s 🌡️',
        "project_slug": "oil-and-gas",
        "package_name": "z" * 40,
        "description": 'It\'s "quoted": 50 % \\ $HOME',
        "author_name": "Zoë O'Hara",
        "ci_provider": "both",
        "license": "Proprietary",
        "python_version": "3.13",
    },
}


@pytest.fixture(scope="module", params=OPTIONS.values(), ids=OPTIONS)
def project(
    request: pytest.FixtureRequest, install: Callable[..., InstalledProject]
) -> InstalledProject:
    """A project as rendered, without a git repository."""
    return install(**request.param)


@pytest.fixture(scope="module")
def ran(install: Callable[..., InstalledProject]) -> InstalledProject:
    """The default project after its first run."""
    project = install()
    first = project.make("run")
    assert first.returncode == 0, first.stdout + first.stderr
    (project.path / "first.log").write_text(first.stdout + first.stderr, encoding="utf-8")
    return project


@pytest.mark.xdist_group("own")
class TestOwnVerbs:
    def test_check_passes_and_changes_nothing(self, project: InstalledProject) -> None:
        before = {name: (project.path / name).read_bytes() for name in project.files}
        checked = project.make("check")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        after = {name: (project.path / name).read_bytes() for name in before}
        assert before == after

    def test_check_refuses_a_fault_and_fix_mends_it(
        self, install: Callable[..., InstalledProject]
    ) -> None:
        project = install(project_slug="mended")
        module = project.path / "src" / "mended" / "fault.py"
        module.write_text('"""A module."""\nimport json,os  \nX =[os, json]', encoding="utf-8")
        refused = project.make("check")
        assert refused.returncode != 0
        assert "fault.py" in refused.stdout
        mended = project.make("fix")
        assert mended.returncode == 0, mended.stdout + mended.stderr
        assert module.read_text(encoding="utf-8").endswith("X = [os, json]\n")
        assert project.make("check").returncode == 0

    def test_test_passes(self, install: Callable[..., InstalledProject]) -> None:
        tested = install().make("test")
        assert tested.returncode == 0, tested.stdout[-5000:] + tested.stderr

    def test_run_takes_the_most_unusual_answers(
        self, install: Callable[..., InstalledProject]
    ) -> None:
        project = install(**OPTIONS["everything_else"])
        ran = project.make("run")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert project.tracked().models == {"oil-and-gas": {"champion": 1}}


@pytest.mark.xdist_group("run")
class TestRun:
    def test_prints_the_metrics_and_the_decision(self, ran: InstalledProject) -> None:
        said = ran.read("first.log")
        assert "Gate: PASSED" in said
        assert "event recall" in said

    def test_tracks_registers_and_crowns_the_model(self, ran: InstalledProject) -> None:
        tracked = ran.tracked()
        (run,) = tracked.runs
        assert run["status"] == "FINISHED"
        assert run["metrics"]["average_precision"] > 0.3
        assert tracked.versions == [1]
        assert tracked.models == {"temperature-anomalies": {"champion": 1}}

    def test_writes_a_score_for_every_reading(self, ran: InstalledProject) -> None:
        scores = ran.read("data/processed/scores.csv").splitlines()
        readings = ran.read("data/raw/temperatures.csv").splitlines()
        assert scores[0] == "timestamp,sensor_id,temperature,score,is_anomaly"
        assert len(scores) == len(readings)

    def test_refuses_a_worse_model_and_keeps_the_champion(self, ran: InstalledProject) -> None:
        before = ran.tracked()
        worse = "detector.n_estimators=1,detector.max_samples=4,detector.refit_every=null"
        said = ran.make("run", f"PARAMS={worse}").stdout
        assert "Gate: REFUSED" in said
        after = ran.tracked()
        assert after.versions == [*before.versions, before.versions[-1] + 1]
        assert after.models == {"temperature-anomalies": {"champion": 1}}

        assert "Gate: PASSED" in ran.make("run").stdout
        newest = ran.tracked().versions[-1]
        assert ran.tracked().models == {"temperature-anomalies": {"champion": newest}}

    def test_refuses_bad_data_and_keeps_the_model(self, ran: InstalledProject) -> None:
        good = ran.read("data/raw/temperatures.csv").splitlines(keepends=True)
        bad = [*good[:700], good[700].rsplit(",", 1)[0] + ",nan\n", *good[701:]]
        (ran.path / "bad.csv").write_text("".join(bad), encoding="utf-8")
        (ran.path / "good.csv").write_text("".join(good), encoding="utf-8")
        before = ran.tracked()
        model = files_below(ran.path / "data" / "processed" / "model")

        refused = ran.make("run", "PARAMS=raw_file=bad.csv")
        assert refused.returncode != 0
        said = refused.stdout + refused.stderr
        assert "701" in said
        assert "temperature" in said
        assert "Traceback" not in said
        assert ran.tracked().versions == before.versions
        assert ran.tracked().models == before.models
        assert files_below(ran.path / "data" / "processed" / "model") == model

        assert ran.make("run", "PARAMS=raw_file=good.csv").returncode == 0
        assert len(ran.tracked().versions) == len(before.versions) + 1

    @pytest.mark.parametrize("name", ["dev", "stage", "prod"])
    def test_knows_its_environments(self, ran: InstalledProject, name: str) -> None:
        listed = ran.run(".venv/bin/kedro", "catalog", "describe-datasets", "--env", name)
        assert listed.returncode == 0, listed.stdout + listed.stderr
        assert "raw_temperatures" in listed.stdout

    def test_leaves_nothing_for_git_to_pick_up(self, ran: InstalledProject) -> None:
        for name in ("first.log", "bad.csv", "good.csv"):
            (ran.path / name).unlink(missing_ok=True)
        for command in (["init", "--quiet"], ["add", "--all"]):
            assert ran.run("git", *command).returncode == 0
        added = set(ran.run("git", "ls-files").stdout.splitlines())
        package = "temperature_anomalies"
        assert added == listed("always", package) | listed("azure_pipelines", package)


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder with what is in them."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
