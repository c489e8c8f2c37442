"""The parts of a project that define a job: pipelines, catalog, parameters, configuration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kedro_azure_mlops.config import (
    AzureML,
    Mlops,
    bootstrap,
    configuration_folder,
    read_azureml,
    read_mlops,
)
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import has_configuration


@dataclass(frozen=True)
class Project:
    """A project, loaded for one environment."""

    root: Path
    name: str
    env: str
    pipelines: Mapping[str, Pipeline]
    catalog: Mapping[str, Any]
    parameters: Mapping[str, Any]
    config: AzureML
    mlops: Mlops | None = None
    configuration: str = "conf"
    source: str = "src"

    @property
    def experiment(self) -> str:
        """The experiment of the job; by default, named after the project and environment."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        return self.config.experiment or f"{slug or 'kedro'}-{self.env}"

    def parameter(self, name: str) -> Any:
        """Return a parameter by its dotted name.

        Raises
        ------
        OperationError
            If the parameter does not exist, or is a group of parameters.
        """
        value: Any = self.parameters
        for key in name.split("."):
            if not isinstance(value, Mapping) or key not in value:
                raise OperationError(
                    f"There is no parameter {name} in {self.configuration}/base/parameters.yml; "
                    "params in azureml.yml and --params use the names in that file."
                )
            value = value[key]
        if isinstance(value, Mapping | list):
            raise OperationError(f"The parameter {name} is a group: name one of its keys")
        return value

    @cached_property
    def used_outside_nodes(self) -> set[str]:
        """The names that configuration files interpolate; these parameters affect every step."""
        folders = [self.root / self.configuration / env for env in ("base", self.env)]
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        texts = [f.read_text("utf-8") for f in files if f.suffix in (".yml", ".yaml", ".json")]
        interpolations = [part for text in texts for part in re.findall(r"\$\{([^{}$]*)", text)]
        return {name for part in interpolations for name in re.findall(r"[\w.]+", part)}


def read_project(
    env: str, parameters: Mapping[str, str] | None = None, root: Path | None = None
) -> Project:
    """Read a project's code and configuration.

    Parameters
    ----------
    parameters
        The values of ``--params``: dotted names and values, as text.
    root
        The folder of the project; the current one by default.

    Raises
    ------
    OperationError
        If ``root`` is not a project, ``azureml.yml`` is invalid, or a parameter is not defined.
    """
    root = root or Path.cwd()
    runtime_params = typed(parameters or {})
    config = read_azureml(root, env, runtime_params)
    configuration = configuration_folder(root)
    tracked = has_configuration(root / configuration, "mlops")
    mlops = read_mlops(root, env, runtime_params) if tracked else None
    metadata = bootstrap(root)
    session: Any = KedroSession.create(project_path=root, env=env, runtime_params=runtime_params)
    with session:
        context = session.load_context()
        return Project(
            root=root,
            name=metadata.project_name,
            env=env,
            pipelines=dict(pipelines),
            catalog=context.config_loader["catalog"],
            parameters=context.config_loader["parameters"],
            config=config,
            mlops=mlops,
            configuration=configuration,
            source=str(Path(metadata.source_dir).relative_to(root.resolve())),
        )


def typed(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Read ``{"a.b": "1"}`` as ``kedro run --params`` does: ``{"a": {"b": 1}}``."""
    try:
        nested = OmegaConf.from_dotlist([f"{name}={value}" for name, value in parameters.items()])
        return OmegaConf.to_container(nested)  # type: ignore[return-value]
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        pairs = ",".join(f"{name}={value}" for name, value in parameters.items())
        raise OperationError(f"--params {pairs}: a value cannot be read: {error}") from error


def split_parameters(text: str) -> dict[str, str]:
    """Split ``a=1,b.c=2`` from the command line.

    Raises
    ------
    OperationError
        If a part has no name or no value.
    """
    parts = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    for name, equals, _ in parts:
        if not (name and equals):
            raise OperationError(f"--params {text}: write name=value, separated by commas.")
    return {name.strip(): value for name, _, value in parts}
