"""The real client, led to the stand-in, with what a first job needs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from operation.tests.azure import StandIn

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

# what `provision` makes
ENVIRONMENT = "azureml:small:1"
CLUSTER = "azureml:cpu-cluster"


@contextmanager
def connected(azure: StandIn) -> "Iterator[MLClient]":
    """Lead this process to the stand-in and give a client of its workspace."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AZURE")]:
            patch.delenv(name)  # the developer's own
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential

        with DefaultAzureCredential() as credential:
            yield MLClient(credential, azure.subscription, azure.resource_group, azure.workspace)


def provision(ml: "MLClient") -> None:
    """Make the cluster and the environment that ``CLUSTER`` and ``ENVIRONMENT`` name."""
    from azure.ai.ml.entities import AmlCompute, Environment

    size = "STANDARD_DS3_V2"
    ml.compute.begin_create_or_update(AmlCompute(name="cpu-cluster", size=size)).result()
    ml.environments.create_or_update(Environment(name="small", version="1", image="debian:12"))
