from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, Columns, History, Schema
from kedro_azure_mlops.serve.stream import LateRowsError, Stream
from tests.plugin.trained import arrays_of, measured, small_scorer


class Sums:
    """Sums a row with the rows of the ``days`` before it, and at least ``rows`` of them."""

    def __init__(self, days: float, rows: int, by: str | None = "unit") -> None:
        self.days, self.rows = days, rows
        self.call_sizes: list[int] = []  # rows of each call
        self.schema = Schema(
            inputs=(Column("time", "datetime"), Column("unit", "string"), Column("load", "double")),
            outputs=(Column("sum", "double"), Column("count", "long")),
            history=History(order="time", by=by, days=days, rows=rows),
        )

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        self.call_sizes.append(len(columns["load"]))
        sums, counts = [], []
        units = columns["unit"] if self.schema.history.by else np.full(len(columns["load"]), "")
        for row, (time, unit) in enumerate(zip(columns["time"], units, strict=True)):
            if wanted is not None and not wanted[row]:
                continue
            before = np.flatnonzero(units[: row + 1] == unit)
            in_days = before[time - columns["time"][before] <= np.timedelta64(1, "D") * self.days]
            summed = in_days if len(in_days) > self.rows else before[-self.rows - 1 :]
            sums.append(columns["load"][summed].sum())
            counts.append(len(summed))
        return {"sum": np.array(sums, float), "count": np.array(counts, np.int64)}


def score_in_pieces(stream: Stream, table: pd.DataFrame, size: int) -> pd.DataFrame:
    pieces = [table.iloc[start : start + size] for start in range(0, len(table), size)]
    return pd.concat([score(stream, piece) for piece in pieces])


