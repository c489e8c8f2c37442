"""The three readers: any bytes must be rejected with a message, or parsed correctly."""

import atexit
import functools
import io
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kedro_azure_mlops.config import read_azureml, read_mlops
from kedro_azure_mlops.contract import Column, History, Schema
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve.request import BadRequestError, Reader
from kedro_azure_mlops.tables.series import Names, ReaderOptions, SeriesReader
from kedro_azure_mlops.validation import BadDataError, is_number, is_time
from tests.fuzz import plain
from tests.plugin.helpers import ROOT
from tests.plugin.unit.test_values import plain_number, plain_time

_SCHEMA = Schema(
    inputs=(
        Column("time", "datetime"),
        Column("unit", "string"),
        Column("load", "double", minimum=-100, maximum=400),
    ),
    outputs=(Column("score", "double"),),
    history=History(order="time", by="unit"),
)
_READER = Reader(_SCHEMA)
_NAMES = Names("time", "device", "load", {"value": "load"})


def check_request(body: bytes) -> bool:
    """Compare the reader of requests with the reference; return whether it accepts."""
    expected = plain.rows(body)
    try:
        request = _READER.read(body)
    except BadRequestError as error:
        assert error.field and error.message and error.status in {400, 413}
        assert expected is None, f"refused: {error}"
        return False
    assert expected is not None, "accepted"
    times = request.columns["time"].astype("datetime64[us]").tolist()
    units = [name.strip() for name in request.columns["unit"].tolist()]
    assert list(zip(times, units, request.columns["load"].tolist(), strict=True)) == expected
    return True


def check_table(data: bytes) -> bool:
    """Compare each row of a file with the reference, for all sizes of pieces."""
    whole = _table(data, None)
    for rows in (1, 3):
        parts = _table(data, rows)
        assert (parts is None) == (whole is None), f"pieces of {rows}: another answer"
        if whole is not None:
            pd.testing.assert_frame_equal(parts, whole, check_dtype=False)
    if whole is None:
        return False
    cut = plain.records(data.decode("utf-8"))
    header = [name.strip() for name in cut[0][1]]
    has_header = bool({"load", "value"} & set(header))
    if not has_header:
        header = ["time", "load"] if len(header) == 2 else ["time", "device", "load"]
    number = header.index("load" if "load" in header else "value")
    by_line = dict(cut[has_header:])
    assert list(whole.index) == list(by_line), "rows are lost or named by another line"
    for line, row in whole.iterrows():
        cells = by_line[line]
        time, load = cells[header.index("time")], cells[number]
        assert plain_time(str(row["time"])) == plain_time(time) is not None, time
        assert float(row["load"]) == plain_number(load), load
        device = cells[header.index("device")] if "device" in header else "new"
        assert row["device"].strip() == device.strip()
    return True


def _table(data: bytes, rows: int | None) -> pd.DataFrame | None:
    reader = SeriesReader(_NAMES, ReaderOptions(), "new.csv", "new")
    try:
        pieces = list(reader.read_csv(lambda: io.BytesIO(data), rows))
    except (BadDataError, OperationError) as error:
        assert "new.csv" in str(error) or "reader." in str(error), error
        return None
    table = pd.concat([one.astype(object) for one in pieces])
    is_right = is_time(table["time"]) & is_number(table["load"])
    # a schema refuses missing or wrong values, so none of them is used
    return table if len(table) and (is_right & table.notna().all(axis=1)).all() else None


def check_configuration(text: bytes) -> bool:
    """Read the bytes as ``mlops.yml`` and ``azureml.yml``; accepted values must match the text."""
    readers: dict[str, Callable[..., Any]] = {"mlops": read_mlops, "azureml": read_azureml}
    return sum(_is_read(name, read, text) for name, read in readers.items()) > 0


def _is_read(name: str, read: Callable[..., Any], text: bytes) -> bool:
    root = _project()
    file = root / "conf" / "local" / f"{name}.yml"
    file.write_bytes(text)
    try:
        config = read(root, "local")
    except OperationError as error:
        assert f"{name}.yml" in str(error), error
        assert "pydantic" not in str(error)
        return False
    finally:
        file.unlink()
    written = plain.settings(text) or {}
    _compare(config.model_dump(by_alias=True), written)
    return True


def _compare(read: Any, written: Any) -> None:
    """Compare the values in the text; omitted and null ones come from base or the defaults."""
    if isinstance(written, Mapping) and isinstance(read, Mapping):
        for key, text in written.items():
            assert key == "<<" or key in read, f"{key} is dropped"
            if key in read:
                _compare(read[key], text)
    elif isinstance(written, list) and isinstance(read, list):
        assert len(read) == len(written)
        for value, text in zip(read, written, strict=True):
            _compare(value, text)
    elif not (isinstance(written, str) and (written in plain.NULLS or "${" in written)):
        assert plain.is_written(read, written), f"{written!r} became {read!r}"


@functools.cache
def _project() -> Path:
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    shutil.copytree(ROOT, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return root


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "requests": check_request,
    "tables": check_table,
    "configuration": check_configuration,
}
