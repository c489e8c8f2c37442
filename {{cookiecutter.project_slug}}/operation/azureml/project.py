"""What of the project a job is made of: pipelines, catalog, parameters, configuration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from {{ cookiecutter.package_name }}.tracking.parameters import refuse_unknown_parameters

from operation.azureml.config import CONFIGURATION, AzureML, read_config, refuse_no_project
from operation.errors import OperationError


@dataclass(frozen=True)
class Project:
    """A project as one environment sees it."""

    root: Path
    name: str
    env: str
    pipelines: Mapping[str, Pipeline]
    catalog: Mapping[str, Any]
    parameters: Mapping[str, Any]
    config: AzureML

    def parameter(self, name: str) -> Any:
        """Return a parameter by its dotted name.

        Raises
        ------
        OperationError
            If there is none, or it is a group of parameters.
        """
        value: Any = self.parameters
        for key in name.split("."):
            if not isinstance(value, Mapping) or key not in value:
                raise OperationError(
                    f"There is no parameter {name} in {CONFIGURATION}/base/parameters.yml; "
                    "params in azureml.yml and --params take the names of that file."
                )
            value = value[key]
        if isinstance(value, Mapping | list):
            raise OperationError(f"The parameter {name} is no single value: name one of its keys.")
        return value

    @cached_property
    def used_outside_nodes(self) -> set[str]:
        """Name what configuration files interpolate: such parameters matter to every step."""
        folders = [self.root / CONFIGURATION / env for env in ("base", self.env)]
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        texts = [f.read_text("utf-8") for f in files if f.suffix in (".yml", ".yaml", ".json")]
        inside = [part for text in texts for part in re.findall(r"\$\{([^{}$]*)", text)]
        return {name for part in inside for name in re.findall(r"[\w.]+", part)}


def read_project(
    env: str, parameters: Mapping[str, str] | None = None, root: Path | None = None
) -> Project:
    """Read a project's code and configuration.

    Parameters
    ----------
    parameters
        What ``--params`` names: dotted names and their values, as text.

    Raises
    ------
    OperationError
        If this is no project, or ``azureml.yml`` is wrong.
    ProjectError
        If a parameter is given that no file names.
    """
    root = root or Path.cwd()
    refuse_no_project(root)
    metadata = bootstrap_project(root)
    given = typed(parameters or {})
    with KedroSession.create(project_path=root, env=env, runtime_params=given) as session:
        context = session.load_context()
        refuse_unknown_parameters(given, context)
        loader: OmegaConfigLoader = context.config_loader
        return Project(
            root=root,
            name=metadata.project_name,
            env=env,
            pipelines=dict(pipelines),
            catalog=loader["catalog"],
            parameters=loader["parameters"],
            config=read_config(root, env, given),
        )


def typed(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Read ``{"a.b": "1"}`` as ``kedro run --params`` does: ``{"a": {"b": 1}}``."""
    try:
        dots = OmegaConf.from_dotlist([f"{name}={value}" for name, value in parameters.items()])
        return OmegaConf.to_container(dots)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        given = ",".join(f"{name}={value}" for name, value in parameters.items())
        raise OperationError(f"--params {given}: a value cannot be read: {error}") from error


def split_parameters(text: str) -> dict[str, str]:
    """Split ``a=1,b.c=2`` of the command line.

    Raises
    ------
    OperationError
        If a part has no name or no value.
    """
    parts = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    for name, equals, _ in parts:
        if not (name and equals):
            raise OperationError(f"--params {text}: write name=value, several with commas between.")
    return {name.strip(): value for name, _, value in parts}
