"""What an online deployment is made of, described as Azure ML takes it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operation.deployment.artifact import BUILD, Artifact, ensure_asset
from operation.deployment.config import Deployment
from operation.deployment.environment import ensure_environment, reference

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import ManagedOnlineDeployment

ENTRY = "operation/serving/online.py"
_MILLISECONDS = 1000
# Azure's server would send answers to Application Insights, if that is on.
_QUIET = {"APP_INSIGHTS_LOG_RESPONSE_ENABLED": "false"}


def write_code(root: Path) -> Path:
    """Write what is uploaded: the code that serves, and nothing else."""
    from operation.serving.code import copy_served_code

    folder = root / BUILD / "code"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy_served_code(folder)
    return folder


def settings(root: Path, config: Deployment) -> dict[str, Any]:
    """Return what, besides model and code, makes two deployments different."""
    return {
        "instance_type": config.instance_type,
        "instance_count": config.instance_count,
        "request_timeout_seconds": config.request_timeout_seconds,
        "environment": reference(root, config.environment),
    }


def build(
    client: "MLClient",
    root: Path,
    config: Deployment,
    artifact: Artifact,
    names: tuple[str, Path],
    say: Callable[[str], None],
) -> "ManagedOnlineDeployment":
    """Register model and environment and describe the deployment.

    Parameters
    ----------
    names
        The name of the deployment, and the folder of its code.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    from azure.ai.ml.entities import (
        CodeConfiguration,
        ManagedOnlineDeployment,
        OnlineRequestSettings,
    )

    name, code = names
    timeout = config.request_timeout_seconds * _MILLISECONDS
    return ManagedOnlineDeployment(
        name=name,
        endpoint_name=config.endpoint,
        model=ensure_asset(client, artifact, say),
        environment=ensure_environment(client, root, config.environment, say),
        code_configuration=CodeConfiguration(code=str(code), scoring_script=ENTRY),
        environment_variables=artifact.variables | _QUIET,
        instance_type=config.instance_type,
        instance_count=config.instance_count,
        request_settings=OnlineRequestSettings(request_timeout_ms=timeout),
        tags=artifact.tags,
    )