def score(stream: Stream, table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(stream.score(arrays_of(table)), table.index)


def long_history() -> pd.DataFrame:
    """Return more rows than the look-back, with a gap, a slow series and duplicates."""
    table = measured(300)
    late_half = table["time"] > table["time"].median()
    table.loc[late_half, "time"] += pd.Timedelta("3D 7min")
    slow = pd.DataFrame(
        {"time": pd.date_range("2024-01-01", periods=8, freq="36h"), "unit": "slow", "load": 5.0}
    )
    slow["load"] += range(8)
    twice = table.iloc[[200, 201, 400]]
    return pd.concat([table, twice, slow]).sort_values("time", kind="stable", ignore_index=True)


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize(("days", "rows"), [(1, 3), (2.5, 0), (0, 4), (0, 0), (30, 5)])
def test_pieces_get_the_same_scores_as_the_whole_table(size: int, days: float, rows: int) -> None:
    table = long_history().head(400 if size > 1 else 120)
    whole = score(Stream(Sums(days, rows)), table)
    found = score_in_pieces(Stream(Sums(days, rows)), table, size)
    pd.testing.assert_frame_equal(found, whole)
    assert found.dtypes.tolist() == [np.float64, np.int64]
    assert whole["count"].max() > rows


def test_a_stream_returns_the_scores_of_its_scorer() -> None:
    table = long_history().drop_duplicates().reset_index(drop=True)
    alone = Sums(1, 3).score(arrays_of(table))
    pd.testing.assert_frame_equal(score(Stream(Sums(1, 3)), table), pd.DataFrame(alone))


def test_a_single_series_needs_no_series_column() -> None:
    table = measured(100).drop_duplicates("time").reset_index(drop=True)
    whole = score(Stream(Sums(1, 3, by=None)), table)
    pd.testing.assert_frame_equal(score_in_pieces(Stream(Sums(1, 3, by=None)), table, 7), whole)
    assert whole["count"].max() == 49


def test_rows_are_scored_independently_if_the_scorer_needs_no_history() -> None:
    class Doubles:
        schema = Schema((Column("load", "double"),), (Column("double", "double"),))

        def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
            assert wanted is None
            return {"double": columns["load"] * 2}

    stream = Stream(Doubles())
    assert stream.score({"load": np.array([1.0, 1.0, 3.0])})["double"].tolist() == [2, 2, 6]
    assert stream.late == 0


def test_duplicate_rows_get_the_same_scores() -> None:
    table = long_history()
    twins = table.duplicated(keep=False)
    assert twins.sum() == 6
    for size in (1_000_000, 5):
        found = score_in_pieces(Stream(Sums(1, 3)), table, size)[twins]
        groups = [table["unit"], table["time"]]
        assert found["sum"].groupby(groups).nunique().max() == 1


def test_different_rows_of_the_same_time_are_not_duplicates() -> None:
    table = measured(100).head(20)
    table = pd.concat([table, table.tail(2).assign(load=1.0), table.tail(2)], ignore_index=True)
    for size in (100, 1):
        found = score_in_pieces(Stream(Sums(1, 3)), table, size)["sum"].to_numpy()
        assert found[18:20].tolist() == found[22:24].tolist()
        assert found[20:22].tolist() == (found[18:20] + 1).tolist()


def test_rows_with_missing_values_can_be_duplicates() -> None:
    table = measured(100).head(4).assign(load=np.nan)
    again = pd.concat([table, table], ignore_index=True)
    stream = Stream(Sums(0, 0))
    assert score(stream, again)["count"].tolist() == [1] * 8
    assert stream.remembered == 4


def test_memory_does_not_grow_with_the_number_of_rows() -> None:
    scorer = Sums(2, 5)
    stream, remembered = Stream(scorer), []
    table = measured(1000)
    for start in range(0, 2000, 100):
        score(stream, table.iloc[start : start + 100])
        remembered.append(stream.remembered)
        assert stream._past.capacity <= 3 * max(remembered) + 2 * 100
    days = np.array(remembered) / 2 / 48
    assert 2.5 <= days[-1] <= days.max() <= 2.8  # including half a day for late rows
    assert max(scorer.call_sizes) <= 100 + 2 * 2.8 * 48


def test_a_thousand_series_are_remembered_separately() -> None:
    """Some series occur in every piece, most rarely, so that remembered rows are moved."""
    random = np.random.default_rng(0)
    steps = np.where(random.random(3000) < 0.3, random.integers(0, 3), random.integers(0, 1000))
    table = pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=3000, freq="7min"),
            "unit": [f"u{step}" for step in steps],
            "load": random.integers(0, 9, 3000).astype(float),
        }
    )
    expected = pd.DataFrame(Sums(1, 3).score(arrays_of(table)), table.index)
    for size in (40, 1000):
        pd.testing.assert_frame_equal(score_in_pieces(Stream(Sums(1, 3)), table, size), expected)


def test_rows_that_are_not_remembered_do_not_affect_later_calls() -> None:
    table = measured(200)
    stream = Stream(Sums(1, 3))
    first = stream.score(arrays_of(table.tail(20)), remember=False)
    assert stream.remembered == 0
    again = stream.score(arrays_of(table.tail(20)), remember=False)
    assert again["sum"].tolist() == first["sum"].tolist()


def test_late_rows_are_counted_and_scored_from_the_rows_before_them() -> None:
    table = measured(200)
    north = table[table["unit"] == "north"].reset_index(drop=True)
    late = north.iloc[[150, 151]]
    in_order, stream = Stream(small_scorer()), Stream(small_scorer())
    expected = score(in_order, north)
    score(stream, north.drop(late.index).head(170))
    found = score(stream, late)
    assert (in_order.late, stream.late) == (0, 2)
    assert found["deviation"].tolist() == expected["deviation"][late.index].tolist()


