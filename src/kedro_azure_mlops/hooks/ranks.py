"""Find a process's rank in a distributed step: only the first one writes and tracks."""

import json
import logging
import os
from typing import Any

from kedro_azure_mlops.errors import OperationError

logger = logging.getLogger(__name__)

# set by the launchers of PyTorch and Open MPI: the rank of a process and the number of processes;
# other programs use RANK for something else
_NUMBERS = {"RANK": "WORLD_SIZE", "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE"}
_LEADERS = ("chief", "master", "worker")


def rank() -> int:
    """Return the rank of this process in its step; 0 for the first or only one.

    Raises
    ------
    OperationError
        If the variable that holds it cannot be read.
    """
    for name, count in _NUMBERS.items():
        if os.environ.get(count, "1") != "1" and (text := os.environ.get(name)):
            if not text.isdecimal():
                raise OperationError(f"{name} is {text!r}, but must be the number of this process.")
            return int(text)
    text = os.environ.get("TF_CONFIG")
    return _tensorflow_rank(text) if text else 0


def store_nothing_unless_first(pipeline: Any, catalog: Any) -> None:
    """Keep the outputs of a process in memory, unless it is the first of its step.

    All processes of a distributed step run the same nodes, and would overwrite each other's files.
    """
    from kedro.io import MemoryDataset

    if rank() > 0:
        logger.info("Process %d of a distributed step stores nothing", rank())
        for name in pipeline.all_outputs():
            catalog[name] = MemoryDataset(copy_mode="assign")


def _tensorflow_rank(text: str) -> int:
    """Return the rank in TensorFlow's order, where the chief comes first, then the workers."""
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        kinds = [kind for kind in _LEADERS if kind in cluster]
        kinds += [kind for kind in sorted(cluster) if kind not in _LEADERS]
        tasks = [(kind, index) for kind in kinds for index in range(len(cluster[kind]))]
        own = (task["type"], int(task["index"])) if task else None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise OperationError(f"TF_CONFIG cannot be read: {text}") from error
    if own is None:
        return 0
    return tasks.index(own) if own in tasks else len(tasks)
