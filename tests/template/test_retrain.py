"""The script ``retrain.py`` decides from the monitoring result and the update policy."""

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
    """A copy of a rendered project that commands may write to; it has no trained model."""
    path = tmp_path_factory.mktemp("retrain") / "project"
    return BakedProject(Path(shutil.copytree(baked().path, path)))


def decide(project: BakedProject, *options: str, **environment: str) -> tuple[int, str, str, str]:
    """Return exit status, output, errors and the outputs passed to later CI steps."""
    outputs = project.path / "outputs"
    outputs.unlink(missing_ok=True)
    package = {"PYTHONPATH": str(project.path / "src"), "GITHUB_OUTPUT": str(outputs)}
    ran = project.run(*DECIDE, *options, **package, **environment)
    reported = outputs.read_text(encoding="utf-8") if outputs.exists() else ""
    return ran.returncode, ran.stdout, ran.stderr, reported


@pytest.mark.parametrize(
    ("drifted", "reason", "data_of"),
    [("true", "prod has drifted", "prod"), ("false", "nothing has drifted in prod", "")],
)
def test_drift_in_prod_triggers_training_on_its_data(
    project: BakedProject, drifted: str, reason: str, data_of: str
) -> None:
    status, printed, errors, outputs = decide(project, "--drifted", drifted, "--quality", "false")
    assert status == 0, errors
    assert printed.endswith(f"{reason}\n")
    assert outputs == f"data_of={data_of}\n"


def test_untrusted_data_is_an_error_and_trains_nothing(project: BakedProject) -> None:
    options = ("--drifted", "true", "--quality", "true")
    status, printed, errors, outputs = decide(project, *options, TF_BUILD="True")
    message = "the data of prod cannot be trusted: nothing is trained"
    assert (status, outputs) == (1, "")
    assert f"##vso[task.logissue type=error]{message}" in printed.splitlines()
    assert errors.endswith(f"retrain: {message}\n")


def test_an_empty_monitoring_output_is_rejected(project: BakedProject) -> None:
    """Its outputs are empty if monitoring failed."""
    status, _, errors, outputs = decide(project, "--drifted", "")
    assert (status, outputs) == (2, "")
    assert "--drifted" in errors


def test_a_finding_about_quality_alone_is_rejected(project: BakedProject) -> None:
    status, _, errors, outputs = decide(project, "--quality", "false")
    assert (status, outputs) == (2, "")
    assert "--quality requires --drifted." in errors
    status, _, errors, _ = decide(project, "--quality", "false", "--drifted", "false")
    assert status == 0, errors


@pytest.mark.parametrize("option", [("--no-wait",), ("--data-of", "prod")])
def test_an_earlier_job_is_not_combined_with_options_of_a_new_one(
    project: BakedProject, option: tuple[str, ...]
) -> None:
    train = (sys.executable, "operation/execution/train.py", "--env", "dev", "--job", "none")
    refused = project.run(*train, *option)
    assert refused.returncode == 2
    assert "--job cannot be combined with --no-wait or --data-of." in refused.stderr
    tried = project.run(*train)  # gets as far as Azure
    assert tried.returncode == 2
    assert "train: The workspace of dev is not known" in tried.stderr
    assert "Traceback" not in tried.stderr


def test_the_policy_can_disable_retraining(project: BakedProject) -> None:
    file = project.path / "operation/configuration/dev/mlops.yml"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("when: drift", "when: never"), encoding="utf-8")
    status, printed, errors, outputs = decide(project, "--drifted", "true", "--quality", "false")
    file.write_text(before, encoding="utf-8")
    assert status == 0, errors
    assert "update_policy.when is never" in printed
    assert outputs == "data_of=\n"
