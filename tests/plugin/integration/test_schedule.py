"""The command stores, disables and deletes schedules in the workspace, and rejects faulty ones."""

from typing import Any

import pytest

from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, configure, properties, provision
from tests.plugin.helpers import Project

CRON = ("schedule", "set", "nightly", "--cron", "0 2 * * mon-fri")


@pytest.fixture
def ready(cloud_project: Project, azure: StandIn, mlops: Command) -> Project:
    """A project with a provisioned workspace."""
    provision(azure, mlops)
    return cloud_project


@pytest.fixture
def light(cloud_project: Project, azure: StandIn, mlops: Command) -> Project:
    """The same with the code in an image, so that little is uploaded."""
    image = "code: null\nimage: example.azurecr.io/cold:1\nworking_directory: /app\n"
    provision(azure, mlops)
    configure(cloud_project, image)
    return cloud_project


def stored(azure: StandIn, name: str = "nightly") -> Any:
    return properties(azure, f"schedules/{name}")


def test_a_cron_schedule_is_stored_with_the_compiled_job(
    ready: Project, azure: StandIn, mlops: Command
):
    result = mlops(
        *CRON, "--time-zone", "W. Europe Standard Time", "--params", "model.arguments.alpha=2.5"
    )

    assert result.status == 0
    assert stored(azure)["isEnabled"] is True
    trigger = stored(azure)["trigger"]
    assert trigger["expression"] == "0 2 * * mon-fri"
    assert trigger["timeZone"] == "W. Europe Standard Time"
    job = stored(azure)["action"]["jobDefinition"]
    assert list(job["jobs"]) == ["pipeline"]
    assert job["inputs"]["model__arguments__alpha"]["value"] == "2.5"
    (data,) = [id for id in azure.resources if "/data/raw_hours/versions/" in id]
    assert job["inputs"]["raw_hours"]["uri"].endswith(data)
    asset = data.partition("/data/")[2].replace("/versions/", ":")
    assert f"every job reads the same version (raw_hours: {asset})" in result.out


def test_each_input_that_is_fixed_to_a_version_is_named(light: Project, mlops: Command) -> None:
    from azure.ai.ml.entities import Data

    from kedro_azure_mlops.azure.workspace import workspace

    file = light.path / "data/raw/hours.csv"
    hours = Data(name="hours", version="1", path=str(file), type="uri_file")
    workspace("dev").data.create_or_update(hours)
    configure(light, "inputs: {raw_hours: {path: 'azureml:hours@latest'}}\n")
    result = mlops(*CRON)
    assert result.status == 0, result.err
    assert "every job reads the same version (raw_hours: hours:1)" in result.out
    address = "azureml://datastores/workspaceblobstore/paths/hours.csv"
    text = (light.path / "conf/dev/azureml.yml").read_text(encoding="utf-8")
    light.configure("dev", "azureml.yml", text.replace("azureml:hours@latest", address))
    result = mlops(*CRON)
    assert result.status == 0, result.err
    assert "every job reads" not in result.out


def test_the_monitor_is_scheduled_as_a_separate_job(ready: Project, azure: StandIn, mlops: Command):
    result = mlops("schedule", "set", "watch", "--monitor", "--every", "hour")

    assert result.status == 0, result.err
    assert "watch starts the monitor of dev: every hour (UTC)" in result.out
    assert stored(azure, "watch")["trigger"]["frequency"].lower() == "hour"
    job = stored(azure, "watch")["action"]["jobDefinition"]
    assert job["experimentName"] == "plant-dev-monitor"
    assert job.get("inputs", {}) == {}
    (step,) = job["jobs"].values()
    component = azure.resources[step["componentId"]]["properties"]["componentSpec"]
    assert component["command"] == "kedro mlops monitor --env dev"
    assert component["is_deterministic"] is False  # else Azure would reuse the last verdict
    assert component["environment"].removeprefix("azureml:") in azure.resources
    assert component["code"].removeprefix("azureml:") in azure.resources
    assert not [id for id in azure.resources if "/data/" in id]  # it reads the data when it runs
    assert job["tags"]["env"] == "dev"


def test_the_monitor_runs_in_the_image_that_holds_the_code(
    light: Project, azure: StandIn, mlops: Command
):
    assert mlops("schedule", "set", "watch", "--monitor", "--cron", "0 * * * *").status == 0

    (step,) = stored(azure, "watch")["action"]["jobDefinition"]["jobs"].values()
    component = azure.resources[step["componentId"]]["properties"]["componentSpec"]
    assert component["command"] == "cd /app && kedro mlops monitor --env dev"
    assert "code" not in component
    assert [id for id in azure.resources if "/codes/" in id] == []


