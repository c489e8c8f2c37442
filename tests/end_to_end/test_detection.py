"""The sample's detector compared with the tutorial's, on series other than the sample."""

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
    not SHARED.is_dir(), reason="the real series are missing: ../shared/data"
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


def test_the_detector_ranks_generated_faults_better_than_raw_values(
    measured: dict[str, dict[str, float]],
) -> None:
    ours, raw = measured[f"generated faults/{OURS}"], measured[f"generated faults/{SAME_THRESHOLD}"]
    assert ours["roc_auc"] > raw["roc_auc"] + 0.15
    assert ours["average_precision"] > raw["average_precision"] + 0.15
    assert ours["event_recall"] > raw["event_recall"]


@needs_series
@pytest.mark.parametrize("raw", [TUTORIAL, SAME_THRESHOLD])
def test_the_detector_halves_the_false_alarms_of_the_office_series(
    measured: dict[str, dict[str, float]], raw: str
) -> None:
    ours, theirs = measured[f"office, hourly/{OURS}"], measured[f"office, hourly/{raw}"]
    assert ours["false_alarms_per_week"] < 0.5 * theirs["false_alarms_per_week"]
    assert ours["event_recall"] == 1
    assert ours["average_precision"] > theirs["average_precision"]


@needs_series
@pytest.mark.parametrize("raw", [TUTORIAL, SAME_THRESHOLD])
def test_the_detector_finds_every_spike_of_the_tutorial_without_false_alarms(
    measured: dict[str, dict[str, float]], raw: str
) -> None:
    ours = measured[f"tutorial's own file/{OURS}"]
    assert ours["false_alarms_per_week"] == 0
    assert ours["event_recall"] == 1
    assert measured[f"tutorial's own file/{raw}"]["false_alarms_per_week"] > 0.5
