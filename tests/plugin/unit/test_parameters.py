import pytest
from pydantic import Field, ValidationError

from kedro_azure_mlops.parameters import Parameters, Share, Span, explain


class Split(Parameters):
    share: Share
    every: Span | None


@pytest.mark.parametrize("every", ["7D", "12h", "1 day 30 min", None])
def test_shares_and_durations_are_accepted(every: str | None) -> None:
    assert Split(share=1, every=every).every == every


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"share": 1.5}, "less than or equal to 1"),
        ({"every": "0D"}, "'0D' is not a positive duration"),
        ({"every": "soon"}, "every"),
        ({"shrae": 0.5}, "shrae"),
    ],
)
def test_an_error_names_the_wrong_parameter(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Split(**{"share": 0.5, "every": "7D"} | wrong)


def test_a_node_cannot_change_parameters() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Split(share=0.5, every="7D").share = 0.6


@pytest.mark.parametrize("value", ["0.5", True, None, [0.5], {"a": 1}, float("nan"), float("inf")])
def test_only_finite_numbers_are_accepted_as_numbers(value: object) -> None:
    with pytest.raises(ValidationError) as error:
        Split(share=value, every=None)  # type: ignore[arg-type]
    ((keys, sentence),) = explain(error.value, {"share": value, "every": None})
    assert keys == ["share"]
    assert sentence.startswith("must be a number")


@pytest.mark.parametrize("every", ["7", "NaT", "1e999 days", ""])
def test_a_duration_needs_a_unit(every: str) -> None:
    with pytest.raises(ValueError, match="is not a positive duration"):
        Split(share=0.5, every=every)


_MISSING = {"split.every": "is missing"}


class Nested(Parameters):
    split: Split | None = None
    splits: list[Split] = Field(default=[])
    many: int | list[int] = 0
    kind: Split | str = ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"many": "x"}, {"many": "must be a whole number or a list (it is 'x')"}),
        ({"many": [1, "x"]}, {"many.1": "must be a whole number (it is 'x')"}),
        ({"split": {"share": "x"}}, {"split.share": "must be a number (it is 'x')", **_MISSING}),
        ({"splits": [{"share": 1, "every": 7}]}, {"splits.0.every": "must be text (it is 7)"}),
        (
            {"kind": {"share": 2, "every": None}},
            {"kind.share": "must be less than or equal to 1 (it is 2)"},
        ),
        ({"kind": 5}, {"kind": "must be a group of keys and values or text (it is 5)"}),
        ({"splits": None}, {"splits": "must be a list (it is null)"}),
        (
            {"split": {"shrae": 1}},
            {"split": "unknown key 'shrae'; allowed keys: share, every; did you mean share?"},
        ),
    ],
    ids=str,
)
def test_each_fault_is_explained_by_its_keys_and_the_allowed_values(
    values: dict[str, object], expected: dict[str, str]
) -> None:
    with pytest.raises(ValidationError) as error:
        Nested.model_validate(values)
    assert {".".join(keys): why for keys, why in explain(error.value, values)} == expected


def test_an_error_does_not_show_a_secret() -> None:
    class Warehouse(Parameters):
        password: int

    values = {"password": "-".join(["Tr0ub4dor", "3"])}
    with pytest.raises(ValidationError) as error:
        Warehouse.model_validate(values)
    assert explain(error.value, values) == [(["password"], "must be a whole number (it is '***')")]
