"""The registered models of each environment, on MLflow or Azure ML.

``open_registry(env)`` opens the registry that ``mlops.yml`` of the environment names. The other
functions do the same as the commands ``register``, ``gate``, ``champion``, ``promote`` and
``rollback``, for a project's own scripts.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.ci import report_outputs
from kedro_azure_mlops.config import Mlops, read_mlops
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.hooks.server import lost_after_ci
from kedro_azure_mlops.registry.interface import Registry, Version

if TYPE_CHECKING:
    from kedro_azure_mlops.registry.promotion import Prove

__all__ = [
    "Registry",
    "Version",
    "champion",
    "gate_verdict",
    "open_registry",
    "promote",
    "refuse_no_model",
    "register",
    "rollback",
]

Say = Callable[[str], None]


def open_registry(env: str, root: Path | None = None) -> Registry:
    """Open the registry of an environment, without changing it.

    Raises
    ------
    OperationError
        If there is no such environment, a key or value of ``mlops.yml`` is invalid, the workspace
        is unknown, or this is a CI run and the registry is a file in its checkout.
    """
    root = root or Path.cwd()
    config = read_mlops(root, env)
    if config.registry.kind == "azureml":
        from kedro_azure_mlops.registry.on_azureml import AzureRegistry

        return AzureRegistry(env, config, root)
    from kedro_azure_mlops.registry.on_mlflow import MlflowRegistry, named_server

    _refuse_registry_in_checkout(named_server(config, root), env, root)
    return MlflowRegistry(env, config, root)


def refuse_no_model(env: str, root: Path | None = None) -> None:
    """Refuse if ``mlops.yml`` names no model: runs register none, so there will be no champion.

    Raises
    ------
    OperationError
        If ``tracking.model`` is not set.
    """
    if read_mlops(root or Path.cwd(), env).tracking.model is None:
        raise OperationError(
            "mlops.yml names no tracking.model, so no run registers a model. Set it to the catalog "
            "entry of type kedro_azure_mlops.ModelDataset."
        )


def first_champion_command(env: str, root: Path | None = None) -> str:
    """Return the command that makes the first champion of an environment: a promotion or a run."""
    before = read_mlops(root or Path.cwd(), env).registry.promoted_from
    return f"{'kedro mlops promote' if before else 'kedro run'} --env {env}"


def register(
    env: str = "local",
    *,
    folder: Path | None = None,
    job: str | None = None,
    root: Path | None = None,
    say: Say = print,
) -> Version:
    """Register the model of the last run, and make it champion if the gate and settings allow.

    Parameters
    ----------
    env
        The environment of the run.
    folder
        The model's folder, if not the one in the catalog.
    job
        The name of a job on Azure ML whose model is registered instead.
    root
        The project; the current folder by default.
    say
        Called with each line of progress.

    Raises
    ------
    OperationError
        If there is no such run, or its model cannot be served.
    RefusedError
        If the folder does not hold the judged model, its files were changed since they were saved,
        or the gate refused it.
    """
    from kedro_azure_mlops.registry.registration import (
        read_job_run,
        read_last_run,
        register_last_run,
    )

    root = root or Path.cwd()
    config, registry = read_mlops(root, env), open_registry(env, root)
    if job is None:
        last = read_last_run(root, env, registry, folder)
        return register_last_run(registry, config, last, say, report_outputs)
    if env == "local":
        raise OperationError("--job NAME needs the environment of its workspace: --env dev.")
    with TemporaryDirectory(prefix="registration-") as target:
        last = read_job_run(env, job, root, registry, Path(target), say)
        return register_last_run(registry, config, last, say, report_outputs)


def gate_verdict(env: str = "local", *, root: Path | None = None) -> dict[str, Any]:
    """Return the gate's decision about the last run: ``passed``, ``rules`` and more.

    Raises
    ------
    OperationError
        If no run has reached the gate, the last one was for another environment, or the decision
        does not name its model.
    RefusedError
        If the model has changed since it was judged.
    """
    from kedro_azure_mlops.registry.registration import read_decision

    root = root or Path.cwd()
    return read_decision(root, env, lambda: open_registry(env, root).champion())


def champion(env: str = "local", *, root: Path | None = None) -> Version | None:
    """Return the model in service in an environment; None if there is none.

    Raises
    ------
    OperationError
        As for ``open_registry``; also if the registry does not answer.
    """
    return open_registry(env, root).champion()


def promote(
    env: str,
    *,
    version: str | None = None,
    approved_by: str | None = None,
    reason: str | None = None,
    root: Path | None = None,
    say: Say = print,
) -> Version:
    """Make the champion of the preceding environment the champion here, with the same files.

    Parameters
    ----------
    env
        The environment to promote to; its ``registry.promoted_from`` names the preceding one.
    version
        The number or the beginning of the digest of a version to promote instead of the champion.
    approved_by, reason
        Who approved it and why, if ``registry.approval`` requires that.
    root, say
        As for ``register``.

    Raises
    ------
    OperationError
        If nothing is promoted to this environment, there is no such version, its files are not
        those that were registered, it cannot be loaded or fails its own example, or another
        process is changing the registry.
    RefusedError
        If an approval is missing, or a rule of this environment's gate does not hold.
    """
    from kedro_azure_mlops.registry.promotion import Approval, Gateway, promote_version

    root = root or Path.cwd()
    config, target = read_mlops(root, env), open_registry(env, root)
    source = _source(config, env, root)
    wanted = source.version(version) if version else _champion_of(source, root)
    by, why = (approved_by or "").strip(), (reason or "").strip()
    if bool(by) != bool(why):
        raise RefusedError("An approval needs a name and a reason: --approved-by and --reason.")
    approval = Approval(by, why) if by else None
    prove = _proof(env, config, root)
    gateway = Gateway(target, config.gate, config.registry.approval, prove)
    return promote_version(source, wanted, gateway, approval, say, report_outputs)


def rollback(
    env: str = "local",
    *,
    reason: str,
    to: str | None = None,
    if_champion: str | None = None,
    root: Path | None = None,
    say: Say = print,
) -> Version:
    """Make the previous champion of an environment champion again.

    Parameters
    ----------
    reason
        The reason, which is stored with the version.
    to
        The number of an earlier champion, instead of the previous one.
    if_champion
        Roll back only if this version is still the champion.
    root, say
        As for ``register``.

    Raises
    ------
    OperationError
        If no reason is given, its files are not those that were registered, it cannot be loaded or
        fails its own example, or another process is changing the registry.
    RefusedError
        If no earlier champion is recorded, or another version is champion.
    """
    from kedro_azure_mlops.registry.promotion import roll_back

    if not reason.strip():
        raise OperationError("A rollback needs a reason: --reason TEXT. Nothing was changed.")
    root = root or Path.cwd()
    prove = _proof(env, read_mlops(root, env), root)
    registry = open_registry(env, root)
    return roll_back(registry, to, reason.strip(), say, prove=prove, expected=if_champion)


def _proof(env: str, config: Mlops, root: Path) -> "Prove":
    """Return a check that loads a version as its environment would, and replays its example."""
    from kedro_azure_mlops.contract import UnusableModelError, load_proven_scorer
    from kedro_azure_mlops.serve.code import trusted_types

    def prove(folder: Path, version: Version) -> None:
        trusted = trusted_types(root, env, config)
        try:
            load_proven_scorer(folder, config.scorer, version.digest, trusted)
        except UnusableModelError as error:
            why = str(error).replace(str(folder), "it", 1)  # a temporary folder
            raise OperationError(f"{version} cannot be champion of {env}: {why}") from error

    return prove


def _source(config: Mlops, env: str, root: Path) -> Registry:
    before = config.registry.promoted_from
    if before is None:
        raise OperationError(
            f"Nothing is promoted to {env}: its champions come from runs. To promote to it, set "
            "registry.promoted_from in its mlops.yml."
        )
    return open_registry(before, root)


def _champion_of(source: Registry, root: Path) -> Version:
    found = source.champion()
    if found is None:
        raise OperationError(
            f"{source.env} has no champion of {source.name} to promote. Make one first: "
            f"{first_champion_command(source.env, root)}"
        )
    return found


def _refuse_registry_in_checkout(server: str, env: str, root: Path) -> None:
    """Refuse a registry in the checkout of a CI run, since it is lost after the run."""
    if path := lost_after_ci(server, env, root):
        raise OperationError(
            f"The registry of {env} is the file {path.name} of this checkout, which is lost "
            "after the CI run. Set registry.kind: azureml or registry.uri in mlops.yml of "
            f"{env}, or MLFLOW_TRACKING_URI."
        )
