import pytest

from kedro_azure_mlops.parameters import Parameters, Share, Span


class Split(Parameters):
    share: Share
    every: Span | None


@pytest.mark.parametrize("every", ["7D", "12h", "1 day 30 min", None])
def test_shares_and_lengths_of_time_are_taken(every: str | None) -> None:
    assert Split(share=1, every=every).every == every


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"share": 1.5}, "less than or equal to 1"),
        ({"every": "0D"}, "'0D' is not a length of time above zero"),
        ({"every": "soon"}, "every"),
        ({"shrae": 0.5}, "shrae"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Split(**{"share": 0.5, "every": "7D"} | wrong)


def test_a_node_cannot_change_them() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Split(share=0.5, every="7D").share = 0.6
