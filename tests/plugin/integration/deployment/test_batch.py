"""The endpoint that `deploy batch` creates, and the scores of its jobs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kedro_azure_mlops.deploy import batch
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Result, changes, properties
from tests.plugin.deployed import hours
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site

BATCH = f"{ENDPOINT}-batch"


def deploy(site: Site, *arguments: str) -> Result:
    return site.call("deploy", "batch", "--env", "dev", *arguments)


def default(site: Site) -> str:
    return properties(site.azure, f"batchEndpoints/{BATCH}")["defaults"]["deploymentName"]


def deployments(site: Site) -> list[str]:
    ids = [id for id in site.azure.resources if f"/{BATCH}/deployments/" in id]
    return [id.rsplit("/", 1)[1] for id in ids]


@pytest.fixture(scope="module", autouse=True)
def _tried_once() -> Iterator[None]:
    """Try each combination of name and example only once, because a try takes seconds."""
    tried: set[tuple[str, str | None]] = set()

    def once(root: Path, plan: Any, really: Callable[..., None] = batch._try_locally) -> None:
        if (key := (plan.name, plan.batch.example)) not in tried:
            really(root, plan)
            tried.add(key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "_try_locally", once)
        yield


@pytest.fixture
def ready(site: Site) -> Site:
    """A workspace with the cluster that jobs run on."""
    from azure.ai.ml.entities import AmlCompute

    from kedro_azure_mlops.azure.workspace import workspace

    cluster = AmlCompute(name="cpu-cluster", size="STANDARD_DS3_V2")
    workspace("dev").compute.begin_create_or_update(cluster).result()
    site.azure.forget()
    return site


def score(site: Site, tmp_path: Path) -> Path:
    """Send two files, and return the folder with their scores."""
    table, folder = hours(), tmp_path / "new"
    folder.mkdir()
    table[:100].to_csv(folder / "a.csv", index=False)
    table[100:].to_csv(folder / "b.csv", index=False)
    result = site.call(
        *("invoke", "--env", "dev", "--batch", "--input", str(folder)),
        *("--download", str(tmp_path / "got")),
    )
    assert result.status == 0, result.err + result.out
    return tmp_path / "got"


def test_files_are_scored_by_the_champion(ready: Site, tmp_path: Path) -> None:
    result = deploy(ready)
    assert result.status == 0, result.err
    assert deployments(ready) == [default(ready)]

    files = sorted(score(ready, tmp_path).rglob("*.csv"))

    assert [file.name for file in files] == ["a.csv", "b.csv"]
    scores = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    assert list(scores["load"]) == list(hours()["load"])
    assert set(scores["model_version"]) == {1}
    assert (scores["prediction"] - scores["energy"]).abs().mean() < 20


def test_an_entry_for_folders_gets_all_files_in_one_call(ready: Site, tmp_path: Path) -> None:
    catalog = ready.project.path / "conf/dev/catalog.yml"
    catalog.write_text(
        "new_hours:\n  type: kedro_azure_mlops.serve.batches.CsvPieces\n  filepath: data/new\n"
        "new_scores:\n  type: kedro_azure_mlops.serve.batches.ScoredPieces\n"
        "  filepath: data/scores\n",
        encoding="utf-8",
    )
    nodes = ready.project.path / "src/plant/nodes.py"
    nodes.write_text(
        nodes.read_text(encoding="utf-8") + "\n\ndef score_new(champion, new):\n"
        "    pieces = list(new)\n"
        "    return iter([piece.assign(pieces=len(pieces)) for piece in pieces])\n",
        encoding="utf-8",
    )
    result = deploy(ready)
    assert result.status == 0, result.err

    files = sorted(score(ready, tmp_path).rglob("*.csv"))

    assert [file.name for file in files] == ["a.csv", "b.csv"]
    assert {n for file in files for n in pd.read_csv(file)["pieces"]} == {2}


def test_a_second_call_changes_nothing(ready: Site, azure: StandIn) -> None:
    deploy(ready)
    azure.forget()

    result = deploy(ready)

    assert result.status == 0
    assert "nothing to change" in result.out
    assert changes(azure) == azure.uploads == []


def test_a_new_champion_is_the_default_and_the_old_one_is_deleted(ready: Site) -> None:
    deploy(ready)
    ready.registry.champion_number = "2"

    assert deploy(ready).status == 0

    assert default(ready).startswith("v2-")
    assert deployments(ready) == [default(ready)]


def test_a_dry_run_changes_nothing(ready: Site, azure: StandIn) -> None:
    result = deploy(ready, "--dry-run")

    assert result.status == 0
    assert f"create the batch endpoint {BATCH}" in result.out
    assert changes(azure) == azure.uploads == []


@pytest.mark.parametrize(
    "pattern", [r"/components/.*/versions/", r"/deployments/v2-", rf"/batchEndpoints/{BATCH}$"]
)
def test_a_refusal_of_azure_keeps_the_old_deployment(
    ready: Site, azure: StandIn, pattern: str
) -> None:
    deploy(ready)
    before = default(ready)
    ready.registry.champion_number = "2"
    azure.fail("PUT", pattern, 403)

    result = deploy(ready)

    assert result.status == 2
    assert default(ready) == before
    assert before in deployments(ready)


def test_a_pipeline_that_fails_locally_is_not_uploaded(ready: Site, azure: StandIn) -> None:
    nodes = ready.project.path / "src/plant/nodes.py"
    nodes.write_text(
        nodes.read_text(encoding="utf-8")
        + "\n\ndef score_new(champion, new):\n    raise SystemExit('broken')\n",
        encoding="utf-8",
    )

    result = deploy(ready)

    assert result.status == 1
    assert "cannot score locally, in a copy of the files to upload: broken" in result.err
    assert changes(azure) == azure.uploads == []


def test_a_file_that_cannot_be_scored_fails_the_job(ready: Site, tmp_path: Path) -> None:
    deploy(ready)
    bad: Any = hours()[:20].assign(load="warm")
    bad.to_csv(tmp_path / "bad.csv", index=False)

    result = ready.call("invoke", "--env", "dev", "--batch", "--input", str(tmp_path / "bad.csv"))

    assert result.status == 1
    assert "could not convert string to float: 'warm'" in result.out
    assert "is Failed" in result.err


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (None, "mlops.yml has no deployment.batch"),
        (
            {"pipeline": "none"},
            "there is no pipeline none; existing pipelines: __default__, evaluate",
        ),
        ({"input": "none"}, "batch.input in mlops.yml: name one of the inputs of the pipeline"),
        ({"output": "none"}, "score: new_scores"),
        ({"pipeline": "prepare"}, "batch.output in mlops.yml: name one of the outputs"),
        ({"example": "none.csv"}, "deployment.batch.example in mlops.yml: no file none.csv"),
    ],
)
def test_an_invalid_configuration_changes_nothing(
    ready: Site, azure: StandIn, batch: dict[str, str] | None, message: str
) -> None:
    ready.configure(batch=batch and {"compute": "cpu-cluster"} | batch)

    answer = deploy(ready)

    assert answer.status == 2
    assert message in answer.err
    assert changes(azure) == azure.uploads == []


def test_the_example_may_be_a_file_of_the_project(ready: Site, azure: StandIn) -> None:
    ready.configure(batch={"compute": "cpu-cluster", "example": "data/raw/hours.csv"})

    assert deploy(ready).status == 0

    path = ready.project.write("few.csv", "load\n1\n")
    ready.configure(batch={"compute": "cpu-cluster", "example": path})
    azure.forget()
    result = deploy(ready)
    assert result.status == 1
    assert "pressure" in result.err
    assert changes(azure) == azure.uploads == []
