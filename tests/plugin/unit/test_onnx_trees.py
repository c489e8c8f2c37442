from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.tree import DecisionTreeRegressor

from kedro_azure_mlops.onnx_trees import ExportError, Tree, TreeSum, tree_ensemble

COLUMNS = 4


def table(rows: int, seed: int = 0) -> np.ndarray:
    """Return rows in single precision, as scikit-learn compares them."""
    return np.random.default_rng(seed).normal(size=(rows, COLUMNS)).astype(np.float32).astype(float)


def as_tree(fitted: DecisionTreeRegressor) -> Tree:
    tree = fitted.tree_
    parts = tree.children_left, tree.children_right, tree.feature, tree.threshold
    return Tree(*parts, weight=tree.value[:, 0, 0])


def fitted(rows: int = 300, **options: Any) -> list[DecisionTreeRegressor]:
    inputs = table(rows)
    return ExtraTreesRegressor(random_state=0, **options).fit(inputs, inputs.sum(1)).estimators_


def walk(trees: list[Tree], rows: np.ndarray) -> np.ndarray:
    """Sum the leaves that each row reaches, following the trees node by node."""
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
def test_each_row_gets_the_sum_of_its_leaves(trees: int, depth: int | None) -> None:
    flat = [as_tree(one) for one in fitted(n_estimators=trees, max_depth=depth)]
    rows = table(200, seed=1)
    np.testing.assert_array_equal(TreeSum(tree_ensemble(flat, COLUMNS))(rows), walk(flat, rows))


def test_the_sum_equals_the_prediction_of_scikit_learn() -> None:
    rows = table(500)
    tree = DecisionTreeRegressor(random_state=0).fit(rows, rows[:, 0] * rows[:, 1])
    sums = TreeSum(tree_ensemble([as_tree(tree)], COLUMNS))(rows)
    np.testing.assert_array_equal(sums, tree.predict(rows))


def test_a_row_on_a_threshold_goes_left() -> None:
    left, right = np.array([1, -1, -1]), np.array([2, -1, -1])
    stump = Tree(left, right, np.array([2, -2, -2]), np.array([0.5, -2, -2]), np.array([9, 1.5, 4]))
    rows = np.zeros((3, COLUMNS))
    rows[:, 2] = 0.5, np.nextafter(np.float32(0.5), 1), -7
    assert TreeSum(tree_ensemble([stump], COLUMNS))(rows).tolist() == [1.5, 4, 1.5]
    assert TreeSum(tree_ensemble([stump, stump], COLUMNS))(rows).tolist() == [3, 8, 3]


def test_a_single_row_gets_the_same_sum_as_in_a_batch() -> None:
    tree_sum = TreeSum(tree_ensemble([as_tree(one) for one in fitted(n_estimators=50)], COLUMNS))
    rows = table(60, seed=2)
    assert [tree_sum(row[None])[0] for row in rows] == tree_sum(rows).tolist()


def test_the_same_trees_give_the_same_bytes() -> None:
    first, second = (tree_ensemble([as_tree(t) for t in fitted(n_estimators=3)], 4) for _ in "ab")
    assert first == second


def test_a_tree_without_a_split_is_rejected() -> None:
    leaf = as_tree(DecisionTreeRegressor().fit(table(5), np.zeros(5)))
    assert len(leaf.left) == 1
    for trees in ([leaf], [as_tree(fitted(n_estimators=1)[0]), leaf]):
        with pytest.raises(ExportError, match="no split"):
            tree_ensemble(trees, COLUMNS)
