"""Write and run a sum of decision trees as one ONNX operator, ``TreeEnsemble``.

The file is written in protobuf's wire format, field by field: the ``onnx`` package would add 30 MB
to every first run. Field numbers are those of ONNX's published ``onnx.proto``. A project calls
``tree_ensemble`` in the ``export`` of its model (see ``contract.ProjectModel``), and ``TreeSum``
in serving, which needs numpy and ONNX Runtime.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

INPUT, OUTPUT = "rows", "sum"
_IR_VERSION, _OPSET, _ML_OPSET = 10, 21, 5
_ML = "ai.onnx.ml"
_DOUBLE, _BYTE = 11, 2  # TensorProto.DataType
_INT, _TENSOR, _INTS = 2, 4, 7  # AttributeProto.AttributeType
_AT_MOST, _SUM = 0, 1  # mode of a node, aggregation of the trees


class ExportError(ValueError):
    """A model cannot be written as one tree operator."""


@dataclass(frozen=True)
class Tree:
    """A decision tree in the arrays of scikit-learn's ``tree_``, each of shape ``(nodes,)``.

    Parameters
    ----------
    left, right
        The children of each node, -1 for a leaf. Node 0 is the root. A row goes left if its feature
        is at most the threshold.
    feature, threshold
        The comparison of an inner node; meaningless for a leaf.
    weight
        The term that a leaf adds to the sum; meaningless for an inner node.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    weight: np.ndarray


class TreeSum:
    """Runs a file written by ``tree_ensemble``.

    It sums in double precision and in one thread, in the order of the trees, so the sums equal
    those of scikit-learn's trees bit for bit, regardless of the other rows.
    """

    def __init__(self, model: bytes) -> None:
        # ONNX Runtime sends telemetry, which its own disable_telemetry_events() does not stop.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors only: it warns about missing GPUs
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the sums for rows of shape ``(n, features)``, shape ``(n,)``."""
        # scikit-learn's trees compare features in single precision
        rounded = rows.astype(np.float32).astype(np.float64)
        return np.asarray(self._session.run([OUTPUT], {self._input: rounded})[0][:, 0])


def tree_ensemble(trees: Sequence[Tree], features: int) -> bytes:
    """Return a sum of trees as an ONNX file; the same trees give the same bytes.

    Parameters
    ----------
    features
        The number of columns of the input ``rows``, which has shape ``(n, features)``, double
        precision. The output ``sum``, shape ``(n, 1)``, double precision, is the sum of the weights
        of the leaves that a row falls into.

    Raises
    ------
    ExportError
        If a tree is a single leaf, which the operator cannot hold.

    References
    ----------
    ONNX, ai.onnx.ml version 5, https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
    """
    if any(len(tree.left) == 1 for tree in trees):
        raise ExportError("a tree has no split: the rows that it was fitted on are all the same")
    node = _message((1, INPUT), (2, OUTPUT), (4, "TreeEnsemble"), (7, _ML))
    node += b"".join(_field(5, _attribute(*item)) for item in _attributes(trees).items())
    graph = _message(
        *((1, node), (2, "tree_ensemble")),
        *((11, _value(INPUT, features)), (12, _value(OUTPUT, 1))),
    )
    opsets = _message((2, _OPSET)), _message((1, _ML), (2, _ML_OPSET))
    return _message(
        *((1, _IR_VERSION), (2, __package__), (7, graph)), *((8, opset) for opset in opsets)
    )


def _attributes(trees: Sequence[Tree]) -> dict[str, Any]:
    """List the inner nodes and, separately, the leaves of all trees, one tree after the other."""
    flat = [_flat(tree) for tree in trees]
    inner = np.cumsum([0, *(len(tree["split"]) for tree in flat)])
    leaves = np.cumsum([0, *(len(tree["weight"]) for tree in flat)])

    def joined(name: str) -> np.ndarray:
        return np.concatenate([tree[name] for tree in flat])

    def children(side: str) -> np.ndarray:
        shifted = [
            tree[side] + np.where(tree[f"{side}_is_leaf"], leaf, node)
            for tree, node, leaf in zip(flat, inner[:-1], leaves[:-1], strict=True)
        ]
        return np.concatenate(shifted)

    return {
        "aggregate_function": _SUM,
        "leaf_targetids": np.zeros(leaves[-1], int),
        "leaf_weights": joined("weight").astype("<f8"),
        "n_targets": 1,
        "nodes_falseleafs": joined("right_is_leaf").astype(int),
        "nodes_falsenodeids": children("right"),
        "nodes_featureids": joined("feature").astype(int),
        "nodes_modes": np.full(inner[-1], _AT_MOST, np.uint8),
        "nodes_splits": joined("split").astype("<f8"),
        "nodes_trueleafs": joined("left_is_leaf").astype(int),
        "nodes_truenodeids": children("left"),
        "post_transform": 0,
        "tree_roots": inner[:-1],
    }


def _flat(tree: Tree) -> dict[str, np.ndarray]:
    is_leaf = tree.left == -1
    position = np.where(is_leaf, np.cumsum(is_leaf), np.cumsum(~is_leaf)) - 1
    left, right = tree.left[~is_leaf], tree.right[~is_leaf]
    return {
        "feature": tree.feature[~is_leaf],
        "split": tree.threshold[~is_leaf],
        "left": position[left],
        "left_is_leaf": is_leaf[left],
        "right": position[right],
        "right_is_leaf": is_leaf[right],
        "weight": tree.weight[is_leaf],
    }


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, int):
        return _message((1, name), (3, value), (20, _INT))
    if value.dtype.kind == "i":
        return _message((1, name)) + _repeated(8, value) + _message((20, _INTS))
    kind = _DOUBLE if value.dtype.kind == "f" else _BYTE
    tensor = _message((1, len(value)), (2, kind), (9, value.tobytes()))
    return _message((1, name), (5, tensor), (20, _TENSOR))


def _value(name: str, columns: int) -> bytes:
    """Describe an input or output of shape ``(n, columns)``."""
    shape = _message((1, _message((2, "n"))), (1, _message((1, columns))))
    return _message((1, name), (2, _message((1, _message((1, _DOUBLE), (2, shape))))))


def _message(*fields: tuple[int, int | str | bytes]) -> bytes:
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: int | str | bytes) -> bytes:
    """Encode a protobuf field: a number as a varint, text and messages after their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _repeated(number: int, values: np.ndarray) -> bytes:
    """Encode a field for each non-negative value of shape ``(n,)``, all of them at once."""
    sevens = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    shifted = values[:, None] >> 7 * np.arange(sevens)
    key = np.full((len(values), 1), number << 3)
    digits = shifted & 127 | (shifted > 127) << 7
    used = np.hstack([key, np.ones_like(key), shifted[:, 1:]]) > 0
    return np.hstack([key, digits])[used].astype(np.uint8).tobytes()


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
