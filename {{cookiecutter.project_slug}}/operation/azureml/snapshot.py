"""The snapshot of a folder of code: exactly what Azure ML's client would upload of it."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from operation.errors import OperationError

if TYPE_CHECKING:
    from operation.azureml.ignore import Rules


def files_to_upload(root: Path) -> list[Path]:
    """List the files, relative to the folder and sorted; what a link leads to has the link's name.

    As in Azure ML, empty folders vanish, rules look at where a linked folder really lies, and only
    the folder's own ``.amlignore`` counts, or its ``.gitignore`` if there is none. Folders of which
    nothing can be wanted are not searched.

    Raises
    ------
    OperationError
        If a rule cannot be read, or a link leads to a folder that the link itself lies in.
    """
    # needs pathspec, which cloud jobs do not install; they use the digests below
    from operation.azureml.ignore import Rules

    root = root.resolve()
    return sorted(_files(root, root, Rules(root)), key=Path.as_posix)


def refuse_links_that_leave(root: Path, files: Iterable[Path]) -> None:
    """Refuse what Azure ML would upload though it does not lie in the folder.

    Raises
    ------
    OperationError
        If a file is reached through a link that leads out of the folder, or to nothing.
    """
    root = root.resolve()
    for file in files:
        if _stays(root, file) and (root / file).exists():
            continue
        ways = [file, *file.parents][-2::-1]
        links = [way for way in ways if (root / way).is_symlink()]
        link = next((way for way in links if not _stays(root, way)), links[-1])
        wrong = "out of the project" if (root / file).exists() else "to nothing"
        raise OperationError(
            f"{link.as_posix()} is a link that leads {wrong}: {(root / link).readlink()}. Azure ML "
            "would upload what it finds there. Copy that into the project, or remove the link."
        )


def copy_snapshot(root: Path, target: Path) -> Path:
    """Copy the files to a folder, which is made, and return it.

    Raises
    ------
    OperationError
        If there are none, or a link leads out of the folder.
    """
    files = files_to_upload(root)
    refuse_links_that_leave(root, files)
    if not files:
        raise OperationError(f"Nothing of {root} would be uploaded: look into its .amlignore.")
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, target / file)  # blobs have no permissions
    return target


def snapshot_digest(root: Path) -> str:
    """Return the SHA-256 of the names and bytes of the files."""
    return digest_of_files(root, files_to_upload(root))


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of the names and bytes of all files in a folder."""
    if path.is_file():
        return _sha256(path).hexdigest()
    files = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    return digest_of_files(path, sorted(files, key=Path.as_posix))


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 of the names and bytes of files."""
    total = hashlib.sha256()
    for file in files:
        # no name holds a zero byte, and a digest has a fixed length: no two lists look alike
        total.update(file.as_posix().encode() + b"\0" + _sha256(root / file).digest())
    return total.hexdigest()


def _sha256(path: Path) -> "hashlib._Hash":
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _files(root: Path, folder: Path, rules: "Rules") -> Iterator[Path]:
    """Find files in a folder that is reached under this name, perhaps through links."""
    # Azure ML resolves a folder, but not a file, before it looks at the rules.
    real = folder.resolve()
    for path in folder.iterdir():
        if not path.is_dir():
            if not rules.leave_out(_relative(real / path.name, root)):
                yield path.relative_to(root)
            continue
        inner = path.resolve()
        if real.is_relative_to(inner):
            raise OperationError(
                f"{path.relative_to(root).as_posix()} is a link to a folder that it lies in, so "
                "Azure ML would find files without end: remove the link."
            )
        if not rules.leave_out_all_of(_relative(inner, root)):
            yield from _files(root, path, rules)


def _stays(root: Path, file: Path) -> bool:
    return Path(os.path.realpath(root / file)).is_relative_to(root)


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()
