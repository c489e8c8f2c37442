"""A lock in a workspace: a version of a data asset, whose path can be set once.

Azure ML deletes no versions, so each holder makes the next one. Its path is different for each, and
the service refuses a version that is there with another path: of two at once the second is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from operation.azureml.utils import azure_errors
from operation.registry.interface import Lock
from operation.registry.locks import LOCK, Holder, locked_by, lost

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Data

_STATE, _HELD, _FREE = "lock.state", "held", "free"
_NOWHERE = "azureml://datastores/workspaceblobstore/paths/promotion/"  # nothing is stored there


class AzureLock(Lock):
    """The lock of one model; ``held`` takes it."""

    def __init__(self, client: "MLClient", model: str, env: str) -> None:
        self._client, self._model, self._env = client, model, env
        self._name = f"{model}{LOCK}"
        self._mine: Holder | None = None

    @contextmanager
    def held(self, doing: str) -> Iterator["AzureLock"]:
        """Take the lock, and give it back in the end.

        Raises
        ------
        LockedError
            If somebody else has it.
        """
        me = Holder.me(doing)
        self._take(me)
        self._mine = me
        try:
            yield self
        finally:
            self._mine = None
            if self._holder() == me:
                self._free()

    def check(self) -> None:
        """Refuse to go on if somebody has cleared the lock."""
        if self._mine is None or self._holder() != self._mine:
            raise lost(self._model)

    def clear(self) -> str | None:
        """Take away a lock that was left behind; say whose it was, None if there is none."""
        holder = self._holder()
        if holder:
            self._free()
        return str(holder) if holder else None

    def _take(self, me: Holder) -> None:
        from azure.ai.ml.entities import Data
        from azure.core.exceptions import AzureError

        if holder := self._holder():
            raise locked_by(holder, self._model, self._env)
        latest = self._latest()
        version = str(int(latest.version) + 1 if latest else 1)
        tags = me.tags() | {_STATE: _HELD}
        path = f"{_NOWHERE}{me.token}"
        data = Data(name=self._name, version=version, path=path, type="uri_folder", tags=tags)
        with azure_errors(f"locking {self._model}"):
            try:
                self._client.data.create_or_update(data)
            except AzureError as error:
                if holder := self._holder():  # somebody was faster
                    raise locked_by(holder, self._model, self._env) from error
                raise
        if (holder := self._holder()) != me:
            raise locked_by(holder or Holder.read({}), self._model, self._env)

    def _holder(self) -> Holder | None:
        latest = self._latest()
        tags = (latest.tags or {}) if latest else {}
        return Holder.read(tags) if tags.get(_STATE) == _HELD else None

    def _latest(self) -> "Data | None":
        from azure.core.exceptions import ResourceNotFoundError

        with azure_errors(f"looking for the lock of {self._model}"):
            try:
                versions = list(self._client.data.list(name=self._name))
            except ResourceNotFoundError:
                return None
        return max(versions, key=lambda one: int(one.version), default=None)

    def _free(self) -> None:
        latest = self._latest()
        if latest is None:
            return
        latest.tags = dict(latest.tags or {}) | {_STATE: _FREE}
        with azure_errors(f"unlocking {self._model}"):
            self._client.data.create_or_update(latest)
