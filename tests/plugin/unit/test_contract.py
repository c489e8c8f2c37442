"""Schemas, conversion of rows and columns, and models checked against their contract."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kedro_azure_mlops.contract import (
    Column,
    Columns,
    Contract,
    History,
    Schema,
    Scorer,
    UnusableModelError,
    columns_of_rows,
    digest,
    load_proven_scorer,
    prove,
    read_contract,
    refuse_changed_files,
    rows_of_columns,
    write_contract,
    write_manifest,
)

SCHEMA = Schema(
    inputs=(
        Column("time", "datetime"),
        Column("unit", "string"),
        Column("load", "double", minimum=0.0, maximum=9.0, nullable=True),
    ),
    outputs=(Column("score", "double", nullable=True), Column("is_high", "boolean")),
    history=History(order="time", by="unit", days=2.5, rows=3),
    echo=("unit", "time"),
    flag="is_high",
)
EXAMPLE = [
    {"time": "2026-01-01T00:00:00", "unit": "a", "load": 3.0},
    {"time": "2026-01-01T01:00:00", "unit": "b", "load": None},
]
CONTRACT = Contract(
    schema=SCHEMA,
    example=EXAMPLE,
    answer=[{"score": 6.0, "is_high": True}, {"score": None, "is_high": False}],
    made_by={"numpy": "2"},
    attributes=("schema",),
)
ANSWER = {"score": np.array([6.0, np.nan]), "is_high": np.array([True, False], object)}


def flip(file: Path) -> None:
    """Change the middle byte of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def remove(file: Path) -> None:
    file.unlink()


class FixedScorer:
    """A scorer with a fixed answer."""

    def __init__(self, **answer: Any) -> None:
        self.schema = SCHEMA
        self._answer = ANSWER | answer

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        return {name: values for name, values in self._answer.items() if values is not None}


def test_a_contract_is_read_back_unchanged(tmp_path: Path) -> None:
    write_contract(tmp_path, CONTRACT)
    assert read_contract(tmp_path) == CONTRACT
    plain = Schema(inputs=(Column("x", "long"),), outputs=(Column("y", "double"),))
    assert Schema.from_dict(json.loads(json.dumps(dataclasses.asdict(plain)))) == plain
    assert SCHEMA.input("load").maximum == 9.0


@pytest.mark.parametrize(
    "text",
    [None, "", "{}", "[]", '{"schema": {"inputs": [{"name": "x", "kind": "y"}], "outputs": []}}'],
    ids=["missing", "empty", "without keys", "a list", "an unknown key"],
)
def test_an_unreadable_contract_is_rejected(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "contract.json").write_text(text, encoding="utf-8")
    with pytest.raises(UnusableModelError, match=r"contract\.json cannot be read"):
        read_contract(tmp_path)


COLUMNS = (
    Column("text", "string", nullable=True),
    Column("number", "double", nullable=True),
    Column("count", "long"),
    Column("yes", "boolean", nullable=True),
    Column("time", "datetime", nullable=True),
)
ROWS = [
    {"text": "a", "number": 1.5, "count": 3, "yes": True, "time": "2026-01-01T10:00:00.250000"},
    {"text": None, "number": None, "count": -1, "yes": None, "time": None},
]


def test_rows_are_converted_to_columns_and_back() -> None:
    columns = columns_of_rows(ROWS, COLUMNS)
    dtypes = {name: values.dtype for name, values in columns.items()}
    assert dtypes == {
        "text": np.dtype(object),
        "number": np.dtype(float),
        "count": np.dtype("int64"),
        "yes": np.dtype(object),
        "time": np.dtype("datetime64[ns]"),
    }
    assert np.isnan(columns["number"][1])
    assert np.isnat(columns["time"][1])
    assert rows_of_columns(columns, COLUMNS) == ROWS
    assert rows_of_columns(columns_of_rows([], COLUMNS), COLUMNS) == []


def test_utc_times_are_written_without_zone_and_zero_fraction() -> None:
    time = (Column("time", "datetime"),)
    columns = columns_of_rows([{"time": "2026-01-01T10:00:00Z"}], time)
    assert rows_of_columns(columns, time) == [{"time": "2026-01-01T10:00:00"}]


def test_decimals_are_rounded_on_request() -> None:
    columns = {"x": np.array([0.123456, np.nan])}
    outputs = (Column("x", "double"),)
    assert rows_of_columns(columns, outputs, 3) == [{"x": 0.123}, {"x": None}]
    assert rows_of_columns(columns, outputs) == [{"x": 0.123456}, {"x": None}]


def test_a_model_that_reproduces_its_recorded_answer_is_accepted() -> None:
    prove(FixedScorer(), CONTRACT)
    prove(FixedScorer(score=np.array([6.0 + 1e-9, np.nan])), CONTRACT)
    tolerant = dataclasses.replace(CONTRACT, tolerance=0.1)
    prove(FixedScorer(score=np.array([6.05, np.nan])), tolerant)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"score": None}, "the answer lacks the column score"),
        ({"score": np.array([6.0])}, "2 rows were sent and 1 answered"),
        ({"score": np.array([6.0, np.nan, 1.0])}, "2 rows were sent and 3 answered"),
        ({"score": np.array([6.1, np.nan])}, r"row 0 has score 6\.1, but training recorded 6\.0"),
        ({"score": np.array([np.nan, np.nan])}, "row 0 has score None"),
        ({"score": np.array([6.0, 0.0])}, r"row 1 has score 0\.0, but training recorded None"),
        ({"is_high": np.array([False, False], object)}, "row 0 has is_high False"),
    ],
)
def test_a_model_that_answers_differently_is_rejected(answer: dict[str, Any], message: str) -> None:
    with pytest.raises(UnusableModelError, match=message):
        prove(FixedScorer(**answer), CONTRACT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    write_contract(tmp_path / "model", CONTRACT)
    write_manifest(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def install_loader(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], Any]], str]:
    """Install a function as the loader of a project and return its import path."""

    def install(load: Callable[[Path], Any]) -> str:
        module = ModuleType("some_project")
        module.load = load  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "some_project", module)
        return "some_project:load"

    return install


