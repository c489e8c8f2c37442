"""The endpoint that `deploy batch` creates, and the scores that its jobs give."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kedro_azure_mlops.deploy import batch
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Said, changes, found
from tests.plugin.deployed import hours
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site

BATCH = f"{ENDPOINT}-batch"


def deploy(site: Site, *arguments: str) -> Said:
    return site.call("deploy", "batch", "--env", "dev", *arguments)


def default(site: Site) -> str:
    return found(site.azure, f"batchEndpoints/{BATCH}")["defaults"]["deploymentName"]


def deployments(site: Site) -> list[str]:
    ids = [id for id in site.azure.resources if f"/{BATCH}/deployments/" in id]
    return [id.rsplit("/", 1)[1] for id in ids]


@pytest.fixture(scope="module", autouse=True)
def _tried_once() -> Iterator[None]:
    """Try once what has one name and one example: a try takes seconds, a name says all of it."""
    tried: set[tuple[str, str | None]] = set()

    def once(root: Path, wanted: Any, really: Callable[..., None] = batch._try_here) -> None:
        if (what := (wanted.name, wanted.batch.example)) not in tried:
            really(root, wanted)
            tried.add(what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "_try_here", once)
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
    """Send two files and return the folder with what was made of them."""
    table, folder = hours(), tmp_path / "new"
    folder.mkdir()
    table[:100].to_csv(folder / "a.csv", index=False)
    table[100:].to_csv(folder / "b.csv", index=False)
    done = site.call(
        *("invoke", "--env", "dev", "--batch", "--input", str(folder)),
        *("--download", str(tmp_path / "got")),
    )
    assert done.status == 0, done.err + done.out
    return tmp_path / "got"


def test_files_are_scored_by_the_champion(ready: Site, tmp_path: Path) -> None:
    said = deploy(ready)
    assert said.status == 0, said.err
    assert deployments(ready) == [default(ready)]

    files = sorted(score(ready, tmp_path).rglob("*.csv"))

    assert [file.name for file in files] == ["a.csv", "b.csv"]
    scores = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    assert list(scores["load"]) == list(hours()["load"])
    assert set(scores["model_version"]) == {1}
    assert (scores["prediction"] - scores["energy"]).abs().mean() < 20


def test_an_entry_that_takes_folders_is_given_all_files_at_once(
    ready: Site, tmp_path: Path
) -> None:
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
    said = deploy(ready)
    assert said.status == 0, said.err

    files = sorted(score(ready, tmp_path).rglob("*.csv"))

    assert [file.name for file in files] == ["a.csv", "b.csv"]
    assert {n for file in files for n in pd.read_csv(file)["pieces"]} == {2}


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
    assert f"create the batch endpoint {BATCH}" in said.out
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
    nodes = ready.project.path / "src/plant/nodes.py"
    nodes.write_text(
        nodes.read_text(encoding="utf-8")
        + "\n\ndef score_new(champion, new):\n    raise SystemExit('broken')\n",
        encoding="utf-8",
    )

    said = deploy(ready)

    assert said.status == 1
    assert "does not score here, in a copy of the files to upload: broken" in said.err
    assert changes(azure) == azure.uploads == []


def test_a_file_that_cannot_be_scored_fails_the_job(ready: Site, tmp_path: Path) -> None:
    deploy(ready)
    bad: Any = hours()[:20].assign(load="warm")
    bad.to_csv(tmp_path / "bad.csv", index=False)

    said = ready.call("invoke", "--env", "dev", "--batch", "--input", str(tmp_path / "bad.csv"))

    assert said.status == 1
    assert "could not convert string to float: 'warm'" in said.out
    assert "is Failed" in said.err


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (None, "mlops.yml has no deployment.batch"),
        ({"pipeline": "none"}, "there is no pipeline none; there are: __default__, evaluate"),
        ({"input": "none"}, "batch.input in mlops.yml: name one of the inputs of the pipeline"),
        ({"output": "none"}, "score: new_scores"),
        ({"pipeline": "prepare"}, "batch.output in mlops.yml: name one of the outputs"),
        ({"example": "none.csv"}, "deployment.batch.example in mlops.yml: no file none.csv"),
    ],
)
def test_a_configuration_that_does_not_fit_changes_nothing(
    ready: Site, azure: StandIn, batch: dict[str, str] | None, said: str
) -> None:
    ready.configure(batch=batch and {"compute": "cpu-cluster"} | batch)

    answer = deploy(ready)

    assert answer.status == 2
    assert said in answer.err
    assert changes(azure) == azure.uploads == []


def test_a_file_of_the_project_may_be_the_example(ready: Site, azure: StandIn) -> None:
    ready.configure(batch={"compute": "cpu-cluster", "example": "data/raw/hours.csv"})

    assert deploy(ready).status == 0

    path = ready.project.write("few.csv", "load\n1\n")
    ready.configure(batch={"compute": "cpu-cluster", "example": path})
    azure.forget()
    said = deploy(ready)
    assert said.status == 1
    assert "pressure" in said.err
    assert changes(azure) == azure.uploads == []
