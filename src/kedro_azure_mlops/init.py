"""Write the plugin's three files into a Kedro project without overwriting any."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kedro_azure_mlops.azure.environment import names_plugin
from kedro_azure_mlops.config import bootstrap, configuration_folder, refuse_no_project

_MLOPS = """\
# Settings of kedro-azure-mlops for this project. Every key is optional; an environment's own
# mlops.yml has only the differences.

tracking: # names of catalog entries
  uri: sqlite:///mlruns.db # in the project; MLFLOW_TRACKING_URI overrides it
  {model} # the trained model, an entry of type kedro_azure_mlops.ModelDataset
  artifacts: [] # entries whose files are stored with a run

registry:
  moves_champion: true # whether a model that passes the gate becomes champion

# The conditions for champions. Without rules every model passes, which the log reports.
#   rules:
#     - {{metric: r2, better: higher, minimum: 0.5, champion_tolerance: 0.01}}
gate:
  rules: []

# The function that loads models for serving, package.module:function, called with the model
# folder. null: the stored model.
scorer: null
"""

_AZUREML = """\
# The Azure ML job that kedro mlops compile writes. An environment's own azureml.yml has only the
# differences, usually the workspace.

compute: cpu-cluster # for steps without their own compute
workspace: {{}} # resource_group, name, location; subscription_id or AZURE_SUBSCRIPTION_ID

# One step is one container that runs `kedro run`. Split the pipeline where it needs other machines,
# with the filters of kedro run: pipelines, tags, nodes, namespaces. For example
#   steps:
#     prepare: {{tags: [prepare]}}
#     train: {{nodes: [train_model], compute: cpu-large}}
steps: {{}}

{inputs}
{outputs}

environment:
  {name}
  kind: docker
  image: mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04:20260901.v1
  python: "{python}"
  locks: [{locks}] # better with hashes: uv pip compile --generate-hashes
"""

_AMLIGNORE = """\
# Files that Azure ML uploads with a job: none by default, then those that a run needs. Azure ML
# reads this file instead of .gitignore, so it must exclude the same files. Last match wins.
*

!/src/**
!/{configuration}/**
!/requirements/**
!/requirements*.txt
!/pyproject.toml
!/spark_entry.py
!/.telemetry

# credentials and keys, except for modules named like them
**/credentials*
**/credentials*/**
**/*.pem
**/*.key
**/*.pfx
**/*.p12
**/*.jks
**/*.ppk
**/*.publishsettings
**/id_*
!/src/**/*.py

/{configuration}/local/**
!/{configuration}/local/.gitkeep
**/.netrc
**/.pypirc
**/.secrets*
**/.env
**/.env.*
**/config.json
**/.azureml/**
**/.azure/**
**/.git
**/.git/**

# environments, build outputs and tracking data
**/.venv*/**
**/venv/**
**/node_modules/**
**/*.egg-info/**
**/*.whl
**/mlruns.db*
**/mlruns/**
**/mlartifacts/**
**/.viz/**

# caches, notebooks, desktops and editors
**/__pycache__/**
**/*.pyc
**/*.ipynb
**/.ipynb_checkpoints/**
**/.pytest_cache/**
**/.ruff_cache/**
**/.coverage*
**/.DS_Store
**/.idea/**
**/.vscode/**
"""


@dataclass(frozen=True)
class Written:
    """The files that were written and those that already existed, relative to the project.

    ``lacking`` has the requirements files of jobs, if ``azureml.yml`` is new and none of them names
    the plugin.
    """

    new: list[str]
    kept: list[str]
    lacking: list[str]


def initialise(root: Path) -> Written:
    """Write ``mlops.yml``, ``azureml.yml`` and ``.amlignore`` into a Kedro project.

    The files are filled in from the project's pipelines and catalog as far as these can be read.
    Existing files are not changed.

    Raises
    ------
    OperationError
        If the folder is not a Kedro project.
    """
    refuse_no_project(root)
    folder = configuration_folder(root)
    inputs, outputs, model = _ports(root)
    name = _package_of(root).replace("_", "-")
    locks, azureml = _locks(root), f"{folder}/base/azureml.yml"
    files = {
        f"{folder}/base/mlops.yml": _MLOPS.format(model=_as_yaml(model=model)),
        azureml: _AZUREML.format(
            name=_as_yaml(name=name),
            inputs=_as_yaml(inputs={entry: {} for entry in inputs}),
            outputs=_as_yaml(outputs={entry: {} for entry in outputs}),
            python=".".join(platform.python_version_tuple()[:2]),
            locks=", ".join(locks),
        ),
        ".amlignore": _AMLIGNORE.format(configuration=folder),
    }
    written = Written([], [], [])
    for path, text in files.items():
        file = root / path
        if file.exists():
            written.kept.append(path)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
        written.new.append(path)
    if azureml in written.new and not names_plugin(root, locks):
        written.lacking.extend(locks)
    return written


def _ports(root: Path) -> tuple[list[str], list[str], str | None]:
    """Return the stored inputs and final stored outputs of the default pipeline, and its model."""
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.pipeline import Pipeline

    from kedro_azure_mlops.hooks.binding import base_of, entry_of, is_parameter, place_of

    with KedroSession.create(project_path=root) as session:
        catalog: Any = session.load_context().config_loader["catalog"]
    pipeline = pipelines.get("__default__") or Pipeline([])

    def is_stored(name: str) -> bool:
        entry = entry_of(catalog, name)
        return bool(entry and place_of(entry))

    inputs = {base_of(n) for n in pipeline.inputs() if not is_parameter(n) and is_stored(n)}
    outputs = {n for n in pipeline.outputs() if is_stored(n)}
    models = [
        n
        for n in sorted(pipeline.all_outputs())
        if "ModelDataset" in str((entry_of(catalog, n) or {}).get("type"))
    ]
    outputs = {base_of(n) for n in (*outputs, *models)}
    return sorted(inputs), sorted(outputs), models[0] if models else None


def _locks(root: Path) -> list[str]:
    locks = sorted(file.relative_to(root).as_posix() for file in root.glob("requirements/*.txt"))
    return locks or ["requirements.txt"]


def _as_yaml(**values: Any) -> str:
    """Return YAML in which names such as ``yes`` or ``1`` are read back as text."""
    return OmegaConf.to_yaml(values).rstrip()


def _package_of(root: Path) -> str:
    return str(bootstrap(root).package_name)
