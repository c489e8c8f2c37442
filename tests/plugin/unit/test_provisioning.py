"""How what is there is compared with what is wanted, and that long work does not look dead."""

from contextlib import nullcontext
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kedro_azure_mlops.azure import provisioning
from kedro_azure_mlops.azure.provisioning import apply
from kedro_azure_mlops.azure.resources import EXISTS, MISSING, Item, Site, differences
from kedro_azure_mlops.config import Workspace

ACCOUNT = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/"


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ({"size": "STANDARD_DS3_V2"}, {"size": "Standard_DS3_v2"}),
        ({"location": "westeurope"}, {"location": "West Europe"}),
        ({"idle": 300.0}, {"idle": 300}),
        ({"account": f"{ACCOUNT}cold".lower()}, {"account": f"{ACCOUNT}cold"}),
        ({"size": "x", "more": 1}, {"size": "x"}),
    ],
)
def test_what_is_the_same(there: dict[str, Any], wanted: dict[str, Any]):
    assert differences(SimpleNamespace(**there), wanted) == ""


def test_what_differs_is_named_as_it_is_and_as_it_should_be():
    there = SimpleNamespace(least=0, idle=120.0, account=f"{ACCOUNT}cold")

    said = differences(there, {"least": 1, "idle": 300, "account": f"{ACCOUNT}new", "none": "x"})

    assert said == "differs: least 0 -> 1, idle 120 -> 300, account cold -> new, none None -> x"


@pytest.mark.parametrize(
    ("name", "id"),
    [("cold", f"{ACCOUNT}cold"), (f"{ACCOUNT}else", f"{ACCOUNT}else"), (None, None)],
)
def test_a_bare_name_is_of_the_resource_group(name: str | None, id: str | None):
    client = SimpleNamespace(subscription_id="s", resource_group_name="rg")
    config = SimpleNamespace(workspace=Workspace(storage_account=name))
    manager = SimpleNamespace()

    site = Site(cast("Any", client), Path(), cast("Any", config), cast("Any", manager))

    assert site.id("storage_account") == id


def test_a_workspace_is_told_of_its_insights_and_not_of_where_their_logs_are():
    client = SimpleNamespace(subscription_id="s", resource_group_name="rg")
    config = SimpleNamespace(workspace=Workspace(application_insights="a", log_analytics="l"))

    site = Site(cast("Any", client), Path(), cast("Any", config), cast("Any", None))

    group = "/subscriptions/s/resourceGroups/rg/providers"
    assert site.ids()["application_insights"] == f"{group}/Microsoft.Insights/components/a"
    assert site.id("log_analytics") == f"{group}/Microsoft.OperationalInsights/workspaces/l"
    assert "log_analytics" not in site.ids()


def test_only_what_can_be_made_is_made():
    made: list[str] = []
    items = [
        Item("workspace", "cold", EXISTS),
        Item("cluster", "cpu", MISSING, lambda: made.append("cpu")),
        Item("cluster", "gpu", "differs: size a -> b"),
        Item("cluster", "big", "differs: most 1 -> 2", lambda: made.append("big")),
    ]
    said: list[str] = []

    apply(a_site(), items, said.append)

    assert made == ["cpu", "big"]
    assert said == ["creating the cluster cpu", "changing the cluster big"]
    assert [item.is_stuck for item in items] == [False, False, True, False]


def test_long_work_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provisioning, "_SECONDS_BETWEEN_LINES", 0.01)
    said: list[str] = []
    heard = Event()

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("still creating the workspace cold"):
            heard.set()

    apply(a_site(), [Item("workspace", "cold", MISSING, lambda: heard.wait(60))], say)

    assert said[0] == "creating the workspace cold"
    assert heard.is_set()


def a_site() -> Site:
    """A place where nothing goes wrong."""
    return cast("Site", SimpleNamespace(errors=lambda _: nullcontext()))
