"""The script ``retrain.py`` decides by what monitoring found and by the update policy."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import BakedProject

DECIDE = (sys.executable, "operation/execution/retrain.py", "--env", "dev", "--answer")


@pytest.fixture(scope="module")
def project(
    baked: Callable[..., BakedProject], tmp_path_factory: pytest.TempPathFactory
) -> BakedProject:
    """A copy of a rendered project, in which commands may leave files; nothing was trained."""
    path = tmp_path_factory.mktemp("retrain") / "project"
    return BakedProject(Path(shutil.copytree(baked().path, path)))


def decide(project: BakedProject, *found: str, **environment: str) -> tuple[int, str, str, str]:
    """Return exit status, output, errors, and what later steps of a CI run are given."""
    outputs = project.path / "outputs"
    outputs.unlink(missing_ok=True)
    package = {"PYTHONPATH": str(project.path / "src"), "GITHUB_OUTPUT": str(outputs)}
    ran = project.run(*DECIDE, *found, **package, **environment)
    said = outputs.read_text(encoding="utf-8") if outputs.exists() else ""
    return ran.returncode, ran.stdout, ran.stderr, said


@pytest.mark.parametrize(
    ("drifted", "reason", "data_of"),
    [("true", "prod has drifted", "prod"), ("false", "nothing has drifted in prod", "")],
)
def test_drift_of_prod_lets_its_data_train(
    project: BakedProject, drifted: str, reason: str, data_of: str
) -> None:
    status, said, errors, outputs = decide(project, "--drifted", drifted, "--quality", "false")
    assert status == 0, errors
    assert said.endswith(f"{reason}\n")
    assert outputs == f"data_of={data_of}\n"


def test_data_that_cannot_be_trusted_are_an_error_and_train_nothing(project: BakedProject) -> None:
    found = ("--drifted", "true", "--quality", "true")
    status, said, errors, outputs = decide(project, *found, TF_BUILD="True")
    why = "the data of prod cannot be trusted: nothing is trained"
    assert (status, outputs) == (1, "")
    assert f"##vso[task.logissue type=error]{why}" in said.splitlines()
    assert errors.endswith(f"retrain: {why}\n")


def test_what_the_look_did_not_say_is_no_answer(project: BakedProject) -> None:
    """Where monitoring failed its outputs are empty."""
    status, _, errors, outputs = decide(project, "--drifted", "")
    assert (status, outputs) == (2, "")
    assert "--drifted" in errors


def test_the_policy_may_say_never(project: BakedProject) -> None:
    file = project.path / "operation/configuration/dev/mlops.yml"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("when: drift", "when: never"), encoding="utf-8")
    status, said, errors, outputs = decide(project, "--drifted", "true", "--quality", "false")
    file.write_text(before, encoding="utf-8")
    assert status == 0, errors
    assert "update_policy.when is never" in said
    assert outputs == "data_of=\n"
