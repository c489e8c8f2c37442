"""The forest as one ONNX operator, ``TreeEnsemble``, which any ONNX runtime can score.

The file is written by protobuf, which MLflow brings, from the few messages of ONNX's published
format that it needs: the ``onnx`` package would add 30 MB to every first run.
"""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .scoring.forest import INPUT, OUTPUT, average_path_length

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

_IR_VERSION, _OPSET, _ML_OPSET = 10, 21, 5
_ML = "ai.onnx.ml"
_DOUBLE, _BYTE = 11, 2  # TensorProto.DataType
_INT, _TENSOR, _INTS = 2, 4, 7  # AttributeProto.AttributeType
_AT_MOST, _SUM = 0, 1  # modes of a node, of adding up the trees
# Message: field: (number, type, is it repeated); types of ours are messages.
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Model": {
        "ir_version": (1, "int64", False),
        "producer_name": (2, "string", False),
        "graph": (7, "Graph", False),
        "opset_import": (8, "Opset", True),
    },
    "Opset": {"domain": (1, "string", False), "version": (2, "int64", False)},
    "Graph": {
        "node": (1, "Node", True),
        "name": (2, "string", False),
        "input": (11, "Value", True),
        "output": (12, "Value", True),
    },
    "Node": {
        "input": (1, "string", True),
        "output": (2, "string", True),
        "op_type": (4, "string", False),
        "attribute": (5, "Attribute", True),
        "domain": (7, "string", False),
    },
    "Attribute": {
        "name": (1, "string", False),
        "i": (3, "int64", False),
        "t": (5, "Tensor", False),
        "ints": (8, "int64", True),
        "type": (20, "int32", False),
    },
    "Tensor": {
        "dims": (1, "int64", True),
        "data_type": (2, "int32", False),
        "raw_data": (9, "bytes", False),
    },
    "Value": {"name": (1, "string", False), "type": (2, "Type", False)},
    "Type": {"tensor_type": (1, "TensorType", False)},
    "TensorType": {"elem_type": (1, "int32", False), "shape": (2, "Shape", False)},
    "Shape": {"dim": (1, "Dimension", True)},
    "Dimension": {"dim_value": (1, "int64", False), "dim_param": (2, "string", False)},
}


class ExportError(ValueError):
    """A model cannot be written as one tree operator."""


def to_onnx(forest: "IsolationForest") -> bytes:
    """Write a fitted isolation forest as an ONNX file.

    Its input ``standard`` has shape ``(n, features)``, double precision; its output
    ``path_length``, shape ``(n, 1)``, is the sum over the trees of how deep a row falls, the
    average path length of the rows that share its leaf included.

    Raises
    ------
    ExportError
        If it is no fitted isolation forest.
    """
    _refuse_other_than_fitted(forest)
    trees = zip(forest.estimators_, forest.estimators_features_, strict=True)
    attributes = _attributes([_flat(tree.tree_, features) for tree, features in trees])
    node = {
        "input": [INPUT],
        "output": [OUTPUT],
        "op_type": "TreeEnsemble",
        "domain": _ML,
        "attribute": [_attribute(name, value) for name, value in attributes.items()],
    }
    graph = {
        "name": "isolation_forest",
        "node": [node],
        "input": [_value(INPUT, int(forest.n_features_in_))],
        "output": [_value(OUTPUT, 1)],
    }
    model = {
        "ir_version": _IR_VERSION,
        "producer_name": __package__,
        "graph": graph,
        "opset_import": [{"version": _OPSET}, {"domain": _ML, "version": _ML_OPSET}],
    }
    return _messages()["Model"](**model).SerializeToString(deterministic=True)


def expected_path_length(forest: "IsolationForest") -> float:
    """Return what the path lengths of a row are divided by: that of all trees, on average."""
    rows = average_path_length(np.array([forest.max_samples_]))[0]
    return float(len(forest.estimators_) * rows)


def _refuse_other_than_fitted(forest: Any) -> None:
    from sklearn.ensemble import IsolationForest

    if not (isinstance(forest, IsolationForest) and hasattr(forest, "estimators_")):
        raise ExportError(f"this {type(forest).__name__} is not a fitted isolation forest")


def _flat(tree: Any, features: np.ndarray) -> dict[str, np.ndarray]:
    """List the inner nodes of a tree and its leaves apart, as the operator wants them."""
    is_leaf = tree.children_left == -1
    place = np.where(is_leaf, np.cumsum(is_leaf), np.cumsum(~is_leaf)) - 1
    left, right = tree.children_left[~is_leaf], tree.children_right[~is_leaf]
    depth = tree.compute_node_depths() + average_path_length(tree.n_node_samples) - 1.0
    return {
        "feature": features[tree.feature[~is_leaf]],
        "split": tree.threshold[~is_leaf],
        "left": place[left],
        "left_is_leaf": is_leaf[left],
        "right": place[right],
        "right_is_leaf": is_leaf[right],
        "depth": depth[is_leaf],
    }


def _attributes(trees: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Put the trees one after the other; a tree that is a single leaf has no root to name."""
    if any(len(tree["split"]) == 0 for tree in trees):
        raise ExportError("a tree of the forest has learnt nothing: its readings are all the same")
    inner = np.cumsum([0, *(len(tree["split"]) for tree in trees)])
    leaves = np.cumsum([0, *(len(tree["depth"]) for tree in trees)])

    def joined(name: str) -> np.ndarray:
        return np.concatenate([tree[name] for tree in trees])

    def children(side: str) -> np.ndarray:
        shifted = [
            tree[side] + np.where(tree[f"{side}_is_leaf"], leaf, node)
            for tree, node, leaf in zip(trees, inner[:-1], leaves[:-1], strict=True)
        ]
        return np.concatenate(shifted)

    return {
        "aggregate_function": _SUM,
        "leaf_targetids": np.zeros(leaves[-1], int),
        "leaf_weights": joined("depth").astype("<f8"),
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


def _attribute(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"name": name, "type": _INT, "i": value}
    if value.dtype.kind == "i":
        return {"name": name, "type": _INTS, "ints": value.tolist()}
    kind = _DOUBLE if value.dtype.kind == "f" else _BYTE
    tensor = {"dims": [len(value)], "data_type": kind, "raw_data": value.tobytes()}
    return {"name": name, "type": _TENSOR, "t": tensor}


def _value(name: str, columns: int) -> dict[str, Any]:
    shape = {"dim": [{"dim_param": "n"}, {"dim_value": columns}]}
    return {"name": name, "type": {"tensor_type": {"elem_type": _DOUBLE, "shape": shape}}}


@cache
def _messages() -> Mapping[str, Any]:
    """Make the classes of the messages."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="onnx_subset.proto", package="onnx_subset")
    file.syntax = "proto2"
    field = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, repeated) in fields.items():
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            added = described.field.add(name=name, number=number, label=label)
            if kind in _MESSAGES:
                added.type, added.type_name = field.TYPE_MESSAGE, f".onnx_subset.{kind}"
            else:
                added.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"onnx_subset.{name}"))
        for name in _MESSAGES
    }
