"""The exported forest, run by ONNX Runtime as one tree operator."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

MODEL = "model.onnx"
INPUT, OUTPUT = "standard", "path_length"

# Gives the raw scores, shape (n,), of standardised features, shape (n, 7).
Forest = Callable[[np.ndarray], np.ndarray]


def load_forest(folder: Path, expected_path_length: float) -> Forest:
    """Load the forest of a model folder.

    Its sums are made in double precision and by one thread, in the order of the trees, so that the
    scores are those of scikit-learn, bit by bit.
    """
    # It would report its use to its maker; its own disable_telemetry_events() does not stop that.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors; it warns about graphics cards that are not there
    session = onnxruntime.InferenceSession(
        (folder / MODEL).read_bytes(), options, providers=["CPUExecutionProvider"]
    )

    def raw_scores(standard: np.ndarray) -> np.ndarray:
        # scikit-learn's trees compare features in single precision
        rows = standard.astype(np.float32).astype(np.float64)
        path_length = session.run([OUTPUT], {INPUT: rows})[0][:, 0]
        return raw_of_path_length(path_length, expected_path_length)

    return raw_scores


def raw_of_path_length(path_length: np.ndarray, expected: float) -> np.ndarray:
    """Turn the summed path lengths of a row into its raw score: near 1 is isolated at once.

    Equation 2 of Liu, Ting and Zhou, "Isolation Forest", ICDM 2008.
    """
    return 2 ** (-path_length / expected)


def average_path_length(n: np.ndarray) -> np.ndarray:
    """Return the mean path length of a search in a random tree of ``n`` rows (their equation 1)."""
    rows = np.asarray(n, float)
    many = np.maximum(rows, 3.0)
    of_many = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, of_many))
