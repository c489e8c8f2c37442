"""Read ``azureml.yml`` and ``mlops.yml``: strict models, errors with file and key.

``azureml.yml`` defines how the pipeline becomes a job and where it runs; ``mlops.yml`` covers
tracking, the gate, serving, deployment and monitoring. Both follow Kedro's rules: an environment
holds only its differences from ``base``, and ``${globals:...}`` works.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework import project
from kedro.framework.project import pipelines, settings
from kedro.framework.startup import ProjectMetadata, bootstrap_project
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.parameters import Parameters, Span, explain

if TYPE_CHECKING:  # part of the server's code
    from kedro_azure_mlops.serve.record import Settings

SERVERLESS = "serverless"  # machines that Azure ML provides itself, without a cluster
LONGEST_NAME = 32  # of endpoints and deployments in Azure
Count = Annotated[int, Field(ge=1)]
Percent = Annotated[int, Field(ge=1, le=100)]
Seconds = Annotated[int, Field(ge=0)]
Mode = Literal["ro_mount", "download", "direct", "eval_mount", "eval_download"]
_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_STEP = re.compile(r"[a-z_][a-z0-9_]*")
_INSTANCE_TYPE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi)?")


def _legal(name: str) -> str:
    if not _ENDPOINT.fullmatch(name):
        raise ValueError(
            "Azure allows 3 to 32 letters, digits and hyphens; the first must be a letter, the "
            "last must not be a hyphen"
        )
    return name


def _legal_step(name: str) -> str:
    if not _STEP.fullmatch(name):
        raise ValueError("Azure ML requires a name of lower-case letters, digits and _")
    return name


def _legal_instance_type(name: str) -> str:
    if not _INSTANCE_TYPE.fullmatch(name):
        raise ValueError(
            "must be the lower-case name of an InstanceType of the cluster, not the size of a "
            "virtual machine"
        )
    return name


def _legal_quantity(value: Any) -> Any:
    text = str(value)
    if isinstance(value, bool) or not _QUANTITY.fullmatch(text) or not float(text.rstrip("mkKiMG")):
        raise ValueError(
            "use the Kubernetes format: cpu such as 2 or 500m, memory such as 512Mi or 2Gi"
        )
    return text


def _bare(name: str) -> str:
    if name.startswith("azureml:"):
        raise ValueError(f"write the name alone: {name.removeprefix('azureml:')}")
    return name


def _reference(name: str) -> str:
    if not name.startswith("azureml:"):
        raise ValueError(
            "must be azureml:NAME:VERSION, azureml:NAME@latest, or an address "
            "azureml://registries/..."
        )
    return name


ComputeName = Annotated[str, AfterValidator(_bare)]
EndpointName = Annotated[str, AfterValidator(_legal)]
EnvironmentReference = Annotated[str, AfterValidator(_reference)]
InstanceType = Annotated[str, AfterValidator(_legal_instance_type)]
Quantity = Annotated[str, BeforeValidator(_legal_quantity)]
StepName = Annotated[str, AfterValidator(_legal_step)]


class _Strict(Parameters, BaseModel):  # BaseModel for ruff, which checks file by file
    """A group of keys, validated as strictly as parameters."""


class Workspace(_Strict):
    """The workspace of one environment, and the names of its resources."""

    subscription_id: str | None = None  #: the Azure subscription
    #: its resource group; `provision` creates what is missing in it
    resource_group: str | None = None
    name: str | None = None  #: its name
    location: str | None = None  #: the region of the resource group, such as `westeurope`
    storage_account: str | None = None  #: for data and artifacts
    key_vault: str | None = None  #: for secrets of the workspace
    container_registry: str | None = None  #: for the images of environments
    application_insights: str | None = None  #: for the logs of endpoints
    log_analytics: str | None = None  #: where Application Insights stores its data


class Cluster(_Strict):
    """A compute cluster that ``provision`` creates."""

    size: str  #: the size of its virtual machines, such as `Standard_DS3_v2`
    #: machines that are kept, and paid for, even without jobs
    min_instances: Annotated[int, Field(ge=0)] = 0
    max_instances: Count = 4  #: the largest number of machines
    idle_seconds: Annotated[int, Field(ge=60)] = 300  #: how long an idle machine is kept
    #: `low_priority` costs less, and Azure may take the machines away
    tier: Literal["dedicated", "low_priority"] = "dedicated"


class Datastore(_Strict):
    """A blob container that ``provision`` registers in the workspace, accessed by identity."""

    account_name: str  #: the storage account
    container_name: str  #: the container


class Environment(_Strict):
    """The environment of the steps, built from the locks in ``requirements/``."""

    name: str  #: its name in the workspace
    kind: Literal["docker", "conda"]  #: `conda` cannot install the wheels of `wheels/`
    image: str  #: the base image
    python: str  #: the version of Python in it
    #: the locks that are installed, in this order
    locks: list[str] = ["requirements/run.txt", "requirements/job.txt"]
    dockerfile: str | None = None  #: a Dockerfile of the project; null: the plugin's


class PyTorch(_Strict):
    """One process per GPU or core on each instance, as ``torchrun`` starts them."""

    type: Literal["pytorch"]  #: the launcher
    process_count_per_instance: Count = 1  #: usually the number of GPUs


class Mpi(_Strict):
    """Processes started by MPI."""

    type: Literal["mpi"]  #: the launcher
    process_count_per_instance: Count = 1  #: processes on each machine


class TensorFlow(_Strict):
    """Workers and parameter servers that find each other through ``TF_CONFIG``."""

    type: Literal["tensorflow"]  #: the launcher
    worker_count: Count = 1  #: the number of workers
    parameter_server_count: Annotated[int, Field(ge=0)] = 0  #: the number of parameter servers


class Spark(_Strict):
    """Sizes of a serverless Spark session."""

    #: a file of the project that calls `job.spark_entry.main(__file__)`
    entry: str = "spark_entry.py"
    instance_type: str = "standard_e4s_v3"  #: the size of the machines
    #: the version of Spark; that of 3.4 has a Python too old for the plugin
    runtime_version: str = "3.5"
    driver_cores: Count = 1  #: cores of the driver
    driver_memory: str = "2g"  #: memory of the driver: what `sample` and `to_pandas` return
    executor_cores: Count = 2  #: cores of each executor
    executor_memory: str = "2g"  #: memory of each executor
    executor_instances: Count = 2  #: the number of executors
    conf: dict[str, Any] = {}  #: further settings of Spark, by name


class Step(_Strict):
    """A step: the filters of ``kedro run``, its compute and its settings."""

    pipelines: list[str] = []  #: the registered pipelines that it runs
    tags: list[str] = []  #: only nodes with one of these tags
    nodes: list[str] = []  #: only these nodes
    namespaces: list[str] = []  #: only nodes of these namespaces
    compute: ComputeName | None = None  #: a cluster, or `serverless`; null: `compute` of the job
    #: a registered Azure ML environment, `azureml:name:version`
    environment: EnvironmentReference | None = None
    instance_type: str | None = None  #: the size of machine, if `serverless` or Kubernetes
    instance_count: Count | None = None  #: the number of machines
    shm_size: str | None = None  #: shared memory of the container, such as `8g`
    #: how several processes are started: PyTorch, MPI or TensorFlow
    distribution: Annotated[PyTorch | Mpi | TensorFlow, Field(discriminator="type")] | None = None
    timeout_seconds: Count | None = None  #: after this time Azure ML ends the step
    #: never secrets: they are visible in the Studio
    environment_variables: dict[str, str | int | float | bool] = {}
    #: who reads the data; null: `identity` of the job
    identity: Literal["user", "managed"] | None = None
    reuse: bool | None = None  #: false: run it again even if nothing has changed
    spark: Spark | None = None  #: run it on serverless Spark, with these sizes

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
                f"a Spark step cannot have {', '.join(wrong)}: it runs on serverless Spark, which "
                "is configured under spark: (variables as conf: spark.yarn.appMasterEnv.NAME)"
            )
        return self


class Input(_Strict):
    """An input dataset of the job; without ``path``, the file that the catalog names."""

    #: a file, an address or `azureml:name:version`; null: the catalog's file
    path: str | None = None
    type: Literal["uri_file", "uri_folder", "mltable"] = "uri_file"  #: what the path is
    mode: Mode | None = None  #: how Azure ML makes it available; `eval_` for `mltable` only

    @model_validator(mode="after")
    def _mode_fits_type(self) -> "Input":
        if self.mode and self.mode.startswith("eval_") and self.type != "mltable":
            raise ValueError(f"mode: {self.mode} requires type: mltable, not {self.type}")
        return self


class Output(_Strict):
    """An output dataset of the job."""

    #: what the path is
    type: Literal["uri_folder", "uri_file", "mltable", "mlflow_model", "custom_model"] = (
        "uri_folder"
    )
    #: `upload` after the step: a mount may not allow models to be moved into place
    mode: Literal["upload", "rw_mount", "direct"] = "upload"
    path: str | None = None  #: an address of a datastore; null: one for each job
    name: str | None = None  #: registers the output as a data asset of this name
    version: str | None = None  #: the version of that asset; null: the next


class AzureML(_Strict):
    """The Azure ML job that runs the pipeline of one environment."""

    workspace: Workspace = Workspace()  #: the workspace and the names of its resources
    experiment: str | None = None  #: null: the project's name and the environment
    pipeline: str = "__default__"  #: the registered pipeline that the job runs
    code: Literal["."] | None = "."  #: null: the code is in `image`
    image: str | None = None  #: the Docker image of all steps, instead of `environment`
    working_directory: str | None = None  #: the project's folder in that image
    #: built from the locks, or the name of a registered one
    environment: Environment | EnvironmentReference | None = None
    compute: ComputeName  #: the cluster of steps that name none, or `serverless`
    clusters: dict[str, Cluster] = {}  #: clusters to create, by name
    datastores: dict[str, Datastore] = {}  #: containers to register, by name
    #: who reads the data: the person who submits, or the cluster
    identity: Literal["user", "managed"] | None = None
    #: the steps, by name; none: one step runs the whole pipeline
    steps: dict[StepName, Step | None] = {}
    #: free inputs of the pipeline, by entry; null: the catalog's file
    inputs: dict[str, Input | None] = {}
    #: entries that the job stores, by name; null: a folder of the job
    outputs: dict[str, Output | None] = {}
    params: list[str] = []  #: parameters that can be set for each job, such as `model.alpha`
    carry: bool = True  #: whether datasets that the catalog does not store are passed between steps

    @model_validator(mode="after")
    def _has_code(self) -> "AzureML":
        if self.code is None and not (self.image and self.working_directory):
            raise ValueError(
                "code: null means that the code is in a Docker image: name it in image, and the "
                "project's folder in it in working_directory"
            )
        if not (self.image or self.environment):
            raise ValueError("set environment or image")
        return self


class Tracking(_Strict):
    """The catalog entries of a run that are recorded in MLflow."""

    enabled: bool = True  #: whether runs are recorded
    uri: str = "sqlite:///mlruns.db"  #: relative to the project; `MLFLOW_TRACKING_URI` overrides it
    experiment: str | None = None  #: null: the name of the project's package
    experiment_folder: str | None = None  #: on Databricks; null: `/Shared/` and the package's name
    #: `warn`: run without a record if the server is away
    when_unreachable: Literal["error", "warn"] = "error"
    model: str | None = None  #: the trained model, an entry of type ModelDataset
    data: str | None = None  #: the entry with the data that it is trained on
    data_report: str | None = None  #: a JSON entry about the data, with the key `fingerprint`
    scores: str | None = None  #: the entry whose digest shows whether a run was reproduced
    metrics: list[str] | None = None  #: entries of numbers; null: every JSON entry of numbers
    artifacts: list[str] = []  #: entries whose files are stored with the run

    @field_validator("experiment_folder")
    @classmethod
    def _is_absolute(cls, folder: str | None) -> str | None:
        if folder is not None and not folder.startswith("/"):
            raise ValueError(f"must be a workspace path, such as /Shared/{folder}")
        return folder


class Registry(_Strict):
    """The registry of an environment's models, and the conditions for adding to it."""

    kind: Literal["mlflow", "azureml"] = "mlflow"  #: where models are registered
    name: str | None = None  #: of the registered model; null: the name of the experiment
    #: for `mlflow`; null: `MLFLOW_TRACKING_URI` or `tracking.uri`. On Databricks, `databricks` is
    #: the workspace's registry and `databricks-uc` is Unity Catalog
    uri: str | None = None
    shared_registry: str | None = None  #: for `azureml`: a registry that several workspaces share
    moves_champion: bool = True  #: whether a run's model that passes the gate becomes champion
    promoted_from: str | None = None  #: the environment whose champion is promoted to this one
    approval: bool = False  #: whether a promotion must name who approved it, and why

    @model_validator(mode="after")
    def _keys_fit_kind(self) -> "Registry":
        if self.kind == "azureml" and self.uri:
            raise ValueError("uri is for kind: mlflow; azureml uses the workspace of azureml.yml")
        if self.kind == "mlflow" and self.shared_registry:
            raise ValueError("shared_registry is for kind: azureml")
        return self


