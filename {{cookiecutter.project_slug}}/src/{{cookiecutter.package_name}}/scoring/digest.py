"""The digest that identifies a model folder wherever it goes."""

import hashlib
from pathlib import Path

# MLflow adds this file when a folder is fetched from its registry.
_WRITTEN_BY_REGISTRY = {"registered_model_meta"}


def digest(folder: Path) -> str:
    """Compute the SHA-256 of a model folder, over the names and bytes of its files."""
    total = hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    for name, file in sorted(files.items()):
        if file.is_file() and name not in _WRITTEN_BY_REGISTRY:
            with file.open("rb") as content:
                of_file = hashlib.file_digest(content, "sha256").digest()
            total.update(name.encode() + b"\0" + of_file)
    return total.hexdigest()
