import logging

import pytest

from kedro_azure_mlops.progress import Progress

LOGGER = logging.getLogger("tests.progress")


def test_a_long_task_logs_rows_share_and_time_left(caplog: pytest.LogCaptureFixture) -> None:
    seconds = iter([0.0, 1.0, 30.0, 31.0, 60.0])
    progress = Progress("Scored", 4_000, LOGGER, clock=lambda: next(seconds))
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            progress.advance(1_000)
    assert caplog.messages == [
        "Scored 2,000 rows, 50%, about 0:00:30 left",
        "Scored 4,000 rows, 100%, about 0:00:00 left",
    ]


def test_a_given_share_replaces_an_unknown_total(caplog: pytest.LogCaptureFixture) -> None:
    seconds = iter([0.0, 10.0])
    progress = Progress("Read", None, LOGGER, clock=lambda: next(seconds))
    with caplog.at_level(logging.INFO):
        progress.advance(50, share=0.05)
    assert caplog.messages == ["Read 50 rows, 5%, about 0:03:10 left"]


def test_without_a_total_only_the_rows_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    seconds = iter([0.0, 10.0])
    progress = Progress("Read", None, LOGGER, clock=lambda: next(seconds))
    with caplog.at_level(logging.INFO):
        progress.advance(1_000)
    assert caplog.messages == ["Read 1,000 rows"]


def test_a_short_task_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("Read", 10, LOGGER, clock=lambda: 0.0)
    with caplog.at_level(logging.INFO):
        progress.advance(10)
    assert caplog.messages == []
    assert progress.done == 10