def with_late_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with late rows, duplicates and rows of equal time."""
    order = np.arange(len(table), dtype=float)
    order[[100, 101, 110, 130, 205]] += [9, 3, 16, 20, 5]
    table = table.iloc[np.argsort(order, kind="stable")]
    table = pd.concat([table[:150], table[140:145], table[150:]], ignore_index=True)
    table.loc[180, "time"] = table.loc[178, "time"]
    return table


@pytest.mark.parametrize("size", [1, 7, 40])
def test_late_rows_get_the_same_scores_for_every_piece_size(size: int) -> None:
    table = with_late_rows(measured(200)).head(240)
    whole, cut = Stream(Sums(1, 3)), Stream(Sums(1, 3))
    pd.testing.assert_frame_equal(score_in_pieces(cut, table, size), score(whole, table))
    assert whole.late == cut.late >= 5


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    return table.sample(frac=1, random_state=0, ignore_index=True)


@pytest.mark.parametrize("size", [1, 60, 1000])
@pytest.mark.parametrize(("days", "rows"), [(1, 3), (0, 4), (0, 0), (30, 5)])
def test_shuffled_rows_are_scored_from_the_rows_received_before(
    size: int, days: float, rows: int
) -> None:
    table = shuffled(long_history()).head(150 if size == 1 else 400)
    table = pd.concat([table, table.head(20)], ignore_index=True)
    expected, scored = [], dict[tuple[object, ...], pd.DataFrame]()
    for number, row in enumerate(table.itertuples(index=False)):
        known = table[: number + 1].drop_duplicates().sort_values("time", kind="stable")
        if row not in scored:
            position = (known.index == number).nonzero()[0][0]
            wanted = np.arange(len(known)) == position
            scored[row] = pd.DataFrame(Sums(days, rows).score(arrays_of(known), wanted))
        expected.append(scored[row])
    stream = Stream(Sums(days, rows), most_late=timedelta(days=99))
    found = score_in_pieces(stream, table, size)
    pd.testing.assert_frame_equal(found, pd.concat(expected).set_axis(table.index))
    assert stream.late > len(table) / 2


@pytest.mark.parametrize("size", [50, 400])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_late_row_costs_at_most_the_rows_of_its_look_back(size: int, rows: int) -> None:
    table = shuffled(measured(400))
    scorer = Sums(0, rows)
    stream = Stream(scorer, most_late=timedelta(days=99))
    once = 0
    for start in range(0, len(table), size):
        once += stream.remembered + size
        score(stream, table.iloc[start : start + size])
    assert stream.late > len(table) / 2
    assert len(table) <= sum(scorer.call_sizes) <= once + len(table) * (rows + 1)


def test_consecutive_late_rows_cost_one_more_call() -> None:
    north = measured(400).query("unit == 'north'").reset_index(drop=True)
    delayed = pd.concat([north[:100], north[110:120], north[100:110], north[120:]])
    in_order, scorer = Sums(1, 3), Sums(1, 3)
    score(Stream(in_order), north)
    stream = Stream(scorer)
    score(stream, delayed)
    assert (stream.late, len(scorer.call_sizes)) == (10, 2)
    assert sum(scorer.call_sizes) <= sum(in_order.call_sizes) + 10 + 48 + 4


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(("hours", "is_rejected"), [(3, False), (3.5, True)])
def test_rows_that_are_too_late_are_rejected_and_named(
    size: int, hours: float, is_rejected: bool
) -> None:
    north = measured(200).query("unit == 'north'").head(100).reset_index(drop=True)
    steps = int(hours * 2)
    table = pd.concat([north[:50], north[51 : 51 + steps], north[50:51]], ignore_index=True)
    stream = Stream(Sums(1, 3), most_late=timedelta(hours=3))
    if not is_rejected:
        assert len(score_in_pieces(stream, table, size)) == len(table)
        return
    with pytest.raises(LateRowsError, match="1 rows are more than 3 hours older") as error:
        score_in_pieces(stream, table, size)
    assert error.value.rows.tolist() == [0 if size == 1 else len(table) - 1]
    assert error.value.newest[0] == table["time"].max()


def test_an_empty_table_gets_no_scores() -> None:
    found = Stream(small_scorer()).score(arrays_of(measured().head(0)))
    assert found["deviation"].shape == (0,)
