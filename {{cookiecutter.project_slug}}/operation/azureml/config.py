"""The keys of ``azureml.yml``, strictly: an unknown key or a wrong type stops at once."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from operation.errors import OperationError

CONFIGURATION = "operation/configuration"
SERVERLESS = "serverless"  # machines that Azure ML finds by itself: no cluster to make
StepName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*$")]
Count = Annotated[int, Field(ge=1)]
# what pydantic puts into the place of a fault besides the keys of the file
_NO_KEYS = ("pytorch", "mpi", "tensorflow", "Environment", "[key]")
Mode = Literal["ro_mount", "rw_mount", "download", "upload", "direct", "eval_mount"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for key in given:
                if key not in cls.model_fields:
                    allowed = ", ".join(cls.model_fields)
                    raise ValueError(f"unknown key {key!r}; allowed are {allowed}")
        return given


class Workspace(_Strict):
    """The workspace of one environment, and the names of what belongs to it."""

    subscription_id: str | None = None
    resource_group: str | None = None
    name: str | None = None
    location: str | None = None  # where the resource group is
    storage_account: str | None = None
    key_vault: str | None = None
    container_registry: str | None = None
    application_insights: str | None = None
    log_analytics: str | None = None  # where Application Insights keeps what it is sent


class Cluster(_Strict):
    """A compute cluster that ``provision`` makes."""

    size: str
    min_instances: Annotated[int, Field(ge=0)] = 0
    max_instances: Count = 4
    idle_seconds: Annotated[int, Field(ge=60)] = 300
    tier: Literal["dedicated", "low_priority"] = "dedicated"


class Datastore(_Strict):
    """A blob container that ``provision`` makes known to the workspace, opened by identity."""

    account_name: str
    container_name: str


class Environment(_Strict):
    """The environment of the steps, made from the locks of ``requirements/``."""

    name: str
    kind: Literal["docker", "conda"]
    image: str  # what it is built upon
    python: str


class PyTorch(_Strict):
    """One process per GPU or core on each instance, as ``torchrun`` starts them."""

    type: Literal["pytorch"]
    process_count_per_instance: Count = 1


class Mpi(_Strict):
    """Processes started by MPI."""

    type: Literal["mpi"]
    process_count_per_instance: Count = 1


class TensorFlow(_Strict):
    """Workers and parameter servers that know each other by ``TF_CONFIG``."""

    type: Literal["tensorflow"]
    worker_count: Count = 1
    parameter_server_count: Annotated[int, Field(ge=0)] = 0


class Spark(_Strict):
    """Sizes of a serverless Spark session."""

    instance_type: str = "standard_e4s_v3"
    runtime_version: str = "3.4"
    driver_cores: Count = 1
    driver_memory: str = "2g"
    executor_cores: Count = 2
    executor_memory: str = "2g"
    executor_instances: Count = 2
    conf: dict[str, Any] = {}


class Step(_Strict):
    """A step: the filters of ``kedro run``, and where and how it runs."""

    pipelines: list[str] = []
    tags: list[str] = []
    nodes: list[str] = []
    namespaces: list[str] = []
    compute: str | None = None
    environment: str | None = None
    instance_type: str | None = None
    instance_count: Count | None = None
    shm_size: str | None = None
    distribution: Annotated[PyTorch | Mpi | TensorFlow, Field(discriminator="type")] | None = None
    timeout_seconds: Count | None = None
    environment_variables: dict[str, str | int | float | bool] = {}
    identity: Literal["user", "managed"] | None = None
    reuse: bool | None = None
    spark: Spark | None = None

    @model_validator(mode="after")
    def _fits_spark(self) -> "Step":
        refused = {
            "environment_variables": self.environment_variables,
            "distribution": self.distribution,
            "instance_count": self.instance_count,
            "instance_type": self.instance_type,
            "shm_size": self.shm_size,
            "compute": self.compute,
            "timeout_seconds": self.timeout_seconds,
        }
        wrong = [name for name, value in refused.items() if value]
        if self.spark and wrong:
            raise ValueError(
                f"a Spark step takes no {', '.join(wrong)}: Azure ML runs it on serverless Spark, "
                "which is set under spark: (variables as conf: spark.yarn.appMasterEnv.NAME)"
            )
        return self


class Input(_Strict):
    """A dataset that the job is given; without ``path`` the file that the catalog names."""

    path: str | None = None
    type: Literal["uri_file", "uri_folder", "mltable"] = "uri_file"
    mode: Mode | None = None


class Output(_Strict):
    """A dataset that the job keeps."""

    type: Literal["uri_folder", "uri_file", "mltable", "mlflow_model", "custom_model"] = (
        "uri_folder"
    )
    # uploaded when the step has ended: models are moved into place, which a mount may refuse
    mode: Literal["upload", "rw_mount", "direct"] = "upload"
    path: str | None = None
    name: str | None = None
    version: str | None = None


class AzureML(_Strict):
    """How the pipeline of one environment becomes an Azure ML job."""

    workspace: Workspace = Workspace()
    experiment: str
    pipeline: str = "__default__"
    code: Literal["."] | None = "."
    image: str | None = None
    working_directory: str | None = None
    environment: Environment | str | None = None
    compute: str
    clusters: dict[str, Cluster] = {}
    datastores: dict[str, Datastore] = {}
    identity: Literal["user", "managed"] | None = None
    steps: dict[StepName, Step | None] = {}
    inputs: dict[str, Input | None] = {}
    outputs: dict[str, Output | None] = {}
    params: list[str] = []

    @model_validator(mode="after")
    def _has_code(self) -> "AzureML":
        if self.code is None and not (self.image and self.working_directory):
            raise ValueError(
                "code: null means that the code is in a Docker image: name it in image, and its "
                "folder of the project in working_directory"
            )
        if not (self.image or self.environment):
            raise ValueError("give an environment or an image")
        return self


def refuse_no_project(root: Path) -> None:
    """Refuse a folder that holds no project.

    Raises
    ------
    OperationError
        If there is no ``pyproject.toml``.
    """
    if not (root / "pyproject.toml").is_file():
        raise OperationError(
            f"{root.name} is not the folder of a project: there is no pyproject.toml."
        )


def read_config(root: Path, env: str, parameters: dict[str, Any] | None = None) -> AzureML:
    """Read ``azureml.yml`` of an environment, what it leaves out from base.

    Raises
    ------
    OperationError
        If a key or a value is wrong: names the file, the key and what is allowed.
    MissingConfigException
        If there is no such environment.
    """
    bootstrap_project(root)
    options = settings.CONFIG_LOADER_ARGS
    loader = OmegaConfigLoader(
        conf_source=str(root / CONFIGURATION),
        env=env,
        runtime_params=parameters,
        **options
        | {
            "config_patterns": options["config_patterns"] | {"azureml": ["azureml*"]},
            "merge_strategy": options["merge_strategy"] | {"azureml": "soft"},
        },
    )
    try:
        return AzureML(**loader["azureml"])
    except ValidationError as error:
        # of the two ways to give an environment the one with keys is explained
        wrong = [fault for fault in error.errors() if fault["loc"][-1:] != ("str",)]
        faults = [_sentence(root, env, fault) for fault in wrong]
        raise OperationError("\n".join(faults)) from error


def _sentence(root: Path, env: str, fault: Any) -> str:
    keys = [str(key) for key in fault["loc"] if key not in _NO_KEYS]
    message = re.sub("^Value error, ", "", fault["msg"])
    if fault["type"] == "string_pattern_mismatch":
        message = "a name of lower-case letters, digits and _ is needed, as Azure ML asks"
    given = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
    return f"{_file_of(root, env, keys)}: {'.'.join(keys) or 'azureml.yml'}: {message}{given}"


def _file_of(root: Path, env: str, keys: list[str]) -> str:
    """Find the file that says what is wrong: the environment's own, else base's."""
    for folder in (env, "base"):
        name = f"{CONFIGURATION}/{folder}/azureml.yml"
        if (root / name).is_file() and _has(yaml.safe_load((root / name).read_text("utf-8")), keys):
            return name
    return f"{CONFIGURATION}/base/azureml.yml"


def _has(found: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True