FORBIDDEN = re.compile(r"[^\w\-. /:]")
"""Characters that MLflow forbids in the names of metrics, parameters and tags."""


class Rule(_Strict):
    """A rule of the gate about one metric of the challenger."""

    metric: str  #: a metric of the challenger
    better: Literal["higher", "lower"] = "higher"  #: with a `maximum` alone: `lower`
    minimum: float | None = None  #: the smallest value allowed
    maximum: float | None = None  #: the largest value allowed
    #: how much worse than the champion it may be
    champion_tolerance: Annotated[float, Field(ge=0)] | None = None
    beats: list[str] = []  #: rows of `gate.table` that the challenger must beat
    needs_labels: bool = False  #: whether it can only be measured with labels
    without_labels: bool = False  #: whether it replaces `needs_labels` rules if labels are missing
    slice: Literal["worst"] | None = None  #: judge the slice with the worst value, by `gate.slices`
    label: str | None = None  #: the name in messages; null: the metric's name
    quiet: bool = False  #: whether its number is shown only if it is the reason to refuse

    @property
    def key(self) -> str:
        """The name of its measured value."""
        return f"{self.metric}.{self.slice}" if self.slice else self.metric

    @model_validator(mode="before")
    @classmethod
    def _a_maximum_alone_means_lower(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("maximum") is not None:
            better = "lower" if data.get("minimum") is None else "higher"
            return {"better": better} | data
        return data

    @model_validator(mode="after")
    def _can_be_applied(self) -> "Rule":
        if wrong := FORBIDDEN.search(self.metric):
            raise ValueError(f"MLflow does not store a metric with {wrong[0]!r} in its name")
        if self.needs_labels and self.without_labels:
            raise ValueError("needs_labels and without_labels exclude each other")
        if self.slice and (self.beats or self.champion_tolerance is not None):
            raise ValueError("a rule about a slice can only have minimum and maximum")
        return self


class Gate(_Strict):
    """The conditions for a challenger to become champion."""

    rules: list[Rule] = []  #: none: every model passes, and the log says so
    table: str | None = None  #: the entry with a row for challenger, champion and each baseline
    #: the entry with a row for each slice of the data, a column for each metric
    slices: str | None = None
    judged: str | None = None  #: the model that was measured, if `tracking.model` is its refit
    #: the JSON entry with the gate's decision, if a node of the project makes it
    decision: str | None = None
    #: what happens if the champion cannot be measured on this data
    on_incomparable: Literal["refuse", "replace"] = "refuse"
    require_labels: bool = False  #: refuse a model that no rule about labels could judge
    second_path: bool = True  #: whether rules with `without_labels` count as rules about labels

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics that the rules limit."""
        return {rule.metric for rule in self.rules}

    @model_validator(mode="after")
    def _one_rule_per_metric(self) -> "Gate":
        names = [rule.key + " without labels" * rule.without_labels for rule in self.rules]
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rules name the metric {', '.join(duplicates)} twice")
        return self


class UpdatePolicy(_Strict):
    """The conditions for retraining the model of an environment, and the data to use."""

    when: Literal["drift", "schedule", "never"] = "drift"  #: on drift, on a schedule, or never
    every: Span | None = None  #: the least age of the champion; with `schedule`, the interval
    watch: str | None = None  #: the environment whose answers are monitored; null: this one
    parameters: list[str] = []  #: taken from that environment, such as those that name its data

    @model_validator(mode="after")
    def _has_a_schedule(self) -> "UpdatePolicy":
        if self.when == "schedule" and self.every is None:
            raise ValueError("when: schedule needs every, such as 7D")
        return self


class ServingEnvironment(_Strict):
    """The base image for the serving lock."""

    name: str  #: its name in the workspace
    image: str  #: the base image


class Mirror(_Strict):
    """The share of traffic copied to a new deployment, whose answers are discarded."""

    percent: Annotated[int, Field(ge=1, le=50)]  #: of the traffic; at most Azure's limit
    seconds: Seconds  #: how long, before it gets traffic


class Batch(_Strict):
    """The batch endpoint, by default named after the online endpoint, with ``-batch`` appended."""

    #: its name; null: that of the online endpoint and `-batch`
    endpoint: EndpointName | None = None
    compute: str  #: the cluster that it runs on
    pipeline: str = "score"  #: the registered pipeline that scores a batch
    input: str | None = None  #: the entry it reads; null: the only one besides models
    output: str | None = None  #: the entry it writes; null: the only one
    example: str | None = None  #: a file to try it with; null: the model's own example, as CSV


class Resources(_Strict):
    """The resources of a container, in the units of Kubernetes."""

    cpu: Quantity  #: such as `500m` or `2`
    memory: Quantity  #: such as `512Mi` or `2Gi`


class Kubernetes(_Strict):
    """The attached cluster that serves models if the target is ``kubernetes``."""

    compute: str  #: its name in the workspace; the attachment also sets the namespace
    #: an InstanceType of the cluster; the default exists on every one
    instance_type: InstanceType = "defaultinstancetype"
    auth_mode: Literal["aml_token", "key"] = "aml_token"  #: Entra tokens need a managed endpoint
    requests: Resources = Resources(cpu="500m", memory="1Gi")  #: what a container gets
    limits: Resources | None = None  #: the most it may use; null: those of the instance type


Target = Literal["managed", "kubernetes"]


class Deployment(_Strict):
    """The deployment of one environment's models."""

    #: its name, unique in the region; null: no online endpoint
    endpoint: EndpointName | None = None
    target: Target = "managed"  #: who provides the machines: Azure, or an attached cluster
    kubernetes: Kubernetes | None = None  #: the attached cluster
    #: how clients sign in to a managed endpoint
    auth_mode: Literal["aad_token", "key"] = "aad_token"
    instance_type: str = "Standard_DS3_v2"  #: the size of the machines
    instance_count: Count = 1  #: the number of machines of each deployment
    #: after this time a request fails
    request_timeout_seconds: Annotated[int, Field(ge=1, le=180)] = 5
    #: the base image; `requirements/serve.txt` is installed in it
    environment: ServingEnvironment | None = None
    #: percent of the traffic that a new deployment gets, step by step
    traffic: list[Percent] = [10, 50, 100]
    seconds_between_steps: Seconds = 60  #: how long each step is watched
    #: copy traffic to a new deployment before it gets any; null: do not
    mirror: Mirror | None = None
    #: how long the former deployment is kept, to go back to
    keep_old_hours: Annotated[float, Field(ge=0)] = 24
    #: endpoint metrics to print between the steps
    metrics: list[Literal["requests", "errors", "latency_p50", "latency_p95"]] = []
    batch: Batch | None = None  #: the batch endpoint; null: none

    @model_validator(mode="after")
    def _traffic_rises_to_100(self) -> "Deployment":
        steps = self.traffic
        if not steps or steps != sorted(set(steps)) or steps[-1] != 100:
            raise ValueError("traffic must rise and end with 100, as in [10, 50, 100]")
        return self

    @model_validator(mode="after")
    def _supports_target(self) -> "Deployment":
        if fault := self.fault_of_target():
            raise ValueError(fault)
        return self

    def fault_of_target(self) -> str:
        """Return why models cannot be deployed to the target; empty if they can."""
        if self.target == "kubernetes" and self.kubernetes is None:
            return "target kubernetes needs the attached cluster, as in kubernetes: {compute: aks}"
        if self.target == "kubernetes" and self.mirror is not None:
            return "Azure cannot mirror the traffic of target kubernetes: set mirror: null"
        return ""

    @property
    def cluster(self) -> Kubernetes | None:
        """The attached cluster that models are deployed to; None if Azure manages the machines."""
        return self.kubernetes if self.target == "kubernetes" else None

    @property
    def machines(self) -> str:
        """The machines of a deployment, as text."""
        if self.cluster:
            return f"{self.instance_count} x {self.cluster.instance_type} of {self.cluster.compute}"
        return f"{self.instance_count} x {self.instance_type}"

    @property
    def batch_endpoint(self) -> str:
        """The name of the batch endpoint: endpoint names are unique in a region."""
        chosen = self.batch.endpoint if self.batch else None
        name = f"{self.endpoint}-batch"
        if chosen or len(name) <= LONGEST_NAME:
            return chosen or name
        short = hashlib.sha256(str(self.endpoint).encode()).hexdigest()[:4]
        return f"{str(self.endpoint)[: LONGEST_NAME - 11].rstrip('-')}-{short}-batch"


class Monitoring(_Strict):
    """The data that is compared with the profile of the model in service."""

    #: null: recorded answers if there are any, else `data`; `collected`: those that Azure ML has
    #: stored
    source: Literal["served", "collected", "data"] | None = None
    data: str | None = None  #: the entry with the newest rows
    since: str | None = None  #: the span of newest data to judge; null: a window of the profile
    labels: str | None = None  #: the entry with a row per labelled row or event
    metrics: str | None = None  #: `package.module:function`, (rows, labels) -> numbers by name


class Recording(_Strict):
    """The recording of answers by servers, batch runs and devices."""

    enabled: bool = False  #: whether answers are recorded
    folder: str = "data/served"  #: relative to the project
    share: Annotated[float, Field(gt=0, le=1)] = 1.0  #: of the requests, each recorded whole
    #: beyond this, the oldest files are removed
    max_megabytes: Annotated[float, Field(gt=0)] = 1000
    keep_days: Annotated[float, Field(gt=0)] = 30  #: older files are removed
    leave_out: list[str] = []  #: columns of the model that are never written to the disk

    def settings(self, root: Path) -> "Settings":
        """Return the settings for a process on this machine that records for a project."""
        from kedro_azure_mlops.serve.record import Settings

        return Settings(
            (root / self.folder).resolve(),
            self.share,
            self.max_megabytes,
            self.keep_days,
            tuple(self.leave_out),
            sys.executable,
        )


class SparkSettings(_Strict):
    """The Spark session that a run opens if tables of its catalog are on Spark."""

    master: str | None = None  #: null: `SPARK_MASTER`, else all cores of this machine
    settings: dict[str, str | int | float | bool] = {}  #: further settings of Spark, by name


class Mlops(_Strict):
    """The settings of the plugin for one environment of a project."""

    tracking: Tracking = Tracking()  #: what is recorded in MLflow
    registry: Registry = Registry()  #: where models are registered
    gate: Gate = Gate()  #: when a model becomes champion
    #: `package.module:function`, folder -> Scorer; null: the stored MLflow model
    scorer: str | None = None
    champion: str | None = None  #: the entry of type RegisteredChampion that the comparison reads
    report: list[str] = []  #: text entries that are shown at the end of a run
    deployment: Deployment = Deployment()  #: how models are deployed
    monitoring: Monitoring = Monitoring()  #: what is compared with the training data
    recording: Recording = Recording()  #: whether answers are recorded
    update_policy: UpdatePolicy = UpdatePolicy()  #: when a new model is trained
    spark: SparkSettings = SparkSettings()  #: the Spark session of runs with Spark tables

    @property
    def experiment(self) -> str:
        """The name of the experiment that runs are recorded in."""
        return str(self.tracking.experiment)

    @property
    def model_name(self) -> str:
        """The name of the registered model."""
        return str(self.registry.name)

    @property
    def entries(self) -> list[tuple[str, str]]:
        """The keys that name catalog entries, and the names."""
        one = {
            "tracking.model": self.tracking.model,
            "tracking.data": self.tracking.data,
            "tracking.data_report": self.tracking.data_report,
            "tracking.scores": self.tracking.scores,
            "gate.table": self.gate.table,
            "gate.slices": self.gate.slices,
            "gate.judged": self.gate.judged,
            "gate.decision": self.gate.decision,
            "champion": self.champion,
        }
        many = {
            "tracking.metrics": self.tracking.metrics or [],
            "tracking.artifacts": self.tracking.artifacts,
            "report": self.report,
        }
        named = [(key, name) for key, name in one.items() if name is not None]
        return named + [(key, name) for key, names in many.items() for name in names]


Model = TypeVar("Model", bound=_Strict)
# Raised by Kedro and OmegaConf if a file is not YAML, not a mapping, or has unresolved references.
_UNREADABLE = (
    OmegaConfBaseException,
    yaml.YAMLError,
    ValueError,
    TypeError,
    AttributeError,
    OSError,
)


@contextmanager
def config_errors(what: str) -> Iterator[None]:
    """Turn the exceptions of Kedro's config loader, except for a missing file, into one error.

    Raises
    ------
    OperationError
        If one occurs; the message names the unreadable file and the reason.
    """
    try:
        yield
    except _UNREADABLE as error:
        why = " ".join(line.strip() for line in str(error).splitlines()[:2])
        if "not supported for globals" in why:
            files = ", ".join(_patterns_of_globals() or ["globals.yml"])
            why = (
                f"${{runtime_params:...}} is not possible in the files of globals ({files}). Write "
                "a value there: --params replaces it."
            )
        raise OperationError(f"{what} cannot be read: {why or type(error).__name__}") from error


def refuse_no_project(root: Path) -> None:
    """Refuse a folder that is not a Kedro project.

    Raises
    ------
    OperationError
        If ``pyproject.toml`` is missing.
    """
    if not (root / "pyproject.toml").is_file():
        raise OperationError(
            f"{root.name} is not a project folder: there is no pyproject.toml.",
            next="change to the folder that holds the project's pyproject.toml",
        )


def bootstrap(root: Path) -> ProjectMetadata:
    """Configure Kedro for a project, as its ``bootstrap_project`` does, unless already done.

    Kedro's function reads the settings each time, which takes longer the more modules are loaded.
    """
    global _bootstrapped  # noqa: PLW0603, Kedro's own state is global too
    root = root.resolve()
    if _bootstrapped is not None:
        state, previous_settings, metadata = _bootstrapped
        # Kedro creates new settings whenever it is configured
        if settings._wrapped is previous_settings and state == _state(root, metadata):
            if hasattr(pipelines, "set_requested"):  # a run may have restricted them to its own
                pipelines.set_requested(None)
            return metadata
    try:
        metadata = bootstrap_project(root)
    except RuntimeError as error:  # the pyproject.toml is for another tool, or is not TOML
        raise OperationError(f"{root.name} is not a project folder: {error}") from error
    _bootstrapped = (_state(root, metadata), settings._wrapped, metadata)
    return metadata


_bootstrapped: tuple[tuple[object, ...], object, ProjectMetadata] | None = None


def _state(root: Path, metadata: ProjectMetadata) -> tuple[object, ...]:
    source = Path(metadata.source_dir)
    files = (root / "pyproject.toml", source / metadata.package_name / "settings.py")
    times = [file.stat().st_mtime_ns if file.is_file() else 0 for file in files]
    return (root, *times, str(source) in sys.path)


def configuration_folder(root: Path) -> str:
    """Return the configuration folder of a project, relative to it, by default ``conf``.

    Raises
    ------
    OperationError
        If the folder is not a project.
    """
    refuse_no_project(root)
    bootstrap(root)
    return Path(os.path.relpath(root / settings.CONF_SOURCE, root)).as_posix()


def config_loader(root: Path, env: str) -> Any:
    """Return the project's own config loader, for an environment."""
    source = str(root / configuration_folder(root))
    return settings.CONFIG_LOADER_CLASS(conf_source=source, env=env, **settings.CONFIG_LOADER_ARGS)


def environments(root: Path) -> list[str]:
    """List the environments of a project: the folders of its configuration except ``base``."""
    folders = (root / configuration_folder(root)).glob("*/")
    return sorted(folder.name for folder in folders if folder.name != "base")


def read_azureml(root: Path, env: str, parameters: dict[str, Any] | None = None) -> AzureML:
    """Read ``azureml.yml`` of an environment, with base for missing keys.

    Raises
    ------
    OperationError
        If the file or environment does not exist, or a key or value is wrong; it names the
        file, the key and what is allowed.
    """
    return _read(AzureML, "azureml", root, env, parameters)


def read_mlops(root: Path, env: str, parameters: dict[str, Any] | None = None) -> Mlops:
    """Read ``mlops.yml`` of an environment, with base for missing keys.

    The experiment is named after the project's package by default, the registered model after the
    experiment.

    Raises
    ------
    OperationError
        See ``read_azureml``.
    """
    return _with_default_names(_read(Mlops, "mlops", root, env, parameters))


def mlops_of_context(context: Any) -> Mlops:
    """Read ``mlops.yml`` for a run of Kedro, from the configuration folder of that run."""
    loader = context.config_loader
    return _with_default_names(
        _read(
            Mlops,
            "mlops",
            Path(context.project_path),
            context.env or getattr(loader, "default_run_env", None) or "base",
            dict(getattr(loader, "runtime_params", None) or {}),
            Path(str(loader.conf_source)),
        )
    )


def _with_default_names(mlops: Mlops) -> Mlops:
    """Fill in the names that the file omits."""
    experiment = mlops.tracking.experiment or str(project.PACKAGE_NAME)
    tracking = mlops.tracking.model_copy(update={"experiment": experiment})
    name = {"name": mlops.registry.name or experiment}
    registry = mlops.registry.model_copy(update=name)
    return mlops.model_copy(update={"tracking": tracking, "registry": registry})


def deployment_of(root: Path, env: str, target: Target | None = None) -> Deployment:
    """Read the section ``deployment`` of ``mlops.yml``; ``target`` overrides the one in it.

    Raises
    ------
    OperationError
        See ``read_azureml``; also if the environment names no endpoint, or lacks settings of the
        target.
    """
    deployment, file = (
        read_mlops(root, env).deployment,
        f"{configuration_folder(root)}/{env}/mlops.yml",
    )
    if deployment.endpoint is None:
        raise OperationError(
            f"{file} does not set deployment.endpoint: models are deployed to environments with "
            "one, such as dev, stage or prod. Use --env to choose one."
        )
    deployment = deployment.model_copy(update={"target": target or deployment.target})
    if fault := deployment.fault_of_target():
        raise OperationError(f"{file}: deployment: {fault}")
    return deployment


def _read(
    model: type[Model],
    name: str,
    root: Path,
    env: str,
    parameters: dict[str, Any] | None,
    source: Path | None = None,
) -> Model:
    if source is None:
        source = root / configuration_folder(root)
    inside = source.is_relative_to(root)
    folder = source.relative_to(root).as_posix() if inside else source.as_posix()
    known = sorted(path.name for path in source.glob("*/") if path.name != "base")
    if env != "base" and env not in known and not source.is_file():  # an archive is one file
        raise OperationError(f"there is no environment {env} in {folder}, only {', '.join(known)}")
    options = dict(settings.CONFIG_LOADER_ARGS)
    options |= {
        "config_patterns": {**options.get("config_patterns", {}), name: [f"{name}*"]},
        "merge_strategy": {**options.get("merge_strategy", {}), name: "soft"},
    }
    layers = [source / (options.get("base_env", "base") or ""), source / env]
    if source.is_file():  # an archive
        layers = [source]
    key = (model, name, env, source, repr((parameters, options)), _digest_of(layers))
    if key in _CACHE:
        return _CACHE[key].model_copy(deep=True)  # type: ignore[return-value]
    try:
        with config_errors(f"{folder}: {name}.yml of {env}"):
            loader = OmegaConfigLoader(
                conf_source=str(source), env=env, runtime_params=parameters, **options
            )
            override_globals(loader)
            try:
                values = loader[name]
            except InterpolationResolutionError as error:
                why = unresolved_in_words(error, env, source, name)
                raise OperationError(why) from error
    except MissingConfigException as error:
        why = f"there is no {folder}/base/{name}.yml: kedro mlops init writes one"
        if "[" in source.as_posix():
            why = f"Kedro treats the [ in {source.as_posix()} as a pattern: rename that folder"
        raise OperationError(why) from error
    try:
        found = model.model_validate(values)
    except ValidationError as error:
        faults = list(_format_faults(source, folder, env, name, explain(error, values)))
        raise OperationError("\n".join(faults)) from error
    while len(_CACHE) >= _CACHE_SIZE:
        del _CACHE[next(iter(_CACHE))]
    _CACHE[key] = found.model_copy(deep=True)
    return found


# Commands read a file several times, and parsing it would take most of their time.
_CACHE: dict[tuple[object, ...], _Strict] = {}
_CACHE_SIZE = 8


def _digest_of(layers: Iterable[Path]) -> str:
    """Compute a digest of all sources of the configuration: its files and the environment."""
    digest = hashlib.sha256(repr(sorted(os.environ.items())).encode())
    for layer in layers:
        for file in sorted(layer.rglob("*.*")) if layer.is_dir() else [layer]:
            with suppress(OSError):  # a folder, or an unreadable file
                digest.update(repr((str(file), file.read_bytes())).encode())
    return digest.hexdigest()


def override_globals(loader: Any) -> None:
    """Override ``${globals:...}`` with the parameters given to a run, if parameters are globals.

    So configuration and nodes get the same value, regardless of how a file refers to it.
    """
    parameters = getattr(loader, "runtime_params", None)
    patterns = (getattr(loader, "config_patterns", None) or {}).get("globals", [])
    if parameters and any("parameters" in pattern for pattern in patterns):
        loader["globals"] = merged(loader["globals"], parameters)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with some of them changed, as by ``--params``."""
    both = [name for name in changes if isinstance(changes[name], Mapping)]
    inner = {
        name: merged(values[name], changes[name])
        for name in both
        if isinstance(values.get(name), Mapping)
    }
    return {**values, **changes, **inner}


def unresolved_in_words(
    error: InterpolationResolutionError,
    env: str | None = None,
    source: Path | None = None,
    name: str = "",
) -> str:
    """Return a message with the file and key that refer to a missing value, and the fix.

    Parameters
    ----------
    source
        The folder of the configuration; by default that of the project in the current folder.
    name
        The beginning of the file's name; if empty, all files are searched.
    """
    source = source or Path.cwd() / settings.CONF_SOURCE
    keys = [key for key in re.split(r"[.\[\]]+", error.full_key or "") if key]
    key, message = ".".join(keys), str(error).partition("\n")[0]
    # base first: Kedro resolves it alone, before it merges the environment
    layers = ("base", env or settings.CONFIG_LOADER_ARGS.get("default_run_env", "local"))
    files = [file for layer in layers for file in sorted(source.glob(f"{layer}/**/{name}*.y*ml"))]

    def place(value: str) -> str:
        texts = {file: text for file in files if value in (text := file.read_text("utf-8"))}
        has_key = (file for file, text in texts.items() if _has_key(yaml.safe_load(text), keys))
        # a key with a dot cannot be told from two keys, and is not found
        named = next(has_key, next(iter(texts), source))
        return f"{Path(os.path.relpath(named)).as_posix()}: {key}"

    missing = re.search(r"(\S+ \S+) '(.+?)' not found", message)
    if not missing:
        unknown = message.partition("Unsupported interpolation type ")[2]
        if not unknown:
            return f"{place('${')}: {message}"
        own = settings.CONFIG_LOADER_ARGS.get("custom_resolvers", [])
        return (
            f"{place(unknown)}: there is no resolver {unknown}. There are: "
            f"{', '.join(['globals', 'runtime_params', *own])} and, in credentials only, oc.env."
        )
    kind, value = missing.groups()
    has_parameters = any("parameters" in one for one in _patterns_of_globals())
    values = "parameters.yml" if has_parameters else "globals.yml"
    reference, todo = {
        "Globals key": (f"globals:{value}", f"define {value} in {values}"),
        "Runtime parameter": (f"runtime_params:{value}", f"give --params {value}=VALUE"),
    }.get(kind, (value, f"define {value} in the same file"))
    return f"{place(value)}: ${{{reference}}} has no value. Write the value there, or {todo}."


def _patterns_of_globals() -> list[str]:
    """Return the names of the files whose values Kedro takes for globals."""
    return list(settings.CONFIG_LOADER_ARGS.get("config_patterns", {}).get("globals", []))


def _format_faults(
    root: Path, folder: str, env: str, name: str, faults: list[tuple[list[str], str]]
) -> Iterator[str]:
    for keys, message in faults:
        unknown = re.match("unknown key '(.+?)'; ", message)
        file = file_of(root, env, name, [*keys, unknown[1]] if unknown else keys)
        yield f"{folder}/{file}: {'.'.join(keys) or f'{name}.yml'}: {message}"


def file_of(root: Path, env: str, name: str, keys: list[str]) -> str:
    """Find the file with the wrong key: the environment's if it has the key, else base's."""
    files = {layer: root / layer / f"{name}.yml" for layer in (env, "base")}
    contents = {
        layer: yaml.safe_load(file.read_text("utf-8"))
        for layer, file in files.items()
        if file.is_file()
    }
    for length in range(len(keys), 0, -1):  # for a missing key, the file with its parent
        for layer, content in contents.items():
            if _has_key(content, keys[:length]):
                return f"{layer}/{name}.yml"
    return f"base/{name}.yml"


def _has_key(node: Any, keys: list[str]) -> bool:
    for key in keys:
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            return False
    return True
