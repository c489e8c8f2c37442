"""The sample's detector against the tutorial's, on series it was not made for."""

import json
import subprocess
from collections.abc import Callable

import pytest

from tests.helpers import ROOT, BakedProject

pytestmark = pytest.mark.slow

TUTORIAL = "raw value, tutorial (contamination 0.05)"
SAME_THRESHOLD = "raw value, our threshold"
OURS = "ours, refitted"
SHARED = ROOT.parent / "shared" / "data"
needs_series = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real series are not there: ../shared/data"
)


@pytest.fixture(scope="session")
def measured(install: Callable[..., BakedProject]) -> dict[str, dict[str, float]]:
    """The output of `benchmarks/detection.py`."""
    project = install()
    answer = subprocess.run(
        [
            *(project.path / ".venv/bin/python", ROOT / "benchmarks" / "detection.py"),
            *("--project", project.path, "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_generated_faults_are_ranked_clearly_better(
    measured: dict[str, dict[str, float]],
) -> None:
    ours, raw = measured[f"generated faults/{OURS}"], measured[f"generated faults/{SAME_THRESHOLD}"]
    assert ours["roc_auc"] > raw["roc_auc"] + 0.15
    assert ours["average_precision"] > raw["average_precision"] + 0.15
    assert ours["event_recall"] > raw["event_recall"]


@needs_series
@pytest.mark.parametrize("raw", [TUTORIAL, SAME_THRESHOLD])
def test_the_office_series_gets_less_than_half_the_false_alarms(
    measured: dict[str, dict[str, float]], raw: str
) -> None:
    ours, theirs = measured[f"office, hourly/{OURS}"], measured[f"office, hourly/{raw}"]
    assert ours["false_alarms_per_week"] < 0.5 * theirs["false_alarms_per_week"]
    assert ours["event_recall"] == 1
    assert ours["average_precision"] > theirs["average_precision"]


@needs_series
@pytest.mark.parametrize("raw", [TUTORIAL, SAME_THRESHOLD])
def test_the_tutorials_own_file_gets_every_spike_and_no_false_alarm(
    measured: dict[str, dict[str, float]], raw: str
) -> None:
    ours = measured[f"tutorial's own file/{OURS}"]
    assert ours["false_alarms_per_week"] == 0
    assert ours["event_recall"] == 1
    assert measured[f"tutorial's own file/{raw}"]["false_alarms_per_week"] > 0.5
