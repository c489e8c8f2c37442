"""The processes of a distributed step: as many as Azure ML starts, told what its launchers tell."""

import json
import socket
from collections.abc import Mapping
from typing import Any

_HERE = "127.0.0.1"


def variables_of_ranks(distribution: Mapping[str, Any], instances: int) -> list[dict[str, str]]:
    """Return the variables of each process; one process without any if nothing is distributed.

    References
    ----------
    https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu
    """
    kind = str(distribution.get("type", "")).lower()
    if kind == "tensorflow":
        workers = int(distribution.get("worker_count") or instances)
        return _tensorflow(workers, int(distribution.get("parameter_server_count") or 0))
    each = int(distribution.get("process_count_per_instance") or 1)
    if kind == "mpi":
        return [_mpi(rank, each, instances) for rank in range(each * instances)]
    if kind == "pytorch":
        (port,) = _free_ports(1)
        return [_pytorch(rank, each, instances, port) for rank in range(each * instances)]
    return [{}]


def _pytorch(rank: int, each: int, instances: int, port: int) -> dict[str, str]:
    return {
        "MASTER_ADDR": _HERE,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(each * instances),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank % each),
        "NODE_RANK": str(rank // each),
    }


def _mpi(rank: int, each: int, instances: int) -> dict[str, str]:
    return {
        "OMPI_COMM_WORLD_SIZE": str(each * instances),
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(each),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank % each),
    }


def _tensorflow(workers: int, servers: int) -> list[dict[str, str]]:
    addresses = [f"{_HERE}:{port}" for port in _free_ports(workers + servers)]
    cluster = {"worker": addresses[:workers]}
    if servers:
        cluster["ps"] = addresses[workers:]
    tasks = [(kind, index) for kind, members in cluster.items() for index in range(len(members))]
    return [
        {
            "TF_CONFIG": json.dumps(
                {
                    "cluster": cluster,
                    "task": {"type": kind, "index": index},
                    "environment": "cloud",
                }
            )
        }
        for kind, index in tasks
    ]


def _free_ports(count: int) -> list[int]:
    """Find ports that nobody listens at; all are held until the last is found."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((_HERE, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
