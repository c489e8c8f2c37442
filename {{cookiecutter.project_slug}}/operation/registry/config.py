"""The keys of ``registry.yml``, strictly, and what else of an environment its registry needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from {{ cookiecutter.package_name }}.parameters import GateParameters
from {{ cookiecutter.package_name }}.tracking.config import TrackingConfig, server_of

from operation.azureml.config import CONFIGURATION, refuse_no_project
from operation.errors import OperationError

_FILE = "registry.yml"


class RegistryConfig(BaseModel):
    """The keys of ``registry.yml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["mlflow", "azureml"]
    uri: str | None = None
    shared_registry: str | None = None
    promoted_from: str | None = None
    approval: bool = False

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> "RegistryConfig":
        if self.kind == "azureml" and self.uri:
            raise ValueError("uri is for kind: mlflow; azureml asks the workspace of azureml.yml")
        if self.kind == "mlflow" and self.shared_registry:
            raise ValueError("shared_registry is for kind: azureml")
        return self


@dataclass(frozen=True)
class RegistrySettings:
    """What an environment's registry is: its keys, its model, the gate's rules, the server."""

    env: str
    config: RegistryConfig
    model: str
    gate: GateParameters
    server: str  # MLflow's
    experiment: str


def read_registry_settings(root: Path, env: str) -> RegistrySettings:
    """Read ``registry.yml`` of an environment, what it leaves out from base.

    Raises
    ------
    OperationError
        If a key or a value is wrong: names the file, the key and what is allowed.
    MissingConfigException
        If there is no such environment.
    """
    refuse_no_project(root)
    bootstrap_project(root)
    loader = _loader(root, env)
    config = _checked(RegistryConfig, loader["registry"], env, _FILE)
    gate = _checked(GateParameters, loader["parameters"]["gate"], env, "parameters.yml: gate")
    tracking = _checked(TrackingConfig, loader["mlflow"], env, "mlflow.yml")
    return RegistrySettings(
        env=env,
        config=config,
        model=str(tracking.registered_model),
        gate=gate,
        server=server_of(config.uri or tracking.tracking_uri, root, given=config.uri is not None),
        experiment=tracking.experiment,
    )


def _loader(root: Path, env: str) -> OmegaConfigLoader:
    options = settings.CONFIG_LOADER_ARGS
    return OmegaConfigLoader(
        conf_source=str(root / CONFIGURATION),
        env=env,
        **options
        | {
            "config_patterns": options["config_patterns"] | {"registry": ["registry*"]},
            "merge_strategy": options["merge_strategy"] | {"registry": "soft"},
        },
    )


def _checked(model: type[BaseModel], given: Any, env: str, where: str) -> Any:
    try:
        return model(**given)
    except ValidationError as error:
        faults = [_sentence(model, fault) for fault in error.errors()]
        raise OperationError(f"{where} of environment {env}: {'; '.join(faults)}") from error


def _sentence(model: type[BaseModel], fault: Any) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}; allowed are {', '.join(model.model_fields)}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {message} (it is {fault['input']!r})" if key else message
