"""The step of a batch endpoint, which scores files."""

import argparse
import json
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.project import pipelines
from kedro.pipeline import Node, Pipeline

from kedro_azure_mlops.config import bootstrap
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.deploy import batch_entry
from kedro_azure_mlops.models import Champion, ModelDataset, RegisteredChampion
from tests.plugin.deployed import hours
from tests.plugin.helpers import Project


@pytest.fixture
def data(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for files to score; the project is the current folder."""
    monkeypatch.chdir(project.path)
    folder = tmp_path / "data"
    folder.mkdir()
    copy = Pipeline([Node(iter, "new_hours", "new_scores", name="copy")])
    bootstrap(project.path)
    known = dict(pipelines)
    monkeypatch.setattr("kedro.framework.project.pipelines", known | {"copy": copy})
    return folder


def run(data: Path, model: Path, **changes: str) -> int:
    options = {
        "env": "dev",
        "pipeline": "score",
        "reads": "new_hours",
        "makes": "new_scores",
        "model": str(model),
        "digest": digest(model),
        "version": "7",
        "data": str(data),
        "scores": str(data.with_name("scores")),
    } | changes
    return batch_entry.main(
        [part for name, text in options.items() for part in (f"--{name}", text)]
    )


def score_files(data: Path) -> list[str]:
    scores = data.with_name("scores")
    return sorted(p.relative_to(scores).as_posix() for p in scores.rglob("*") if p.is_file())


def test_each_file_is_scored_and_folders_are_kept(data: Path, models: dict[str, Path]) -> None:
    (data / "june").mkdir()
    hours()[:3].to_csv(data / "a.csv", index=False)
    hours()[3:7].to_csv(data / "june/b.csv", index=False)
    (data / ".hidden").write_text("not a table", encoding="utf-8")

    assert run(data, models["1"]) == 0

    assert score_files(data) == ["a.csv", "june/b.csv"]
    assert len(pd.read_csv(data.with_name("scores") / "june/b.csv")) == 4


def test_a_single_file_is_scored(data: Path, models: dict[str, Path]) -> None:
    file = data / "a.csv"
    hours()[:3].to_csv(file, index=False)

    assert run(file, models["1"]) == 0

    assert set(pd.read_csv(data / "scores/a.csv")["model_version"]) == {7}


def test_one_bad_file_leaves_no_scores(data: Path, models: dict[str, Path]) -> None:
    hours()[:3].to_csv(data / "a.csv", index=False)
    hours()[:3].assign(load="warm").to_csv(data / "b.csv", index=False)

    with pytest.raises(ValueError, match="could not convert string to float"):
        run(data, models["1"])

    assert score_files(data) == []


def test_refused_rows_are_reported_without_a_traceback(
    project: Project, data: Path, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "type: kedro_azure_mlops.serve.batches"
    project.configure(
        "dev",
        "catalog.yml",
        f"new_hours: {{{kind}.CsvPieces, filepath: data/new}}\n"
        f"new_scores: {{{kind}.ScoredPieces, filepath: data/scores}}\n",
    )
    (data / "a.csv").write_text("", encoding="utf-8")

    assert run(data, models["1"], pipeline="copy") == 1
    err = capsys.readouterr().err
    assert "a.csv: the file is empty: it has no rows." in err
    assert "Nothing was scored." in err
    assert score_files(data) == []

    hours()[:3].to_csv(data / "a.csv", index=False)
    assert run(data, models["1"], pipeline="copy") == 0
    assert score_files(data) == ["scores/a.csv"]


@pytest.mark.parametrize(
    ("files", "message"),
    [((), "holds no file to score"), (("a.csv", "a.txt"), "another file have the same name")],
)
def test_missing_files_and_duplicate_names_are_refused(
    data: Path,
    models: dict[str, Path],
    files: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in files:
        hours()[:3].to_csv(data / name, index=False)

    assert run(data, models["1"]) == 2
    assert message in capsys.readouterr().err
    assert score_files(data) == []


def test_a_model_with_another_digest_is_refused(
    data: Path, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    hours()[:3].to_csv(data / "a.csv", index=False)

    assert run(data, models["1"], digest=digest(models["2"])) == 2
    assert "deploy it again" in capsys.readouterr().err


def test_an_entry_without_a_path_is_refused(
    project: Project, data: Path, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    project.configure("dev", "catalog.yml", json.dumps({"new_scores": {"type": "MemoryDataset"}}))
    hours()[:3].to_csv(data / "a.csv", index=False)

    assert run(data, models["1"]) == 2
    assert "The entry new_scores has no filepath or path" in capsys.readouterr().err


def test_the_model_is_passed_in_the_form_that_the_pipeline_reads(models: dict[str, Path]) -> None:
    registered = digest(models["1"])
    options = argparse.Namespace(model=models["1"], version="7", digest=registered)

    champion = batch_entry._bind_model(RegisteredChampion(name="plant"), options).load()
    model = batch_entry._bind_model(ModelDataset(filepath="data/model"), options).load()

    assert isinstance(champion, Champion)
    assert (champion.version, champion.digest) == ("7", registered)
    assert type(champion.model) is type(model)
    assert model.predict(hours()[["load", "pressure"]]).shape == (240,)
