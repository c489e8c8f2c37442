"""Find the very data that a run has read: by what its bytes are, wherever they lie now."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from operation.azureml.reproduction.commands import Command
from operation.azureml.reproduction.run import RecordedData
from operation.azureml.snapshot import content_digest
from operation.errors import OperationError


def find_data(
    data: Sequence[RecordedData],
    given: Sequence[Path],
    catalog: Mapping[str, str],
    root: Path,
) -> dict[str, Path]:
    """Return for each port the file with the recorded content; none for what must be fetched.

    Parameters
    ----------
    given
        Files to look among before all others; each must be one that the run has read.
    catalog
        Where this checkout's catalog reads each port from.

    Raises
    ------
    OperationError
        If a file is not there or is another one, and no data asset is known.
    """
    offered = {content_digest(path): path.resolve() for path in given if _is_there(path)}
    wanted = {item.digest for item in data}
    for digest, path in offered.items():
        if digest not in wanted:
            raise OperationError(
                f"{path} (SHA-256 {digest}) is none of the data of that run:\n{_listed(data)}"
            )
    found = {}
    for item in data:
        places = [root / place for place in (item.path, catalog.get(item.port)) if place]
        path = offered.get(item.digest or "") or _with_content(item, places)
        if path:
            found[item.port] = path
        elif not item.asset and not _is_address(item):
            raise OperationError(_missing(item, places))
    return found


def ways_to_data(
    data: Sequence[RecordedData], found: Mapping[str, Path], env: str, folder: str, root: Path
) -> tuple[dict[str, str], list[Command]]:
    """Say where each port is read from, and the commands that bring it there first.

    A file keeps the name it had: the name of a sensor may be that of its file.
    """
    places, commands = {}, []
    for item in data:
        name = PurePosixPath(item.path or item.port).name
        target = f"{folder}/{item.port}/{name}"
        path = found.get(item.port)
        if path is None and _is_address(item) and not item.asset:
            continue  # read from where the catalog of that commit says
        if path and (path.name == name or not item.path):
            places[item.port] = str(path)
            continue
        command = ("cp", "-r", str(path), target) if path else _fetch(item, env, target)
        commands += [Command(("mkdir", "-p", f"{folder}/{item.port}")), Command(command)]
        places[item.port] = str(root / target)
    clean = [Command(("rm", "-rf", folder))] if (root / folder).exists() else []
    return places, [*clean, *commands]


def unchecked(data: Sequence[RecordedData], found: Mapping[str, Path]) -> list[str]:
    """Name the data that is read from an address again, and may be another by now."""
    if not data:
        return ["which data the run has read is not recorded: the commit's catalog names some."]
    return [
        f"{item.port} is read from {item.path} again: whether it is still the same is not checked."
        for item in data
        if item.port not in found and _is_address(item) and not item.asset
    ]


def _fetch(item: RecordedData, env: str, target: str) -> tuple[str, ...]:
    return ("python", "-m", "operation.azureml.fetch", "--env", env, str(item.asset), target)


def _is_there(path: Path) -> bool:
    if not path.exists():
        raise OperationError(f"There is no {path}, which --data names.")
    return True


def _is_address(item: RecordedData) -> bool:
    return "://" in (item.path or "")


def _with_content(item: RecordedData, places: Sequence[Path]) -> Path | None:
    for place in places:
        if item.digest and place.exists() and content_digest(place) == item.digest:
            return place.resolve()
    return None


def _missing(item: RecordedData, places: Sequence[Path]) -> str:
    there = dict.fromkeys(str(place) for place in places if place.exists())
    now = f"what is at {' and '.join(there)} now is another" if there else "it is not there now"
    return f"{_listed([item])}\nand {now}. Give the file of that time: --data PATH"


def _listed(data: Sequence[RecordedData]) -> str:
    return "\n".join(
        f"{item.port} was {item.path or 'a file'} with SHA-256 {item.digest or 'not recorded'}"
        + (f", data asset {item.asset}" if item.asset else "")
        for item in data
    )
