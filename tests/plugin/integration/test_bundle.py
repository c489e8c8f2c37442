import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.serve import score
from tests.plugin.bundled import call, make_bundle, run, unpack
from tests.plugin.cloud import Command
from tests.plugin.trained import (
    SCORER,
    body_of,
    measured,
    project_with_scorer,
    save_small_model,
    series,
    small_scorer,
)

HEAD = "time,unit,load\n"
GOOD = "2024-01-01 00:00,north,20\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def archive(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(model, tmp_path_factory.mktemp("bundle") / "project")


@pytest.fixture(scope="module")
def bundle(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked bundle that no test changes."""
    return unpack(archive, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture
def bundle_copy(archive: Path, tmp_path: Path) -> Path:
    """An unpacked bundle that a test may change."""
    return unpack(archive, tmp_path / "unpacked")


@pytest.fixture
def _loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_scorer()  # makes its package importable
    monkeypatch.setattr(score, "_loaded", score.load_served(model, SCORER))


@pytest.fixture
def runner(bundle: Path, _loaded: None) -> Any:
    """The runner as a module of this process, which is faster than a subprocess."""
    spec = importlib.util.spec_from_file_location("runner_of_a_bundle", bundle / "score_file.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, table: pd.DataFrame) -> Path:
    file = folder / "rows.csv"
    table.to_csv(file, index=False)
    return file


@pytest.mark.usefixtures("_loaded")
def test_a_request_gets_the_answer_of_the_score_function(bundle: Path) -> None:
    body = body_of(measured(100))
    result = run(bundle, stdin=body)
    assert (result.status, result.err) == (0, "")
    assert json.loads(result.out) == score.run(body).body


@pytest.mark.usefixtures("_loaded")
def test_a_file_gets_the_answers_of_the_score_function(bundle: Path, tmp_path: Path) -> None:
    table = pd.concat([measured(100), series(8, unit="south")])
    result = run(bundle, str(write(tmp_path, table)), str(tmp_path / "scores.csv"))
    assert (result.status, result.err) == (0, "")
    expected = pd.DataFrame(score.run(body_of(table)).body["data"])
    scores = pd.read_csv(tmp_path / "scores.csv", dtype={"unit": str, "is_far": "Int64"})
    assert list(scores) == ["time", "unit", "load", "deviation", "is_far", "model_version"]
    assert scores["deviation"].tolist()[:-8] == expected["deviation"].tolist()[:-8]
    assert scores["deviation"].isna().sum() == expected["deviation"].isna().sum() == 8
    flags = expected["is_far"].astype("boolean").astype("Int64")
    pd.testing.assert_series_equal(scores["is_far"], flags)
    assert scores["is_far"].sum() >= 2
    assert f"208 rows scored, {scores['is_far'].sum()} flagged" in result.out
    assert scores["unit"].tolist() == table["unit"].tolist()
    assert set(scores["model_version"]) == {score.model().version}


def test_scoring_a_file_in_pieces_gives_the_same_scores(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, measured(100))
    runner.score_file(score, source, tmp_path / "whole.csv")
    monkeypatch.setattr(runner, "ROWS_PER_PIECE", 7)
    runner.score_file(score, source, tmp_path / "pieces.csv")
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "pieces.csv").read_bytes()


def test_columns_may_have_any_order(runner: Any, tmp_path: Path) -> None:
    table = measured(100)
    runner.score_file(score, write(tmp_path, table), tmp_path / "one.csv")
    other = write(tmp_path, table[["load", "unit", "time"]])
    runner.score_file(score, other, tmp_path / "other.csv")
    one, other = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("one", "other"))
    assert list(other)[:4] == ["load", "unit", "time", "deviation"]
    pd.testing.assert_frame_equal(one, other[list(one)])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("time,unit,value\n", "the first line must be time,unit,load, in any order: load is miss"),
        (
            "time,unit,load,a,b\n",
            "the first line must be time,unit,load, in any order: a, b is not",
        ),
        ("time,unit,load,load\n", "the first line must be time,unit,load: a name appears twice"),
        ("", "the first line must be time,unit,load, in any order: time, unit, load is missing"),
        (HEAD + "2024-01-01 00:00,north\n", "line 2 must have the fields time, unit"),
        (HEAD + GOOD + "2024-01-01 01:00,north,much\n", "line 3 load must be a number"),
        (HEAD + GOOD + "2024-01-01 01:00,north,nan\n", "line 3 load must be a number"),
        (HEAD + GOOD + "2024-01-01 01:00,north,\n", "line 3 load must be a number"),
        (HEAD + GOOD + "2024-01-01 01:00,north,1_0\n", "line 3 load must be a number"),
        (HEAD + GOOD + "2024-01-01 01:00,north,9000\n", "line 3 load is outside 0 to 200"),
        (HEAD + GOOD + "soon,north,20\n", "line 3 time must be a date and time"),
        (HEAD + GOOD + "2024-01-01 01:00, ,20\n", "line 3 unit must be a non-empty string"),
        (HEAD + GOOD + "2023-01-01 01:00,north,20\n", "line 3 time is before line 2 time"),
        (HEAD + GOOD + "2024-01-01 01:00,north,195\n", "lines 2 to 3: the loads are too large"),
        (HEAD + GOOD + '2024-01-01 01:00,"a\nb",20\nsoon,north,20\n', "line 5 time must be a date"),
        (HEAD + GOOD + "2024-01-01 01:00,north,2\x009\n", "line 3 holds a NUL byte"),
        (HEAD + GOOD + "2024-01-01T01:00Z,north,20\n", "line 2 time has no offset, line 3 has one"),
        (HEAD + GOOD + "2024-01-01 01:00,north,\u0662\u0660\n", "line 3 load must be a number"),
        (
            'time,load,unit\n2024-01-01,20,north\n2024-01-02,20,"north\n2024-01-03,20,north\n',
            "line 3 cannot be cut into fields .*: a quote may be unclosed$",
        ),
        (HEAD + GOOD + '2024-01-01 01:00,"north"ern,20\n', "line 3 cannot be cut into fields"),
    ],
)
def test_a_file_that_an_endpoint_would_refuse_is_refused(
    runner: Any, tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
    with pytest.raises(runner.RefusedError, match=f"^{why}"):
        runner.score_file(score, tmp_path / "bad.csv", tmp_path / "scores.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_a_file_that_is_not_utf_8_is_refused(runner: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(HEAD.encode() + b"\xff\xfe\n")
    with pytest.raises(runner.RefusedError, match="is not a CSV file in UTF-8"):
        runner.score_file(score, tmp_path / "bad.csv", tmp_path / "scores.csv")


def test_quoted_fields_are_read(runner: Any, tmp_path: Path) -> None:
    names = ["north", "", 'a "b"', "c, d", "e\nf", "g'", ' "h']
    cells = ",".join(['"' + name.replace('"', '""') + '"' for name in names[:6]] + [names[6]])
    file = tmp_path / "rows.csv"
    file.write_bytes(f'"time",load,"unit"\r\n2024-01-01,20,{cells}'.encode())
    with file.open(encoding="utf-8", newline="") as opened:
        assert [row for _, row in runner._lines(opened)][1] == ["2024-01-01", "20", *names]
    file.write_bytes(b'"time",load,"unit"\r\n2024-01-01,"20","a ""b"", c\nd"')
    runner.score_file(score, file, tmp_path / "scores.csv")
    assert pd.read_csv(tmp_path / "scores.csv")["unit"].tolist() == ['a "b", c\nd']


def test_two_runs_that_write_the_same_file_do_not_mix_their_rows(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (tmp_path / name for name in ("one.csv", "other.csv"))
    series(50).to_csv(one, index=False)
    series(8, unit="south").to_csv(other, index=False)
    (tmp_path / "scores.csv.part").write_text("a file of the user", encoding="utf-8")
    target, scorer = tmp_path / "scores.csv", score.model().scorer
    original, units = scorer.score, []

    def run_other_first(*arguments: Any) -> Any:
        monkeypatch.setattr(scorer, "score", original)
        runner.score_file(score, other, target)
        units.append(pd.read_csv(target)["unit"].tolist())
        return original(*arguments)

    monkeypatch.setattr(scorer, "score", run_other_first)
    runner.score_file(score, one, target)
    assert units == [["south"] * 8]
    assert pd.read_csv(target)["unit"].tolist() == ["north"] * 50
    assert (tmp_path / "scores.csv.part").read_text(encoding="utf-8") == "a file of the user"
    assert len(list(tmp_path.iterdir())) == 4


def test_scores_are_written_through_a_link_but_only_replace_a_file(
    runner: Any, tmp_path: Path
) -> None:
    source, link = write(tmp_path, measured(50)), tmp_path / "link.csv"
    (tmp_path / "folder").mkdir()
    link.symlink_to("folder/scores.csv")
    runner.score_file(score, source, link)
    assert link.is_symlink()
    assert len(pd.read_csv(tmp_path / "folder/scores.csv")) == 100
    for target in (tmp_path / "folder", Path(os.devnull)):
        with pytest.raises(runner.NotTriedError, match=f"^{target} is not a file"):
            runner.score_file(score, source, target)


def test_a_time_that_goes_back_between_two_pieces_is_refused(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ROWS_PER_PIECE", 7)
    table = measured(50)
    table.loc[99, "time"] = table["time"].min()
    with pytest.raises(runner.RefusedError, match="line 101 time is before that of an earlier"):
        runner.score_file(score, write(tmp_path, table), tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists()


def test_the_runner_exits_with_1_if_a_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    source = write(tmp_path, series(4).assign(load=9000))
    result = run(bundle, str(source), str(tmp_path / "scores.csv"))
    assert result.status == 1
    assert result.err == "score_file: line 2 load is outside 0 to 200\n"


def test_a_request_that_an_endpoint_would_refuse_is_refused(bundle: Path) -> None:
    result = run(bundle, stdin=b'{"data": [{"time": "2024-01-01", "unit": "north"}]}')
    assert result.status == 1
    assert json.loads(result.out)["error"]["field"] == "data[0].load"
    assert result.err == "score_file: data[0].load is missing\n"


def test_a_failing_model_ends_the_runner_with_one_line(bundle_copy: Path, tmp_path: Path) -> None:
    code, sums = bundle_copy / "code/plant/rolling.py", bundle_copy / "SHA256SUMS"
    text = code.read_text(encoding="utf-8")
    failing = text.replace("raise ValueError(", "raise KeyError(")
    code.write_text(failing, encoding="utf-8")
    before, after = (hashlib.sha256(one.encode()).hexdigest() for one in (text, failing))
    sums.write_text(sums.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    table = measured(50).assign(load=195.0)
    source, target = write(tmp_path, table), tmp_path / "scores.csv"
    for result in (
        run(bundle_copy, str(source), str(target)),
        run(bundle_copy, stdin=body_of(table)),
    ):
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith("score_file: the model failed: KeyError: ")
        assert result.err.count("\n") == 1
    assert not target.exists()
    write(tmp_path, measured(50))
    assert run(bundle_copy, str(source), str(target)).status == 0


@pytest.mark.parametrize(
    ("redirection", "why"),
    [
        ("<&-", "standard input is closed"),
        (">&-", "standard output is closed"),
        pytest.param(
            ">/dev/full",
            "standard output: No space left on device",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full"),
        ),
    ],
)
def test_unusable_standard_streams_are_named(bundle: Path, redirection: str, why: str) -> None:
    command = f'exec "{sys.executable}" score_file.py {redirection}'
    result = call(["sh", "-c", command], bundle, body_of(measured(50)))
    assert (result.status, result.err) == (2, f"score_file: {why}\n")


def test_scores_do_not_overwrite_their_input_file(bundle: Path, tmp_path: Path) -> None:
    file = write(tmp_path, measured().tail(4))
    before = file.read_bytes()
    result = run(bundle, str(file), str(file))
    assert (result.status, file.read_bytes()) == (2, before)
    assert "name another file for the scores" in result.err


def test_blank_lines_at_the_end_are_ignored(runner: Any, tmp_path: Path) -> None:
    file = write(tmp_path, measured().tail(4))
    file.write_text(file.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    runner.score_file(score, file, tmp_path / "scores.csv")
    assert len((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()) == 5
    first, rest = file.read_text(encoding="utf-8").split("\n", 1)
    file.write_text(f"{first}\n\n{rest}", encoding="utf-8")
    with pytest.raises(runner.RefusedError, match="line 2 must have the fields"):
        runner.score_file(score, file, tmp_path / "scores.csv")


def test_the_runner_exits_with_2_if_a_file_is_missing(bundle: Path, tmp_path: Path) -> None:
    result = run(bundle, str(tmp_path / "none.csv"), str(tmp_path / "scores.csv"))
    assert (result.status, "none.csv" in result.err) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model/rolling.json", "code/plant/rolling.py", "README.md"])
def test_a_changed_byte_is_refused_by_runner_and_installer(bundle_copy: Path, name: str) -> None:
    assert run(bundle_copy, "--check").status == 0
    content = bytearray((bundle_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / name).write_bytes(content)
    for result in (run(bundle_copy, "--check"), call(["sh", "install.sh"], bundle_copy)):
        assert result.status == 2
        assert name in result.err
        assert "was altered: unpack the bundle again" in result.err


def test_another_model_with_its_own_checksums_is_refused(bundle_copy: Path) -> None:
    weights = bundle_copy / "model/rolling.json"
    text = weights.read_text(encoding="utf-8")
    before, after = (hashlib.sha256(one.encode()).hexdigest() for one in (text, text + " "))
    weights.write_text(text + " ", encoding="utf-8")
    sums = bundle_copy / "SHA256SUMS"
    sums.write_text(sums.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    result = run(bundle_copy, "--check")
    assert (result.status, "those that were registered" in result.err) == (2, True)


def test_a_bundle_without_its_code_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "code").rename(bundle_copy / "elsewhere")
    result = run(bundle_copy, "--check")
    assert (result.status, "was altered" in result.err) == (2, True)


def test_a_bundle_without_wheels_cannot_be_installed(bundle: Path) -> None:
    result = call(["sh", "install.sh"], bundle, PYTHON=sys.executable)
    assert result.status == 2
    assert "has no wheels: install the packages of requirements.txt" in result.err
    assert not (bundle / ".venv").exists()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose scorer serves, as the current folder."""
    folder = project_with_scorer(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def test_the_command_bundles_a_folder(model: Path, project: Path, mlops: Command) -> None:
    result = mlops("bundle", "--model", str(model), "--no-wheels")
    assert result.status == 0, result.err
    (archive,) = (project / "dist").iterdir()
    assert f"wrote dist/{archive.name}" in result.out
    assert f"packing the model in {model}, digest {digest(model)[:12]}" in result.out
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in result.out
    assert "install the packages that it lacks first:" in result.out
    assert "-m pip install --no-deps --require-hashes \\\n" in result.out
    assert "install.sh" not in result.out


def test_the_command_refuses_an_invalid_python_version(
    model: Path, project: Path, mlops: Command
) -> None:
    wheels = ("--wheels-for", "linux_x86_64", "--python", "newest")
    result = mlops("bundle", "--model", str(model), *wheels)
    assert (result.status, "is not a version such as 3.11" in result.err) == (2, True)
    assert not (project / "dist").exists()


@pytest.mark.parametrize("option", ["--wheels-for=linux_x86_64", "--python=3.11"])
def test_options_for_wheels_are_refused_without_wheels(
    model: Path, project: Path, mlops: Command, option: str
) -> None:
    result = mlops("bundle", "--model", str(model), "--no-wheels", option)
    assert result.status == 2
    assert f"--no-wheels cannot be combined with {option.partition('=')[0]}." in result.err
    assert not (project / "dist").exists()


@pytest.mark.usefixtures("project")
def test_without_a_champion_the_command_gives_advice(mlops: Command) -> None:
    result = mlops("bundle", "--no-wheels")
    assert (result.status, "local has no champion yet" in result.err) == (2, True)