def test_a_scorer_of_the_project_is_loaded_and_checked(
    folder: Path, install_loader: Callable[[Callable[[Path], Any]], str]
) -> None:
    scorer, contract = load_proven_scorer(
        folder, install_loader(lambda _: FixedScorer()), digest(folder)
    )
    assert isinstance(scorer, Scorer)
    assert contract == CONTRACT


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ("nowhere.at_all:load", "nowhere.at_all:load cannot be imported"),
        ("some_project:other", "some_project:other cannot be imported"),
        ("some_project", "write package.module:function"),
    ],
)
def test_a_scorer_that_cannot_be_imported_is_rejected(
    folder: Path, install_loader: Callable[[Callable[[Path], Any]], str], load: str, message: str
) -> None:
    install_loader(lambda _: FixedScorer())
    with pytest.raises(UnusableModelError, match=message):
        load_proven_scorer(folder, load)


def test_a_scorer_that_fails_or_answers_differently_is_rejected(
    folder: Path, install_loader: Callable[[Callable[[Path], Any]], str]
) -> None:
    def fails(_: Path) -> Any:
        raise KeyError("weights")

    with pytest.raises(UnusableModelError, match=r"cannot be served by .*KeyError\('weights'\)"):
        load_proven_scorer(folder, install_loader(fails))
    other = install_loader(lambda _: FixedScorer(score=np.array([1.0, 2.0])))
    with pytest.raises(UnusableModelError, match=r"cannot be served: the example's row 0"):
        load_proven_scorer(folder, other)


def model_folder(folder: Path) -> Path:
    """Write a model folder with unusual file names."""
    for name in ("MLmodel", "data/model.skops", "with space.txt", "ä.json", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content of " + name.encode())
    write_manifest(folder)
    return folder


@pytest.mark.parametrize(
    "name", ["MLmodel", "data/model.skops", "with space.txt", "ä.json", ".hidden", "SHA256SUMS"]
)
@pytest.mark.parametrize("change", [flip, empty, remove])
def test_a_changed_or_removed_file_is_named(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    folder = model_folder(tmp_path / "model")
    refuse_changed_files(folder)
    refuse_changed_files(folder, digest(folder))
    change(folder / name)
    with pytest.raises(UnusableModelError, match=f": {name} (was changed|is missing)|no {name}"):
        refuse_changed_files(folder)


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "__pycache__/x.pyc", "data/more", "a\udcff"]
)
def test_an_added_file_is_named_and_can_be_deleted(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path / "model")
    added, shown = folder / name, name.replace("\udcff", r"\?")
    added.parent.mkdir(exist_ok=True)
    added.touch()
    with pytest.raises(UnusableModelError, match=f": {shown} was added. Delete what was added"):
        refuse_changed_files(folder)
    added.unlink()
    (folder / "registered_model_meta").touch()  # MLflow adds it to a download
    refuse_changed_files(folder)


def test_every_byte_of_the_manifest_is_checked(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    manifest = folder / "SHA256SUMS"
    written = manifest.read_bytes()
    for position in range(len(written)):
        for mask in (1, 255):
            changed = bytearray(written)
            changed[position] ^= mask
            manifest.write_bytes(bytes(changed))
            with pytest.raises(UnusableModelError, match="SHA256SUMS was changed"):
                refuse_changed_files(folder)
    for other in (b"", written[:-1], written + b"\n", written + written):
        manifest.write_bytes(other)
        with pytest.raises(UnusableModelError, match="SHA256SUMS was changed"):
            refuse_changed_files(folder)
    manifest.write_bytes(written)
    refuse_changed_files(folder)


def test_a_model_without_a_manifest_is_checked_by_its_registered_digest(
    tmp_path: Path,
) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "SHA256SUMS").unlink()
    refuse_changed_files(folder, digest(folder))
    with pytest.raises(UnusableModelError, match=r"saved by an earlier version\. Train it again"):
        refuse_changed_files(folder)
    with pytest.raises(UnusableModelError, match="none was requested"):
        refuse_changed_files(folder, "")
    with pytest.raises(UnusableModelError, match="the folder does not exist"):
        refuse_changed_files(tmp_path / "nowhere")


def test_sha256sum_can_check_the_manifest(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    result = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=True)
    assert len(result.stdout.splitlines()) == 5
    flip(folder / "MLmodel")
    assert subprocess.run(check, cwd=folder, capture_output=True, check=False).returncode == 1


def test_changed_files_are_rejected_before_they_are_loaded(
    folder: Path, install_loader: Callable[[Callable[[Path], Any]], str]
) -> None:
    loaded: list[Path] = []
    load, registered = (
        install_loader(lambda path: loaded.append(path) or FixedScorer()),
        digest(folder),
    )
    load_proven_scorer(folder, load, registered)
    (folder / "more").touch()
    with pytest.raises(UnusableModelError, match="not those that were registered"):
        load_proven_scorer(folder, load, registered)
    assert loaded == [folder]
