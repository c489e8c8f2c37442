"""Plan and create the Azure resources of an environment.

Existing resources are never replaced: one that cannot be changed in place is reported and kept.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.environment import ensure_environment, is_registered, version
from kedro_azure_mlops.azure.resources import (
    EXISTS,
    MISSING,
    Item,
    Site,
    container,
    differences,
    stores,
)
from kedro_azure_mlops.azure.workspace import workspace
from kedro_azure_mlops.config import Cluster, Datastore, Environment, read_azureml

if TYPE_CHECKING:
    from azure.ai.ml import entities

_SECONDS_BETWEEN_LINES = 30


def provision(
    env: str,
    *,
    dry_run: bool = False,
    root: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Item]:
    """Create the Azure resources of an environment; return the plan.

    Parameters
    ----------
    dry_run
        Only show the plan.
    root
        Folder of the project; by default the current one.
    say
        Called with each line: the plan, then each change.

    Raises
    ------
    OperationError
        If there is no such resource group, or Azure refuses or cannot be reached.
    """
    root = root or Path.cwd()
    site = Site(workspace(env, root), root, read_azureml(root, env))
    say(f"{env} is {site.client.workspace_name} in {site.group}")
    items = plan(site)
    kind, name = (max(len(text) for text in texts) for texts in zip(*_names(items), strict=True))
    for item in items:
        say(f"  {item.kind:{kind}}  {item.name:{name}}  {item.state}")
    if not dry_run:
        apply(site, items, say)
    return items


def plan(site: Site) -> list[Item]:
    """List all resources of an environment in order of creation; nothing is changed.

    Raises
    ------
    OperationError
        If there is no such resource group, or Azure refuses or cannot be reached.
    """
    name = site.client.workspace_name
    existing = site.look(f"workspace {name}", lambda: site.client.workspaces.get(name))
    has_workspace = existing is not None
    items = [_workspace(site, existing)] if existing else [*stores(site), _new_workspace(site)]
    items += [
        _cluster(site, n, wanted, has_workspace) for n, wanted in site.config.clusters.items()
    ]
    items += _environment(site, has_workspace)
    for n, wanted in site.config.datastores.items():
        items += _datastore(site, n, wanted, has_workspace)
    return items


def apply(site: Site, items: list[Item], say: Callable[[str], None] = print) -> None:
    """Create the missing resources and change those that differ, in order.

    Raises
    ------
    OperationError
        If Azure refuses, fails or cannot be reached; completed changes are kept.
    """
    for item in items:
        if item.make:
            doing = (
                f"{'creating' if item.state == MISSING else 'changing'} the {item.kind} {item.name}"
            )
            say(doing)
            with site.errors(doing), _progress_reported(doing, say):
                item.make()


@contextmanager
def _progress_reported(doing: str, say: Callable[[str], None]) -> Iterator[None]:
    """Report progress periodically: creating a workspace takes minutes."""
    finished = Event()

    def report() -> None:
        seconds = 0
        while not finished.wait(_SECONDS_BETWEEN_LINES):
            seconds += _SECONDS_BETWEEN_LINES
            with suppress(BrokenPipeError):  # the next print ends the command
                say(f"still {doing}, {seconds} s")

    reporter = Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        finished.set()
        reporter.join()


def _names(items: list[Item]) -> list[tuple[str, str]]:
    return [(item.kind, item.name) for item in items]


def _workspace(site: Site, found: "entities.Workspace") -> Item:
    wanted = site.ids() | {"location": site.config.workspace.location}
    state = differences(found, {key: value for key, value in wanted.items() if value})
    if not state:
        return Item("workspace", str(found.name), EXISTS)
    conflict = (
        f"{state}; it cannot be changed: name the existing one in azureml.yml, or leave the key out"
    )
    return Item("workspace", str(found.name), conflict)


def _new_workspace(site: Site) -> Item:
    def make() -> None:
        from azure.ai.ml.entities import Workspace

        ids: dict[str, Any] = {**site.ids()}
        workspace = Workspace(name=name, location=site.location(), **ids)
        site.client.workspaces.begin_create(workspace).result()

    name = str(site.client.workspace_name)
    return Item("workspace", name, MISSING, make)


def _cluster(site: Site, name: str, wanted: Cluster, has_workspace: bool) -> Item:
    kind, compute = "compute cluster", site.client.compute
    found = site.look(f"{kind} {name}", lambda: compute.get(name)) if has_workspace else None
    if found is None:
        return Item(kind, name, MISSING, lambda: _make_cluster(site, name, wanted))
    state = differences(found, {"size": wanted.size, "tier": wanted.tier})
    if state:
        return Item(kind, name, f"{state}; these cannot be changed, delete it or name another")
    state = differences(found, _scale(wanted))
    if state:
        return Item(kind, name, state, lambda: _scale_cluster(site, found, wanted))
    return Item(kind, name, EXISTS)


def _scale(wanted: Cluster) -> dict[str, Any]:
    return {
        "min_instances": wanted.min_instances,
        "max_instances": wanted.max_instances,
        "idle_time_before_scale_down": wanted.idle_seconds,
    }


def _make_cluster(site: Site, name: str, wanted: Cluster) -> None:
    from azure.ai.ml.entities import AmlCompute, IdentityConfiguration

    # lets jobs run with the cluster's identity, without keys
    identity = IdentityConfiguration(type="system_assigned")
    cluster = AmlCompute(
        name=name, size=wanted.size, tier=wanted.tier, identity=identity, **_scale(wanted)
    )
    site.client.compute.begin_create_or_update(cluster).result()


def _scale_cluster(site: Site, found: Any, wanted: Cluster) -> None:
    for key, value in _scale(wanted).items():
        setattr(found, key, value)
    site.client.compute.begin_update(found).result()


def _environment(site: Site, has_workspace: bool) -> list[Item]:
    wanted = site.config.environment
    if not isinstance(wanted, Environment) or site.config.image:
        return []
    name = f"{wanted.name}:{version(site.root, wanted)}"
    if has_workspace and is_registered(site.client, site.root, wanted):
        return [Item("environment", name, EXISTS)]
    make = partial(ensure_environment, site.client, site.root, site.config, say=lambda _: None)
    return [Item("environment", name, MISSING, make)]


def _datastore(site: Site, name: str, wanted: Datastore, has_workspace: bool) -> list[Item]:
    own = wanted.account_name == site.config.workspace.storage_account
    items = [container(site, wanted.container_name)] if own else []
    datastores = site.client.datastores
    found = site.look(f"datastore {name}", lambda: datastores.get(name)) if has_workspace else None
    if found is None:
        return [*items, Item("datastore", name, MISSING, lambda: _attach(site, name, wanted))]
    state = differences(found, wanted.model_dump())
    # if it were changed in place, its data assets would silently refer to different data
    state = f"{state}; it is left unchanged, name another" if state else EXISTS
    return [*items, Item("datastore", name, state)]


def _attach(site: Site, name: str, wanted: Datastore) -> None:
    from azure.ai.ml.entities import AzureBlobDatastore

    # without credentials: readers open it with their own identity
    site.client.datastores.create_or_update(AzureBlobDatastore(name=name, **wanted.model_dump()))
