from dataclasses import replace

import pytest

from kedro_azure_mlops.registry import Version
from kedro_azure_mlops.registry.promotion import changes, previous_champion


def versions(*events: tuple[str, str]) -> list[Version]:
    """Make versions champion one after the other, each given by number and how."""
    tags: dict[str, dict[str, str]] = {}
    for place, (number, how) in enumerate(events):
        time = f"champion.since.2026-11-21T00:00:{place:02}.000000Z"
        tags.setdefault(number, {})[time] = f"{how}, after ..."
    return [Version("model", number, number * 12, found) for number, found in tags.items()]


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
        "what was rolled back is left out",
        "promoted again is a step of its own",
        "the same again is not a step",
        "an alias that someone has moved",
    ],
)
def test_the_previous_champion(
    events: list[tuple[str, str]], champion: str, previous: str | None
) -> None:
    assert previous_champion(versions(*events), champion) == previous


def test_versions_of_the_same_files_are_one_step_of_a_rollback() -> None:
    found = versions(("1", "gate"), ("2", "gate"), ("3", "gate"))
    assert previous_champion(found, "3") == "2"
    same = [replace(version, digest="d" if version.number != "1" else "e") for version in found]
    assert previous_champion(same, "3") == "1"


def test_changes_are_listed_in_the_order_of_time() -> None:
    found = changes(versions(("2", "gate"), ("1", "promotion"), ("2", "rollback (x)")))
    assert [change.number for change in found] == ["2", "1", "2"]
    assert found[1].how == "promotion, after ..."
