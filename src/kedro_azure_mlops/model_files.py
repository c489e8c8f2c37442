"""Make the files of a model depend only on the model, so that its digest identifies it.

The same code, data and parameters give the same estimator, but not the same files: MLflow writes
the time and a random identifier into ``MLmodel`` and the installed build tools into
``python_env.yaml``, skops the memory addresses of objects, a zip archive the time of each member,
and numpy tables arbitrary memory between their fields.
"""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml

_MLMODEL = "MLmodel"
_PYTHON_ENV = "python_env.yaml"
_BUILD_TOOLS = ("pip", "setuptools", "wheel")
_SCHEMA = "schema.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold
_HEADER = 32  # bytes of an .npy file that contain the start of its type
_RUN_KEYS = ("utc_time_created", "run_id")
_SAVING = threading.RLock()


def normalise_folder(folder: Path) -> None:
    """Rewrite MLflow's files without the values that differ between times and environments.

    The identifier of the model becomes a hash of its other files.
    """
    _unpin_build_tools(folder / _PYTHON_ENV)
    file = folder / _MLMODEL
    others = sorted(path for path in folder.rglob("*") if path.is_file() and path != file)
    content = hashlib.sha256()
    for path in others:
        content.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    metadata = yaml.safe_load(file.read_text(encoding="utf-8"))
    metadata = {name: value for name, value in metadata.items() if name not in _RUN_KEYS}
    metadata["model_uuid"] = content.hexdigest()[:32]
    metadata["model_size_bytes"] = sum(path.stat().st_size for path in others)
    file.write_text(yaml.safe_dump(metadata, sort_keys=True), encoding="utf-8", newline="\n")


def _unpin_build_tools(file: Path) -> None:
    """Name the build tools without versions: an environment may have others, or none."""
    if file.is_file():
        environment = yaml.safe_load(file.read_text(encoding="utf-8"))
        environment["build_dependencies"] = list(_BUILD_TOOLS)
        text = yaml.safe_dump(environment, sort_keys=False)
        file.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def compact_skops() -> Iterator[None]:
    """Let skops save without indenting its schema: json has no C encoder for indented texts.

    Indenting would take a third of the time to save many trees, only for ``normalise_skops`` to
    write the schema again. One thread at a time can save.
    """
    from skops.io import _persist

    compact = ModuleType("json")
    vars(compact).update(vars(json), dumps=lambda value, **_: json.dumps(value))
    with _SAVING:
        original = getattr(_persist, "json", json)  # a later skops may not import it
        setattr(_persist, "json", compact)  # noqa: B010, mypy knows the module's type
        try:
            yield
        finally:
            setattr(_persist, "json", original)  # noqa: B010


def write_skops(model: Any, file: Path) -> None:
    """Write a model as a skops file whose bytes depend only on the model."""
    import skops.io

    with compact_skops():
        skops.io.dump(model, file)
    normalise_skops(file)


def normalise_skops(file: Path) -> None:
    """Rewrite a skops file with numbers instead of memory addresses, and without times."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        contents = {name: archive.read(name) for name in members}
    schema = json.loads(contents.pop(_SCHEMA))
    renumber = _Renumbering()
    schema = renumber.apply(schema)
    stored = {renumber.files.get(name, name): name for name in contents}
    texts = {new: _without_padding(contents[old]) for new, old in stored.items()}
    kinds = {new: members[old].compress_type for new, old in stored.items()}
    kinds[_SCHEMA] = members[_SCHEMA].compress_type
    # Without line breaks it is a third of the size, and json uses its C encoder.
    texts[_SCHEMA] = json.dumps(schema, separators=(",", ":")).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(texts):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), texts[name], kinds[name])


def _without_padding(content: bytes) -> bytes:
    """Zero the padding between the fields of a stored table, such as the nodes of a tree.

    The padding contains arbitrary memory.
    """
    if b"'descr': [" not in content[:_HEADER]:
        return content
    table = np.load(io.BytesIO(content), allow_pickle=False)
    padded = np.zeros(table.shape, table.dtype)
    for name in table.dtype.names:
        padded[name] = table[name]
    buffer = io.BytesIO()
    np.save(buffer, padded, allow_pickle=False)
    return buffer.getvalue()


class _Renumbering:
    """Numbers in place of the addresses that skops uses as names; the first one is 1."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._numbers: dict[int, int] = {}
        self._last = 0

    def apply(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.apply(one) for one in node]
        if not isinstance(node, dict):
            return node
        renumbered: dict[str, Any] = {}
        for key, value in node.items():
            if key == "__id__":
                # Python decides whether equal constants are one object: each gets its own number.
                renumbered[key] = self._next() if node.get("is_json") else self._number(value)
            elif key == "file" and isinstance(value, str):
                renumbered[key] = self._file(value)
            else:
                renumbered[key] = self.apply(value)
        return renumbered

    def _number(self, address: int) -> int:
        if address not in self._numbers:
            self._numbers[address] = self._next()
        return self._numbers[address]

    def _file(self, name: str) -> str:
        if name not in self.files:
            stem, dot, ending = name.rpartition(".")
            number = self._number(int(stem)) if stem.isdecimal() else None
            self.files[name] = name if number is None else f"{number}{dot}{ending}"
        return self.files[name]

    def _next(self) -> int:
        self._last += 1
        return self._last