def test_a_recurrence_is_stored(light: Project, azure: StandIn, mlops: Command):
    when = ("--every", "week", "--at", "03:15", "--on", "monday,friday")

    assert mlops("schedule", "set", "weekly", *when).status == 0

    trigger = stored(azure, "weekly")["trigger"]
    assert (trigger["frequency"].lower(), trigger["interval"]) == ("week", 1)
    assert trigger["timeZone"] == "UTC"
    pattern = {"hours": [3], "minutes": [15], "weekDays": ["monday", "friday"]}
    assert trigger["schedule"] == pattern


def test_setting_a_schedule_again_replaces_it_and_uploads_nothing(
    ready: Project, azure: StandIn, mlops: Command
):
    mlops(*CRON)
    mlops("schedule", "disable", "nightly")
    azure.forget()

    assert mlops("schedule", "set", "nightly", "--every", "day", "--at", "04:00").status == 0

    (sent,) = (r.json() for r in azure.requests if r.method == "PUT" and "/schedules/" in r.path)
    assert sent["properties"]["isEnabled"] is True
    assert stored(azure)["trigger"]["schedule"] == {"hours": [4], "minutes": [0]}
    assert azure.uploads == []


def test_disabling_and_enabling_keep_the_rest(light: Project, azure: StandIn, mlops: Command):
    mlops(*CRON)
    before = dict(stored(azure))

    assert mlops("schedule", "disable", "nightly").out == "schedule: nightly is disabled\n"
    assert stored(azure) == before | {"isEnabled": False}

    assert mlops("schedule", "enable", "nightly").out == "schedule: nightly is enabled\n"
    assert stored(azure) == before


@pytest.mark.parametrize("first", ["enable", "disable"])
def test_enabled_and_disabled_schedules_are_deleted(
    light: Project, azure: StandIn, mlops: Command, first: str
):
    mlops(*CRON)
    mlops("schedule", first, "nightly")

    assert mlops("schedule", "delete", "nightly").status == 0

    assert stored(azure) is None


def test_all_schedules_are_listed_with_their_state(light: Project, azure: StandIn, mlops: Command):
    assert "there are no schedules" in mlops("schedule", "list").out
    mlops(*CRON)
    mlops("schedule", "set", "weekly", "--every", "week", "--on", "sunday")
    mlops("schedule", "disable", "nightly")

    lines = mlops("schedule", "list").out.splitlines()

    assert sorted(" ".join(line.split()) for line in lines) == [
        "nightly disabled 0 2 * * mon-fri (UTC)",
        "weekly enabled every week at 00:00 on sunday (UTC)",
    ]
    assert azure.requests[-1].query["listViewType"] == "All"  # else disabled ones are left out


@pytest.mark.parametrize("action", ["disable", "enable", "delete"])
def test_an_unknown_schedule_is_refused_and_the_known_ones_are_named(
    light: Project, azure: StandIn, mlops: Command, action: str
):
    mlops(*CRON)

    result = mlops("schedule", action, "weekly")

    assert result.status == 2
    assert result.err == "schedule: There is no schedule weekly; existing schedules: nightly.\n"
    assert stored(azure)["isEnabled"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nightly", "--cron", "0 25 * * *"), "25 is not a valid hour"),
        (("nightly", "--cron", "0 2 1 * *"), "Azure ML ignores the day of the month"),
        (("nightly", "--cron", "0 2 * * *", "--at", "03:00"), "leave out --at and --on"),
        (("nightly", "--every", "day", "--at", "25:00"), "--at 25:00 is not a time of day"),
        (("nightly", "--every", "day", "--time-zone", "Mars"), "is not known to Azure ML"),
        (("a/b", "--every", "day"), "a/b is not a valid schedule name"),
        (("nightly", "--every", "day", "--params", "nothing=1"), "there is no parameter nothing"),
        (
            ("watch", "--monitor", "--every", "day", "--params", "a=1"),
            "--monitor cannot be combined with --params",
        ),
        (("a/b", "--monitor", "--every", "day"), "a/b is not a valid schedule name"),
    ],
)
def test_an_invalid_schedule_is_refused_before_anything_is_sent(
    cloud_project: Project, azure: StandIn, mlops: Command, arguments: tuple[str, ...], message: str
):
    result = mlops("schedule", "set", *arguments)

    assert result.status == 2
    assert message in result.err
    assert azure.requests == []


def test_a_schedule_that_azure_refuses_is_not_stored(
    light: Project, azure: StandIn, mlops: Command
):
    azure.fail("PUT", "/schedules/", 403)

    result = mlops(*CRON)

    assert result.status == 2
    assert "storing the schedule nightly: You do not have permission" in result.err
    assert stored(azure) is None
    assert mlops(*CRON).status == 0
