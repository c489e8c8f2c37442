"""Comparison of existing resources with the configuration, and progress of long operations."""

from contextlib import nullcontext
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from azure.core.exceptions import HttpResponseError

from kedro_azure_mlops.azure import provisioning
from kedro_azure_mlops.azure.provisioning import apply
from kedro_azure_mlops.azure.resources import EXISTS, MISSING, Item, Site, differences
from kedro_azure_mlops.config import Workspace
from kedro_azure_mlops.errors import OperationError

ACCOUNT = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/"


@pytest.mark.parametrize(
    ("existing", "wanted"),
    [
        ({"size": "STANDARD_DS3_V2"}, {"size": "Standard_DS3_v2"}),
        ({"location": "westeurope"}, {"location": "West Europe"}),
        ({"idle": 300.0}, {"idle": 300}),
        ({"account": f"{ACCOUNT}cold".lower()}, {"account": f"{ACCOUNT}cold"}),
        ({"size": "x", "more": 1}, {"size": "x"}),
    ],
)
def test_equivalent_settings_do_not_differ(existing: dict[str, Any], wanted: dict[str, Any]):
    assert differences(SimpleNamespace(**existing), wanted) == ""


def test_differences_list_the_existing_and_the_wanted_values():
    existing = SimpleNamespace(least=0, idle=120.0, account=f"{ACCOUNT}cold")

    text = differences(existing, {"least": 1, "idle": 300, "account": f"{ACCOUNT}new", "none": "x"})

    assert text == "differs: least 0 -> 1, idle 120 -> 300, account cold -> new, none None -> x"


@pytest.mark.parametrize(
    ("name", "id"),
    [("cold", f"{ACCOUNT}cold"), (f"{ACCOUNT}else", f"{ACCOUNT}else"), (None, None)],
)
def test_a_name_without_an_id_refers_to_the_resource_group(name: str | None, id: str | None):
    client = SimpleNamespace(subscription_id="s", resource_group_name="rg")
    config = SimpleNamespace(workspace=Workspace(storage_account=name))
    manager = SimpleNamespace()

    site = Site(cast("Any", client), Path(), cast("Any", config), cast("Any", manager))

    assert site.id("storage_account") == id


def test_a_workspace_is_linked_to_its_insights_but_not_to_their_logs():
    client = SimpleNamespace(subscription_id="s", resource_group_name="rg")
    config = SimpleNamespace(workspace=Workspace(application_insights="a", log_analytics="l"))

    site = Site(cast("Any", client), Path(), cast("Any", config), cast("Any", None))

    group = "/subscriptions/s/resourceGroups/rg/providers"
    assert site.ids()["application_insights"] == f"{group}/Microsoft.Insights/components/a"
    assert site.id("log_analytics") == f"{group}/Microsoft.OperationalInsights/workspaces/l"
    assert "log_analytics" not in site.ids()


@pytest.mark.parametrize(
    ("id", "names"),
    [
        (None, "--name rg --location 'West Europe' --subscription s"),
        (
            "/subscriptions/t/resourceGroups/all (shared)/providers/Microsoft.KeyVault/vaults/k",
            "--name 'all (shared)' --location 'West Europe' --subscription t",
        ),
    ],
)
def test_the_missing_group_is_that_of_the_resource(id: str | None, names: str):
    client = SimpleNamespace(subscription_id="s", resource_group_name="rg")
    config = SimpleNamespace(workspace=Workspace(location="West Europe"))
    site = Site(cast("Any", client), Path(), cast("Any", config), cast("Any", None))
    error = HttpResponseError("ResourceGroupNotFound")
    error.status_code = 404

    with pytest.raises(OperationError) as refusal, site.errors("looking", id):
        raise error

    assert f"az group create {names}. Azure said (404)" in str(refusal.value)


def test_only_items_with_an_action_are_created_or_changed():
    applied: list[str] = []
    items = [
        Item("workspace", "cold", EXISTS),
        Item("cluster", "cpu", MISSING, lambda: applied.append("cpu")),
        Item("cluster", "gpu", "differs: size a -> b"),
        Item("cluster", "big", "differs: most 1 -> 2", lambda: applied.append("big")),
    ]
    printed: list[str] = []

    apply(fake_site(), items, printed.append)

    assert applied == ["cpu", "big"]
    assert printed == ["creating the cluster cpu", "changing the cluster big"]
    assert [item.is_stuck for item in items] == [False, False, True, False]


def test_a_long_operation_reports_progress(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provisioning, "_SECONDS_BETWEEN_LINES", 0.01)
    printed: list[str] = []
    reported = Event()

    def say(line: str) -> None:
        printed.append(line)
        if line.startswith("still creating the workspace cold"):
            reported.set()

    apply(fake_site(), [Item("workspace", "cold", MISSING, lambda: reported.wait(60))], say)

    assert printed[0] == "creating the workspace cold"
    assert reported.is_set()


def fake_site() -> Site:
    """Return a site whose operations raise no errors."""
    return cast("Site", SimpleNamespace(errors=lambda _: nullcontext()))
