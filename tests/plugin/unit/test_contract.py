"""The seam: schemas, rows and columns, and models that prove themselves."""

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


class Fixed:
    """A scorer with a fixed answer."""

    def __init__(self, **answer: Any) -> None:
        self.schema = SCHEMA
        self._answer = ANSWER | answer

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        return {name: values for name, values in self._answer.items() if values is not None}


def test_a_contract_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
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
def test_a_contract_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None) -> None:
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


def test_rows_become_columns_and_rows_again() -> None:
    columns = columns_of_rows(ROWS, COLUMNS)
    kinds = {name: values.dtype for name, values in columns.items()}
    assert kinds == {
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


def test_a_time_in_utc_is_written_without_the_zone_and_without_a_fraction_that_is_zero() -> None:
    time = (Column("time", "datetime"),)
    columns = columns_of_rows([{"time": "2026-01-01T10:00:00Z"}], time)
    assert rows_of_columns(columns, time) == [{"time": "2026-01-01T10:00:00"}]


def test_decimals_are_rounded_on_request() -> None:
    columns = {"x": np.array([0.123456, np.nan])}
    wanted = (Column("x", "double"),)
    assert rows_of_columns(columns, wanted, 3) == [{"x": 0.123}, {"x": None}]
    assert rows_of_columns(columns, wanted) == [{"x": 0.123456}, {"x": None}]


def test_a_model_that_repeats_its_answer_is_proven() -> None:
    prove(Fixed(), CONTRACT)
    prove(Fixed(score=np.array([6.0 + 1e-9, np.nan])), CONTRACT)
    tolerant = dataclasses.replace(CONTRACT, tolerance=0.1)
    prove(Fixed(score=np.array([6.05, np.nan])), tolerant)


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
def test_a_model_that_answers_differently_is_refused(answer: dict[str, Any], message: str) -> None:
    with pytest.raises(UnusableModelError, match=message):
        prove(Fixed(**answer), CONTRACT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    write_contract(tmp_path / "model", CONTRACT)
    write_manifest(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], Any]], str]:
    """Put a function into a module that a project might have, and name it."""

    def install(load: Callable[[Path], Any]) -> str:
        module = ModuleType("some_project")
        module.load = load  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "some_project", module)
        return "some_project:load"

    return install


def test_a_scorer_of_the_project_is_loaded_and_proven(
    folder: Path, project: Callable[[Callable[[Path], Any]], str]
) -> None:
    scorer, contract = load_proven_scorer(folder, project(lambda _: Fixed()), digest(folder))
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
def test_a_scorer_that_cannot_be_imported_is_refused(
    folder: Path, project: Callable[[Callable[[Path], Any]], str], load: str, message: str
) -> None:
    project(lambda _: Fixed())
    with pytest.raises(UnusableModelError, match=message):
        load_proven_scorer(folder, load)


def test_a_scorer_that_fails_or_answers_differently_is_refused(
    folder: Path, project: Callable[[Callable[[Path], Any]], str]
) -> None:
    def fails(_: Path) -> Any:
        raise KeyError("weights")

    with pytest.raises(UnusableModelError, match=r"cannot be served by .*KeyError\('weights'\)"):
        load_proven_scorer(folder, project(fails))
    other = project(lambda _: Fixed(score=np.array([1.0, 2.0])))
    with pytest.raises(UnusableModelError, match=r"cannot be served: the example's row 0"):
        load_proven_scorer(folder, other)


def model_folder(folder: Path) -> Path:
    """Write a folder whose files have all kinds of names."""
    for name in ("MLmodel", "data/model.skops", "with space.txt", "ä.json", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content of " + name.encode())
    write_manifest(folder)
    return folder


@pytest.mark.parametrize(
    "name", ["MLmodel", "data/model.skops", "with space.txt", "ä.json", ".hidden", "SHA256SUMS"]
)
@pytest.mark.parametrize("change", [flip, empty, remove])
def test_a_file_that_was_changed_or_removed_is_named(
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
def test_a_file_that_was_added_is_named_and_deleting_it_is_enough(
    tmp_path: Path, name: str
) -> None:
    folder = model_folder(tmp_path / "model")
    added, shown = folder / name, name.replace("\udcff", r"\?")
    added.parent.mkdir(exist_ok=True)
    added.touch()
    with pytest.raises(UnusableModelError, match=f": {shown} was added. Delete what was added"):
        refuse_changed_files(folder)
    added.unlink()
    (folder / "registered_model_meta").touch()  # which MLflow adds to what it downloads
    refuse_changed_files(folder)


def test_every_byte_of_the_manifest_counts(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    manifest = folder / "SHA256SUMS"
    written = manifest.read_bytes()
    for place in range(len(written)):
        for bits in (1, 255):
            changed = bytearray(written)
            changed[place] ^= bits
            manifest.write_bytes(bytes(changed))
            with pytest.raises(UnusableModelError, match="SHA256SUMS was changed"):
                refuse_changed_files(folder)
    for other in (b"", written[:-1], written + b"\n", written + written):
        manifest.write_bytes(other)
        with pytest.raises(UnusableModelError, match="SHA256SUMS was changed"):
            refuse_changed_files(folder)
    manifest.write_bytes(written)
    refuse_changed_files(folder)


def test_a_model_of_an_earlier_version_is_known_by_its_registered_digest_alone(
    tmp_path: Path,
) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "SHA256SUMS").unlink()
    refuse_changed_files(folder, digest(folder))
    with pytest.raises(UnusableModelError, match=r"saved by an earlier version\. Train it again"):
        refuse_changed_files(folder)
    with pytest.raises(UnusableModelError, match="none was requested"):
        refuse_changed_files(folder, "")
    with pytest.raises(UnusableModelError, match="no such folder"):
        refuse_changed_files(tmp_path / "nowhere")


def test_the_manifest_is_read_by_a_stock_tool(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    said = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=True)
    assert len(said.stdout.splitlines()) == 5
    flip(folder / "MLmodel")
    assert subprocess.run(check, cwd=folder, capture_output=True, check=False).returncode == 1


def test_files_that_were_changed_are_refused_before_they_are_used(
    folder: Path, project: Callable[[Callable[[Path], Any]], str]
) -> None:
    used: list[Path] = []
    load, wanted = project(lambda place: used.append(place) or Fixed()), digest(folder)
    load_proven_scorer(folder, load, wanted)
    (folder / "more").touch()
    with pytest.raises(UnusableModelError, match="not those that were registered"):
        load_proven_scorer(folder, load, wanted)
    assert used == [folder]
