"""What `deploy batch` makes, and the scores that a job of the endpoint gives."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from operation.tests.azure import StandIn
from operation.tests.cloud import Said, changes, found
from operation.tests.integration.deployment.conftest import ENDPOINT, Site
from operation.tests.trained import readings

BATCH = f"{ENDPOINT}-batch"


def deploy(site: Site, *arguments: str) -> Said:
    return site.call("deploy", "batch", "--env", "dev", *arguments)


def default(site: Site) -> str:
    return found(site.azure, f"batchEndpoints/{BATCH}")["defaults"]["deploymentName"]


def deployments(site: Site) -> list[str]:
    ids = [id for id in site.azure.resources if f"/{BATCH}/deployments/" in id]
    return [id.rsplit("/", 1)[1] for id in ids]


@pytest.fixture
def ready(site: Site) -> Site:
    """A workspace with the cluster that jobs run on."""
    from azure.ai.ml.entities import AmlCompute

    from operation.azureml.utils import workspace

    cluster = AmlCompute(name="cpu-cluster", size="STANDARD_DS3_V2")
    workspace("dev").compute.begin_create_or_update(cluster).result()
    site.azure.forget()
    return site


def test_files_are_scored_by_the_champion(ready: Site, tmp_path: Path) -> None:
    said = deploy(ready)
    assert said.status == 0, said.err
    assert deployments(ready) == [default(ready)]

    table, folder = readings(), tmp_path / "new"
    folder.mkdir()
    table[:500].to_csv(folder / "a.csv", index=False)
    table[500:].to_csv(folder / "b.csv", index=False)
    done = ready.call(
        *("invoke", "--env", "dev", "--batch", "--input", str(folder)),
        *("--download", str(tmp_path / "got")),
    )

    assert done.status == 0, done.err + done.out
    files = sorted((tmp_path / "got").rglob("*.csv"))
    assert [file.name for file in files] == ["a.csv", "b.csv"]
    scores = pd.concat([pd.read_csv(file, dtype={"sensor_id": str}) for file in files])
    assert list(scores["temperature"]) == list(table["temperature"])
    assert set(scores["model_version"]) == {1}
    assert scores["is_anomaly"].sum() > 0


def test_a_second_time_nothing_is_changed(ready: Site, azure: StandIn) -> None:
    deploy(ready)
    azure.forget()

    said = deploy(ready)

    assert said.status == 0
    assert "nothing to change" in said.out
    assert changes(azure) == azure.uploads == []


def test_a_new_champion_is_the_default_and_the_old_one_is_deleted(ready: Site) -> None:
    deploy(ready)
    ready.registry.champions_number = "2"

    assert deploy(ready).status == 0

    assert default(ready).startswith("v2-")
    assert deployments(ready) == [default(ready)]


def test_a_dry_run_changes_nothing(ready: Site, azure: StandIn) -> None:
    said = deploy(ready, "--dry-run")

    assert said.status == 0
    assert f"make the batch endpoint {BATCH}" in said.out
    assert changes(azure) == azure.uploads == []


@pytest.mark.parametrize(
    "pattern", [r"/components/.*/versions/", r"/deployments/v2-", rf"/batchEndpoints/{BATCH}$"]
)
def test_what_azure_refuses_leaves_the_old_one_in_its_place(
    ready: Site, azure: StandIn, pattern: str
) -> None:
    deploy(ready)
    before = default(ready)
    ready.registry.champions_number = "2"
    azure.fail("PUT", pattern, 403)

    said = deploy(ready)

    assert said.status == 2
    assert default(ready) == before
    assert before in deployments(ready)


def test_what_does_not_score_here_is_not_uploaded(ready: Site, azure: StandIn) -> None:
    file = ready.project.path / "operation/deployment/batch_entry.py"
    file.write_text("raise SystemExit('broken')\n", encoding="utf-8")

    said = deploy(ready)

    assert said.status == 1
    assert "does not score here, in a copy of what would be uploaded: broken" in said.err
    assert changes(azure) == azure.uploads == []


def test_a_file_that_cannot_be_scored_fails_the_job(ready: Site, tmp_path: Path) -> None:
    deploy(ready)
    bad: Any = readings()[:20].assign(temperature="warm")
    bad.to_csv(tmp_path / "bad.csv", index=False)

    said = ready.call("invoke", "--env", "dev", "--batch", "--input", str(tmp_path / "bad.csv"))

    assert said.status == 1
    assert "temperature is not a number" in said.out
    assert "is Failed" in said.err
