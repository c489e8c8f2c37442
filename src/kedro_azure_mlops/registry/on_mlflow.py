"""The registry of MLflow: a SQLite file, a server or Databricks."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kedro_azure_mlops.config import Mlops
from kedro_azure_mlops.errors import OperationError, first_line
from kedro_azure_mlops.hooks.database import open_database
from kedro_azure_mlops.hooks.databricks import (
    essence,
    is_databricks,
    refuse_model_name,
    refuse_silence,
    runs_beside,
    use_profile,
)
from kedro_azure_mlops.hooks.faults import advice_on, faults
from kedro_azure_mlops.hooks.server import (
    DeletedExperimentError,
    asked_registry,
    database_of,
    experiment_id,
    registry_of,
    server_of,
    shown_address,
)
from kedro_azure_mlops.processes import Process
from kedro_azure_mlops.registry import versions as tracked
from kedro_azure_mlops.registry.facts import DIGEST
from kedro_azure_mlops.registry.interface import (
    LOCK,
    Holder,
    Lock,
    Registry,
    Version,
    locked_by,
    lost,
    taking_over,
)

_EXISTS = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND")
_METADATA = "registered_model_meta"  # a file that MLflow adds to downloads


class MlflowRegistry(Registry):
    """The versions of a registered model on an MLflow server."""

    def __init__(self, env: str, config: Mlops, root: Path) -> None:
        super().__init__(env, config.model_name)
        # MLflow reads this whenever it copies files; the commands report their own progress
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self._config, self._root = config, root
        on_databricks = registry_of(config, root)
        self._named = on_databricks or named_server(config, root)
        # Databricks has two registries but only one tracking server.
        self._server = runs_beside(self._named)
        separate = "" if on_databricks else asked_registry()
        self._registry = separate or self._named
        refuse_model_name(self.name, self._registry)
        use_profile(self._server)
        with self._mlflow_errors("looking for the registry"):
            for address in {self._server, self._registry}:
                if is_databricks(address):
                    refuse_silence(address)
                open_database(address)
            self._client = tracked.open_client(self._server, self._registry)

    @property
    def place(self) -> str:
        """The location of the models, for messages."""
        return f"MLflow at {_without_login(self._named, self._root)}"

    def versions(self) -> list[Version]:
        """List all versions, the newest first."""
        with self._mlflow_errors(f"listing the versions of {self.name}"):
            return [_version(found) for found in tracked.newest_first(self._client, self.name)]

    def champion(self) -> Version | None:
        """Return the version that holds the alias; on a server without aliases, the tagged one."""
        with self._mlflow_errors(f"looking for the champion of {self.name}"):
            found = tracked.find_champion(self._client, self.name)
        return _version(found) if found else None

    def _store(self, folder: Path, tags: Mapping[str, str]) -> Version:
        """Store a model folder in a new run, and register it from there."""
        client = self._client
        with self._mlflow_errors(f"registering {self.name}"):
            experiment = experiment_id(
                client, self._config.experiment, self._config.tracking.experiment_folder
            )
            tags_of_run = Process.me().tags()
            run = client.create_run(experiment, run_name="registration", tags=tags_of_run)
            try:
                client.log_artifacts(run.info.run_id, str(folder), "model")
                source = f"{run.info.artifact_uri}/model"
                number = tracked.register(
                    client, self.name, source, run.info.run_id, dict(tags), announce=False
                )
            except BaseException:
                with suppress(Exception):
                    client.set_terminated(run.info.run_id, "FAILED")
                raise
            client.set_terminated(run.info.run_id, "FINISHED")
        return Version(self.name, number, tags[DIGEST], dict(tags))

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version, replacing those of the same name."""
        with self._mlflow_errors(f"tagging {version}"):
            for name, text in tags.items():
                self._client.set_model_version_tag(self.name, version.number, name, text)

    def make_champion(self, version: Version, how: str) -> None:
        """Make a version the only champion, and record since when and how."""
        with self._mlflow_errors(f"making {version} the champion"):
            tracked.make_champion(self._client, self.name, version.number, how)

    @contextmanager
    def locked(self, doing: str) -> Iterator[Lock]:
        """Lock the registry by creating a registered model, which only one process can do."""
        me = Holder.me(doing)
        with self._mlflow_errors(f"locking {self.name}"):
            self._take(me)
        try:
            yield _Held(self, me)
        finally:
            with self._mlflow_errors(f"unlocking {self.name}"):
                if self.holder() == me:
                    self._client.delete_registered_model(self._lock)

    def clear_lock(self) -> str | None:
        """Remove a leftover lock; return its holder, None if there is no lock."""
        with self._mlflow_errors(f"unlocking {self.name}"):
            holder = self.holder()
            if holder:
                self._client.delete_registered_model(self._lock)
        return str(holder) if holder else None

    def holder(self) -> Holder | None:
        """Return the holder of the lock; None if it is free."""
        from mlflow import MlflowException

        try:
            return Holder.read(self._client.get_registered_model(self._lock).tags)
        except MlflowException as error:
            if error.error_code not in _MISSING:
                raise
            return None

    @property
    def _lock(self) -> str:
        return f"{self.name}{LOCK}"

    def _take(self, me: Holder) -> None:
        from mlflow import MlflowException

        try:
            self._client.create_registered_model(self._lock, tags=me.tags())
        except MlflowException as error:
            if error.error_code not in _EXISTS:
                raise
            holder = self.holder() or Holder.read({})
            if not holder.process.is_gone():
                raise locked_by(holder, self.name, self.env) from error
            with taking_over(holder, f"{self._lock} in {self._registry}"):
                if self.holder() == holder:
                    self._client.delete_registered_model(self._lock)
            self._take(me)

    def _download(self, version: Version, target: Path) -> None:
        import mlflow

        with self._mlflow_errors(f"fetching {version}"):
            # MLflow resolves a models:/ address on the server of this process, not on that of the
            # registry; only Databricks needs it, to open the storage of its models
            uri = f"models:/{self.name}/{version.number}"
            if not is_databricks(self._server):
                uri = self._client.get_model_version_download_uri(self.name, version.number)
            with TemporaryDirectory(dir=target.parent, prefix="part-") as part:
                found = mlflow.artifacts.download_artifacts(
                    uri, dst_path=part, tracking_uri=self._server, registry_uri=self._registry
                )
                shutil.copytree(found, target)
        (target / _METADATA).unlink(missing_ok=True)

    @contextmanager
    def _mlflow_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except DeletedExperimentError:
            raise
        except faults() as error:
            raise OperationError(
                f"{doing}: {self.place} failed: {essence(first_line(error))}\n"
                f"{advice_on(error, self._registry)}. "
                f"Check registry.uri in mlops.yml of {self.env}, and MLFLOW_TRACKING_URI."
            ) from error


class _Held(Lock):
    def __init__(self, registry: MlflowRegistry, me: Holder) -> None:
        self._registry, self._me = registry, me

    def check(self) -> None:
        """Refuse to continue if the lock was cleared."""
        if self._registry.holder() != self._me:
            raise lost(self._registry.name)


def named_server(config: Mlops, root: Path) -> str:
    """Return the address of the server: ``registry.uri``, else that of tracking."""
    named = config.registry.uri
    return server_of(named or config.tracking.uri, root, given=named is not None)


def _version(found: Any) -> Version:
    tags = dict(found.tags)
    return Version(found.name, str(found.version), tags.get(DIGEST, ""), tags)


def _without_login(uri: str, root: Path) -> str:
    """Return an address without credentials; a path is relative to the project."""
    if is_databricks(uri):
        return shown_address(uri)
    if database := database_of(uri):
        inside = database.is_relative_to(root)
        return f"sqlite:///{database.relative_to(root) if inside else database}"
    scheme, _, rest = uri.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest
