from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.tree import DecisionTreeRegressor

from kedro_azure_mlops.onnx_trees import ExportError, Tree, TreeSum, tree_ensemble

COLUMNS = 4


def table(rows: int, seed: int = 0) -> np.ndarray:
    """Rows in single precision, as scikit-learn compares them."""
    return np.random.default_rng(seed).normal(size=(rows, COLUMNS)).astype(np.float32).astype(float)


def as_tree(fitted: DecisionTreeRegressor) -> Tree:
    tree = fitted.tree_
    parts = tree.children_left, tree.children_right, tree.feature, tree.threshold
    return Tree(*parts, weight=tree.value[:, 0, 0])


def fitted(rows: int = 300, **options: Any) -> list[DecisionTreeRegressor]:
    given = table(rows)
    return ExtraTreesRegressor(random_state=0, **options).fit(given, given.sum(1)).estimators_


def walked(trees: list[Tree], rows: np.ndarray) -> np.ndarray:
    """Follow each row through each tree, a node at a time."""
    sums = np.zeros(len(rows))
    for tree in trees:
        for number, row in enumerate(rows):
            node = 0
            while tree.left[node] != -1:
                is_left = row[tree.feature[node]] <= tree.threshold[node]
                node = (tree.left if is_left else tree.right)[node]
            sums[number] += tree.weight[node]
    return sums


@pytest.mark.parametrize("trees", [1, 20])
@pytest.mark.parametrize("depth", [1, 3, None])
def test_a_row_gets_the_sum_of_its_leaves(trees: int, depth: int | None) -> None:
    flat = [as_tree(one) for one in fitted(n_estimators=trees, max_depth=depth)]
    rows = table(200, seed=1)
    np.testing.assert_array_equal(TreeSum(tree_ensemble(flat, COLUMNS))(rows), walked(flat, rows))


def test_it_is_what_scikit_learn_predicts() -> None:
    given = table(500)
    tree = DecisionTreeRegressor(random_state=0).fit(given, given[:, 0] * given[:, 1])
    found = TreeSum(tree_ensemble([as_tree(tree)], COLUMNS))(given)
    np.testing.assert_array_equal(found, tree.predict(given))


def test_a_row_on_a_threshold_goes_left() -> None:
    left, right = np.array([1, -1, -1]), np.array([2, -1, -1])
    stump = Tree(left, right, np.array([2, -2, -2]), np.array([0.5, -2, -2]), np.array([9, 1.5, 4]))
    rows = np.zeros((3, COLUMNS))
    rows[:, 2] = 0.5, np.nextafter(np.float32(0.5), 1), -7
    assert TreeSum(tree_ensemble([stump], COLUMNS))(rows).tolist() == [1.5, 4, 1.5]
    assert TreeSum(tree_ensemble([stump, stump], COLUMNS))(rows).tolist() == [3, 8, 3]


def test_a_row_alone_is_summed_as_among_others() -> None:
    summed = TreeSum(tree_ensemble([as_tree(one) for one in fitted(n_estimators=50)], COLUMNS))
    rows = table(60, seed=2)
    assert [summed(row[None])[0] for row in rows] == summed(rows).tolist()


def test_the_same_trees_are_the_same_bytes() -> None:
    first, second = (tree_ensemble([as_tree(t) for t in fitted(n_estimators=3)], 4) for _ in "ab")
    assert first == second


def test_what_the_operator_cannot_hold_is_refused() -> None:
    leaf = as_tree(DecisionTreeRegressor().fit(table(5), np.zeros(5)))
    assert len(leaf.left) == 1
    for trees in ([leaf], [as_tree(fitted(n_estimators=1)[0]), leaf]):
        with pytest.raises(ExportError, match="no split"):
            tree_ensemble(trees, COLUMNS)
