"""The keys of ``deployment.yml``, strictly: an unknown key or a wrong value stops at once."""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from operation.azureml.config import CONFIGURATION, refuse_no_project
from operation.errors import OperationError

FILE = "deployment.yml"
LONGEST_NAME = 32  # of endpoints and deployments in Azure
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_ALL = 100


def _legal(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "Azure takes 3 to 32 letters, digits and hyphens, a letter first and no hyphen last"
        )
    return name


Name = Annotated[str, AfterValidator(_legal)]
Count = Annotated[int, Field(ge=1)]
Percent = Annotated[int, Field(ge=1, le=_ALL)]
Seconds = Annotated[int, Field(ge=0)]


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


class ServingEnvironment(_Strict):
    """The image that requirements/serve.txt is installed upon."""

    name: str
    image: str


class Mirror(_Strict):
    """How much of the traffic is copied to a new deployment, whose answers nobody gets."""

    percent: Annotated[int, Field(ge=1, le=50)]  # Azure mirrors no more
    seconds: Seconds


class Batch(_Strict):
    """The batch endpoint; without a name it has the one of the online endpoint and ``-batch``."""

    endpoint: Name | None = None
    compute: str


class Deployment(_Strict):
    """How the models of one environment are deployed."""

    endpoint: Name
    auth_mode: Literal["aad_token", "key"] = "aad_token"
    instance_type: str
    instance_count: Count = 1
    request_timeout_seconds: Annotated[int, Field(ge=1, le=180)] = 5
    environment: ServingEnvironment
    traffic: list[Percent]
    seconds_between_steps: Seconds
    mirror: Mirror | None = None
    keep_old_hours: Annotated[float, Field(ge=0)]
    metrics: list[Literal["requests", "errors", "latency_p50", "latency_p95"]] = []
    batch: Batch

    @model_validator(mode="after")
    def _rises_to_all(self) -> "Deployment":
        steps = self.traffic
        if not steps or steps != sorted(set(steps)) or steps[-1] != _ALL:
            raise ValueError(f"traffic must rise and end with {_ALL}, as in [10, 50, 100]")
        return self

    @property
    def batch_endpoint(self) -> str:
        """The name of the batch endpoint: all endpoints of a region need names of their own."""
        name = f"{self.endpoint}-batch"
        if self.batch.endpoint or len(name) <= LONGEST_NAME:
            return self.batch.endpoint or name
        short = hashlib.sha256(self.endpoint.encode()).hexdigest()[:4]
        return f"{self.endpoint[: LONGEST_NAME - 11].rstrip('-')}-{short}-batch"


def read_deployment(root: Path, env: str) -> Deployment:
    """Read ``deployment.yml`` of an environment, what it leaves out from base.

    Raises
    ------
    OperationError
        If this is no project, or a key or value is wrong: names the file, the key, what is allowed.
    MissingConfigException
        If there is no such environment.
    """
    refuse_no_project(root)
    bootstrap_project(root)
    options = settings.CONFIG_LOADER_ARGS
    loader = OmegaConfigLoader(
        conf_source=str(root / CONFIGURATION),
        env=env,
        **options
        | {
            "config_patterns": options["config_patterns"] | {"deployment": ["deployment*"]},
            "merge_strategy": options["merge_strategy"] | {"deployment": "soft"},
        },
    )
    found = loader["deployment"]
    if "endpoint" not in found:
        raise OperationError(
            f"{env} has no {CONFIGURATION}/{env}/{FILE} that names an endpoint: models are "
            "deployed to dev, stage or prod, so give --env."
        )
    try:
        return Deployment(**found)
    except ValidationError as error:
        faults = [_sentence(root, env, fault) for fault in error.errors()]
        raise OperationError("\n".join(faults)) from error


def _sentence(root: Path, env: str, fault: Any) -> str:
    keys = [str(key) for key in fault["loc"]]
    message = re.sub("^Value error, ", "", fault["msg"])
    given = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
    return f"{_file_of(root, env, keys)}: {'.'.join(keys) or FILE}: {message}{given}"


def _file_of(root: Path, env: str, keys: list[str]) -> str:
    """Find the file that says what is wrong: the environment's own, else base's."""
    own = root / CONFIGURATION / env / FILE
    found: Any = yaml.safe_load(own.read_text("utf-8")) if own.is_file() else None
    for key in keys[:1]:
        found = found.get(key) if isinstance(found, dict) else None
    return f"{CONFIGURATION}/{env if found is not None else 'base'}/{FILE}"
