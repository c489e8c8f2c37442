"""Triggers of schedules: invalid times are rejected before anything is sent."""

import pytest

from kedro_azure_mlops.azure.schedules import Recurrence, describe, read_cron, read_recurrence
from kedro_azure_mlops.errors import OperationError


@pytest.mark.parametrize(
    "expression",
    [
        "0 2 * * *",
        "*/15 * * * *",
        "*/59 */23 * * *",
        "0,30 8-18 * * 1-5",
        "5 0-23/2 * * Mon,friday",
        "59 23 * * 0",
    ],
)
def test_a_valid_cron_expression_is_passed_on_unchanged(expression):
    assert read_cron(expression).entity().expression == expression


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 2 * *", "has 4 fields instead of five"),
        ("0 0 2 * * *", "has 6 fields instead of five"),
        ("@daily", "has 1 fields instead of five"),
        ("60 2 * * *", "60 is not a valid minute"),
        ("0 24 * * *", "24 is not a valid hour"),
        ("0 2 * * 7", "7 is not a valid weekday"),
        ("0 2 * * someday", "someday is not a valid weekday"),
        ("0 5-2 * * *", "5-2 is not a valid hour"),
        ("*/0 2 * * *", r"\*/0 is not a valid minute"),
        ("*/90 2 * * *", r"\*/90 is not a valid minute"),
        ("1, 2 * * *", "1, is not a valid minute"),
        ("-1 2 * * *", "-1 is not a valid minute"),
        ("0 2 1 * *", "Azure ML ignores the day of the month and the month"),
        ("0 2 * 6 *", "Azure ML ignores the day of the month and the month"),
    ],
)
def test_an_invalid_cron_expression_is_rejected(expression, message):
    with pytest.raises(OperationError, match=message):
        read_cron(expression)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("hour",), Recurrence("hour", 0, 0, "UTC")),
        (("day",), Recurrence("day", 0, 0, "UTC")),
        (("day", "02:05"), Recurrence("day", 2, 5, "UTC")),
        (
            ("week", "23:59", "Monday, friday"),
            Recurrence("week", 23, 59, "UTC", week_days=("monday", "friday")),
        ),
        (("month", "7:00", "1,15"), Recurrence("month", 7, 0, "UTC", month_days=(1, 15))),
    ],
)
def test_a_recurrence_is_read(arguments, expected):
    assert read_recurrence(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("day", "24:00"), "--at 24:00 is not a time of day"),
        (("day", "noon"), "--at noon is not a time of day"),
        (("day", None, "monday"), "--on names days"),
        (("week",), "--on names days"),
        (("month", "02:00"), "--on names days"),
        (("week", None, "someday"), "--on someday: the days are sunday, monday"),
        (("month", None, "0"), "--on 0: the days of a month are 1 to 31"),
        (("month", None, "32"), "--on 32: the days of a month are 1 to 31"),
        (("hour", "02:00"), "--every hour allows neither --at"),
    ],
)
def test_an_invalid_recurrence_is_rejected(arguments, message):
    with pytest.raises(OperationError, match=message):
        read_recurrence(*arguments)


def test_only_windows_time_zone_names_are_accepted():
    zone = "W. Europe Standard Time"

    assert read_cron("0 2 * * *", zone).entity().time_zone == zone
    with pytest.raises(OperationError, match=r"such as .*W\. Europe Standard Time"):
        read_cron("0 2 * * *", "West Europe Standard Time")
    with pytest.raises(OperationError, match="uses Windows names"):
        read_recurrence("day", time_zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("hour",), "every hour (UTC)"),
        (("day", "02:05"), "every day at 02:05 (UTC)"),
        (("week", "02:05", "monday,friday"), "every week at 02:05 on monday, friday (UTC)"),
        (("month", "02:05", "1,15"), "every month at 02:05 on 1, 15 (UTC)"),
    ],
)
def test_a_recurrence_is_described_as_requested(arguments, expected):
    assert describe(read_recurrence(*arguments).entity()) == expected


def test_a_trigger_created_with_other_tools_is_described():
    from azure.ai.ml.entities import RecurrencePattern, RecurrenceTrigger

    pattern = RecurrencePattern(hours=[2, 14], minutes=[30])
    times = {"frequency": "day", "interval": 3, "time_zone": "UTC"}
    trigger = RecurrenceTrigger(schedule=pattern, **times)

    assert describe(trigger) == "every 3 days at 02:30, 14:30 (UTC)"


def test_a_trigger_with_a_single_hour_is_described():
    from azure.ai.ml.entities import RecurrencePattern, RecurrenceTrigger

    pattern = RecurrencePattern(hours=2, minutes=30, week_days="Monday")
    trigger = RecurrenceTrigger(schedule=pattern, frequency="week", interval=1, time_zone="UTC")

    assert describe(trigger) == "every week at 02:30 on monday (UTC)"


def test_a_cron_trigger_is_described_by_its_expression():
    assert describe(read_cron("0 2 * * mon").entity()) == "0 2 * * mon (UTC)"
