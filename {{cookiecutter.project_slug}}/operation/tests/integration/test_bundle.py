import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from {{ cookiecutter.package_name }} import score
from {{ cookiecutter.package_name }}.models import digest

from operation.serving.code import PACKAGE
from operation.tests.bundled import call, make_bundle, run, unpack
from operation.tests.cloud import Verb
from operation.tests.helpers import Project, series
from operation.tests.trained import body_of, readings, save_small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def bundle(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked bundle that no test changes."""
    place = tmp_path_factory.mktemp("bundle")
    return unpack(make_bundle(model, place), place / "unpacked")


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Path:
    """An unpacked bundle that a test may change."""
    return unpack(make_bundle(model, tmp_path / "project"), tmp_path / "unpacked")


@pytest.fixture
def _loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("MODEL_DIGEST", "MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(score, "_loaded", None)
    score.init(model)
    yield


@pytest.fixture
def runner(bundle: Path, _loaded: None) -> Any:
    """The runner as a module of this process, which is quicker."""
    spec = importlib.util.spec_from_file_location("runner_of_a_bundle", bundle / "score_file.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, table: pd.DataFrame) -> Path:
    file = folder / "readings.csv"
    table.to_csv(file, index=False)
    return file


@pytest.mark.usefixtures("_loaded")
def test_a_request_gets_the_answer_of_the_score_function(bundle: Path) -> None:
    body = body_of(readings(100))
    said = run(bundle, stdin=body)
    assert (said.status, said.err) == (0, "")
    assert json.loads(said.out) == score.run(body).body


@pytest.mark.usefixtures("_loaded")
def test_a_file_gets_the_scores_of_the_score_function(bundle: Path, tmp_path: Path) -> None:
    table = pd.concat([readings(100), series(8, sensor="strange")])
    said = run(bundle, str(write(tmp_path, table)), str(tmp_path / "scores.csv"))
    assert (said.status, said.err) == (0, "")
    expected = pd.DataFrame(score.run(body_of(table)).body["data"])
    found = pd.read_csv(tmp_path / "scores.csv", dtype={"sensor_id": str, "is_anomaly": "Int64"})
    assert found["score"].tolist()[:-8] == expected["score"].tolist()[:-8]
    assert found["score"].isna().sum() == expected["score"].isna().sum() == 8
    flags = expected["is_anomaly"].astype("boolean").astype("Int64")
    pd.testing.assert_series_equal(found["is_anomaly"], flags)
    assert found["is_anomaly"].sum() >= 2
    assert found["sensor_id"].tolist() == table["sensor_id"].tolist()
    assert set(found["model_version"]) == {score.model().version}


def test_a_file_longer_than_a_piece_is_scored_as_in_one(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, readings(100))
    runner.score_file(score, source, tmp_path / "whole.csv")
    monkeypatch.setattr(runner, "ROWS_PER_PIECE", 7)
    runner.score_file(score, source, tmp_path / "pieces.csv")
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "pieces.csv").read_bytes()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("time,sensor,value\n", "the first line must be timestamp,sensor_id,temperature"),
        ("", "the first line must be timestamp,sensor_id,temperature"),
        ("{head}2024-01-01 00:00,hall\n", "line 2 must have the fields timestamp, sensor_id"),
        ("{head}{good}2024-01-01 01:00,hall,warm\n", "line 3 temperature must be a number"),
        ("{head}{good}2024-01-01 01:00,hall,nan\n", "line 3 temperature must be a number"),
        ("{head}{good}2024-01-01 01:00,hall,9000\n", "line 3 temperature is outside -100 to 400"),
        ("{head}{good}soon,hall,20\n", "line 3 timestamp must be a date and time"),
        ("{head}{good}2024-01-01 01:00, ,20\n", "line 3 sensor_id must be the name of a sensor"),
        ("{head}{good}2023-01-01 01:00,hall,20\n", "line 3 timestamp is before line 2 timestamp"),
    ],
)
def test_a_file_that_an_endpoint_would_refuse_is_refused(
    runner: Any, tmp_path: Path, text: str, why: str
) -> None:
    good, head = "2024-01-01 00:00,hall,20\n", "timestamp,sensor_id,temperature\n"
    (tmp_path / "bad.csv").write_text(text.format(good=good, head=head), encoding="utf-8")
    with pytest.raises(runner.RefusedError, match=f"^{why}"):
        runner.score_file(score, tmp_path / "bad.csv", tmp_path / "scores.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_a_file_that_is_no_text_is_refused(runner: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(b"timestamp,sensor_id,temperature\n\xff\xfe\n")
    with pytest.raises(runner.RefusedError, match="is no CSV file in UTF-8"):
        runner.score_file(score, tmp_path / "bad.csv", tmp_path / "scores.csv")


def test_time_that_goes_back_between_two_pieces_is_refused(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ROWS_PER_PIECE", 7)
    table = readings(50)
    table.loc[99, "timestamp"] = table["timestamp"].min()
    with pytest.raises(runner.RefusedError, match="line 101 timestamp is before that of an"):
        runner.score_file(score, write(tmp_path, table), tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists()


def test_a_file_that_is_refused_ends_the_runner_with_1(bundle: Path, tmp_path: Path) -> None:
    source = write(tmp_path, series(4).assign(temperature=9000))
    said = run(bundle, str(source), str(tmp_path / "scores.csv"))
    assert said.status == 1
    assert said.err == "score_file: line 2 temperature is outside -100 to 400\n"


def test_a_request_that_an_endpoint_would_refuse_is_refused(bundle: Path) -> None:
    said = run(bundle, stdin=b'{"data": [{"timestamp": "2024-01-01", "sensor_id": "hall"}]}')
    assert said.status == 1
    assert json.loads(said.out)["error"]["field"] == "data[0].temperature"
    assert said.err == "score_file: data[0].temperature is missing\n"


def test_the_readings_are_not_overwritten_by_their_scores(bundle: Path, tmp_path: Path) -> None:
    file = write(tmp_path, readings().tail(4))
    before = file.read_bytes()
    said = run(bundle, str(file), str(file))
    assert (said.status, file.read_bytes()) == (2, before)
    assert "name another one for the scores" in said.err


def test_blank_lines_at_the_end_are_no_readings(runner: Any, tmp_path: Path) -> None:
    file = write(tmp_path, readings().tail(4))
    file.write_text(file.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    runner.score_file(score, file, tmp_path / "scores.csv")
    assert len((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()) == 5
    first, rest = file.read_text(encoding="utf-8").split("\n", 1)
    file.write_text(f"{first}\n\n{rest}", encoding="utf-8")
    with pytest.raises(runner.RefusedError, match="line 2 must have the fields"):
        runner.score_file(score, file, tmp_path / "scores.csv")


def test_a_file_that_is_not_there_could_not_be_tried(bundle: Path, tmp_path: Path) -> None:
    said = run(bundle, str(tmp_path / "none.csv"), str(tmp_path / "scores.csv"))
    assert (said.status, "none.csv" in said.err) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model/model.onnx", "src/{}/score.py", "README.md"])
def test_a_changed_byte_is_refused_by_runner_and_installer(own: Path, name: str) -> None:
    assert run(own, "--check").status == 0
    name = name.format(PACKAGE)
    content = bytearray((own / name).read_bytes())
    content[len(content) // 2] ^= 1
    (own / name).write_bytes(content)
    for said in (run(own, "--check"), call(["sh", "install.sh"], own)):
        assert said.status == 2
        assert name in said.err
        assert "not as it was made: unpack the bundle again" in said.err


def test_another_model_with_its_own_checksums_is_refused(own: Path) -> None:
    description = own / "model/detector.json"
    text = description.read_text(encoding="utf-8")
    before, after = (hashlib.sha256(one.encode()).hexdigest() for one in (text, text + " "))
    description.write_text(text + " ", encoding="utf-8")
    sums = own / "SHA256SUMS"
    sums.write_text(sums.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    said = run(own, "--check")
    assert (said.status, "those that were registered" in said.err) == (2, True)


def test_a_file_that_is_missing_is_refused(own: Path) -> None:
    (own / "src").rename(own / "elsewhere")
    said = run(own, "--check")
    assert (said.status, "is not as it was made" in said.err) == (2, True)


def test_a_bundle_without_wheels_cannot_be_installed(bundle: Path) -> None:
    said = call(["sh", "install.sh"], bundle, PYTHON=sys.executable)
    assert said.status == 2
    assert "made without wheels" in said.err
    assert not (bundle / ".venv").exists()


def test_the_verb_bundles_a_folder(
    model: Path, project: Project, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.chdir(project.path)
    said = verb("bundle", "--model", str(model), "--no-wheels")
    assert said.status == 0, said.err
    (archive,) = (project.path / "dist").iterdir()
    assert f"wrote dist/{archive.name}" in said.out
    assert f"digest {digest(model)[:12]}" in said.out


def test_the_verb_refuses_a_python_that_is_none(
    model: Path, project: Project, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.chdir(project.path)
    wheels = ("--wheels-for", "linux_x86_64", "--python", "newest")
    said = verb("bundle", "--model", str(model), *wheels)
    assert (said.status, "write it as 3.11" in said.err) == (2, True)
    assert not (project.path / "dist").exists()
