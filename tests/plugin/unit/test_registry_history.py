from dataclasses import replace

import pytest

from kedro_azure_mlops.registry import Version
from kedro_azure_mlops.registry.promotion import changes, previous_champion


def versions(*events: tuple[str, str]) -> list[Version]:
    """Return versions that became champion one after another, given as number and event."""
    tags: dict[str, dict[str, str]] = {}
    for second, (number, how) in enumerate(events):
        time = f"champion.since.2026-11-21T00:00:{second:02}.000000Z"
        tags.setdefault(number, {})[time] = f"{how}, after ..."
    return [Version("model", number, number * 12, times) for number, times in tags.items()]


@pytest.mark.parametrize(
    ("events", "champion", "previous"),
    [
        ([], "1", None),
        ([("1", "gate")], "1", None),
        ([("1", "gate"), ("2", "gate")], "2", "1"),
        ([("1", "gate"), ("2", "gate"), ("1", "rollback (x)")], "1", None),
        ([("1", "gate"), ("2", "gate"), ("3", "gate"), ("2", "rollback (x)")], "2", "1"),
        ([("1", "gate"), ("2", "gate"), ("1", "rollback (x)"), ("3", "gate")], "3", "1"),
        ([("1", "gate"), ("2", "gate"), ("1", "promotion")], "1", "2"),
        ([("1", "gate"), ("2", "gate"), ("2", "gate")], "2", "1"),
        ([("1", "gate"), ("2", "gate")], "9", "2"),
    ],
    ids=[
        "nothing recorded",
        "the first",
        "the one before",
        "back to the first",
        "back once, then the one before that",
        "a version that was rolled back is skipped",
        "a second promotion is a step",
        "the same champion again is not a step",
        "a manually moved alias",
    ],
)
def test_the_previous_champion(
    events: list[tuple[str, str]], champion: str, previous: str | None
) -> None:
    assert previous_champion(versions(*events), champion) == previous


def test_versions_with_the_same_files_are_one_rollback_step() -> None:
    champions = versions(("1", "gate"), ("2", "gate"), ("3", "gate"))
    assert previous_champion(champions, "3") == "2"
    same = [replace(version, digest="d" if version.number != "1" else "e") for version in champions]
    assert previous_champion(same, "3") == "1"


def test_changes_are_listed_in_order_of_time() -> None:
    listed = changes(versions(("2", "gate"), ("1", "promotion"), ("2", "rollback (x)")))
    assert [change.number for change in listed] == ["2", "1", "2"]
    assert listed[1].how == "promotion, after ..."
