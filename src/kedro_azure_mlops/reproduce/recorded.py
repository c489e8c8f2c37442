"""Read the record of a run: its code, parameters, scores and data.

Runs and local jobs are recorded on the tracking server, jobs on Azure ML in the workspace.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.downloads import DATASTORE
from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.errors import OperationError, first_line
from kedro_azure_mlops.hooks.binding import port_of
from kedro_azure_mlops.hooks.run import ATTEMPT, PARAMETERS

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from kedro_azure_mlops.azure.cloud_job import CloudJob

SCORES = "scores.digest"
_PARENT = "mlflow.parentRunId"
_ASSET = re.compile(r"[\w.-]+:[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHORT_DATASTORE = DATASTORE.removeprefix("azureml:")  # in tags of jobs of earlier versions
_NOT_DATA = ("fingerprint", "from_earlier_runs")


@dataclass(frozen=True)
class RecordedData:
    """A raw input of a run: the digest of its bytes, its path at that time and its data asset.

    ``address`` is what the input of a job was read from, if that was no data asset;
    ``is_folder`` is true if that input was a folder.
    """

    port: str
    digest: str | None = None
    path: str | None = None
    asset: str | None = None
    address: str | None = None
    is_folder: bool = False

    @property
    def name(self) -> str:
        """The name of its file or folder."""
        return PurePosixPath(self.path or self.address or self.port).name

    @property
    def source(self) -> str | None:
        """The data asset or datastore path that can be downloaded; None if there is none."""
        in_datastore = self.address and self.address.startswith(DATASTORE)
        return self.asset or (self.address if in_datastore else None)


@dataclass(frozen=True)
class RecordedRun:
    """A run, with the record of its job and of the other steps of that job.

    ``in_steps`` is true if other steps of the same job made the inputs of this one.
    """

    id: str
    env: str
    scores: str
    commit: str | None
    dirty: bool
    pipelines: tuple[str, ...]
    filters: str
    parameters: Mapping[str, str]
    parameters_file: str | None
    data: tuple[RecordedData, ...]
    in_steps: bool


def find_run(client: Any, run_id: str) -> RecordedRun:
    """Read a run; for a job or one of its other steps, read the step that wrote the scores.

    Raises
    ------
    OperationError
        If the run does not exist, stored no scores, or started from results of an earlier run.
    """
    from mlflow import MlflowException

    try:
        requested = client.get_run(run_id)
        run = requested if SCORES in requested.data.tags else _scoring(client, requested)
        parent = run.data.tags.get(_PARENT)
        job = client.get_run(parent).data.tags if parent else {}
        steps = _children(client, run, parent) if parent else [run]
    except MlflowException as error:
        raise OperationError(
            f"The run {run_id} cannot be read from {client.tracking_uri}: {first_line(error)} "
            "To read it from another server, set MLFLOW_TRACKING_URI."
        ) from error
    if "data.from_earlier_runs" in run.data.tags and not parent:
        raise OperationError(
            f"The run {run_id} started from {run.data.tags['data.from_earlier_runs']}, the results "
            "of earlier runs. Give the id of a run that started from the raw data."
        )
    return _recorded(run, job, [step.data.tags for step in steps])


def find_job(client: "MLClient", name: str, env: str, scores: str) -> RecordedRun:
    """Read a job: its tags, its inputs, and the digest of its scores.

    Parameters
    ----------
    scores
        The output with the scores.

    Raises
    ------
    OperationError
        If there is no such job, or it has no scores.
    """
    from kedro_azure_mlops.azure.cloud_job import read_job

    job = read_job(client, name)
    return RecordedRun(
        id=job.name,
        env=job.tags.get("env", env),
        scores=_digest(client, job, scores),
        commit=job.tags.get("git.commit"),
        dirty=job.tags.get("git.dirty") == "true",
        pipelines=("__default__",),
        filters="",
        parameters=_job_parameters(job.tags, job.parameters),
        parameters_file=None,
        data=tuple(_completed(client, item, job) for item in _parse_data(job.tags)),
        in_steps=True,
    )


def find_data(
    data: Sequence[RecordedData],
    given: Sequence[Path],
    catalog: Mapping[str, str],
    root: Path,
) -> dict[str, Path]:
    """Return the file with the recorded content for each port, except those to be downloaded.

    Parameters
    ----------
    given
        Files to try first; each must be one that the run read. If the run recorded no digest,
        the name decides.
    catalog
        The path of each port in the catalog of this checkout.

    Raises
    ------
    OperationError
        If a file is missing or has different content, and no data asset is known.
    """
    offered = {content_digest(path): path.resolve() for path in given if _must_exist(path)}
    recorded = {item.digest for item in data}
    by_name = {item.name for item in data if not item.digest}
    for digest, path in offered.items():
        if digest not in recorded and path.name not in by_name:
            raise OperationError(
                f"{path} (SHA-256 {digest}) is not among the data of the run:\n{_format_data(data)}"
            )
    found: dict[str, Path] = {}
    for item in data:
        paths = [root / path for path in (item.path, catalog.get(item.port)) if path]
        if item.digest:
            match = offered.get(item.digest) or _find_content(item, paths)
        else:
            match = next((path for path in offered.values() if path.name == item.name), None)
        if match:
            found[item.port] = match
        elif not item.source and not is_address(item):
            raise OperationError(_format_missing(item, paths))
    return found


def unchecked(data: Sequence[RecordedData], found: Mapping[str, Path]) -> list[str]:
    """Return warnings about data that may have changed and has no recorded digest to check."""
    if not data:
        return [
            "the run did not record its data: it is read from the paths in the commit's catalog."
        ]
    again = [item for item in data if item.port not in found and is_address(item)]
    return [
        f"{item.port} is read again from {item.address or item.path}, without checking that it is "
        f"unchanged. To use a copy: --data PATH, whose name is {item.name}."
        for item in again
        if not item.asset
    ] + [
        f"{item.port} is {found[item.port]}, without checking it: the run recorded no SHA-256."
        for item in data
        if item.port in found and not item.digest
    ]


def is_address(item: RecordedData) -> bool:
    """Return whether data was read from a remote address and not from a file."""
    return "://" in (item.address or item.path or "")


def _scoring(client: Any, run: Any) -> Any:
    """Find the step that wrote the scores, in a job or in the job that a step belongs to."""
    job = run.data.tags.get(_PARENT, run.info.run_id)
    scoring = [step for step in _children(client, run, job) if SCORES in step.data.tags]
    if not scoring:
        raise OperationError(
            f"The run {run.info.run_id} ({run.info.status}) has no {SCORES}, nor has any step of "
            "its job: it has not finished, or does not score. There is nothing to compare with."
        )
    return scoring[-1]


def _children(client: Any, run: Any, parent: str) -> list[Any]:
    """List the steps of a job, oldest first."""
    found = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    return sorted(found, key=lambda child: child.info.start_time)


def _recorded(run: Any, job: Mapping[str, str], steps: list[Mapping[str, str]]) -> RecordedRun:
    own = run.data.tags
    known: dict[str, str] = {}
    for tags in (*steps, job, own):
        known |= {name: text for name, text in tags.items() if name.startswith(("data.", "git."))}
    attempt = int(own.get(ATTEMPT, 1))
    in_steps = "data.from_earlier_runs" in own
    return RecordedRun(
        id=run.info.run_id,
        env=own["kedro.env"],
        scores=own[SCORES],
        commit=known.get("git.commit"),
        dirty=known.get("git.dirty") == "true",
        pipelines=tuple(own["kedro.pipelines"].split(",")),
        filters=own.get("kedro.filters", ""),
        parameters=_runtime_parameters(job, steps) if in_steps else {},
        parameters_file=PARAMETERS if attempt == 1 else f"attempt_{attempt}/{PARAMETERS}",
        data=_parse_data(known),
        in_steps=in_steps,
    )


def _runtime_parameters(job: Mapping[str, str], steps: list[Mapping[str, str]]) -> dict[str, str]:
    """Collect the runtime parameters of a job; each step records only those that it uses."""
    used = [pair for step in steps for pair in _pairs(step.get("kedro.params", ""))]
    return _parse_parameters([*_pairs(job.get("params", "")), *used], dict(used))


def _pairs(text: str) -> list[tuple[str, str]]:
    """Read the names and values in the form of ``--params``."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return [(name, value) for name, _, value in pairs]


def _parse_parameters(pairs: Iterable[tuple[str, str]], known: Iterable[str]) -> dict[str, str]:
    """Return parameters by name; the last value takes precedence.

    The job input of the parameter a.b is named a__b, like that of a parameter whose own name is
    a__b: names that are known to be those of parameters decide which one it is.
    """
    names = {port_of(name): name for name in known}
    return {names.get(port_of(name), name.replace("__", ".")): value for name, value in pairs}


def _parse_data(known: Mapping[str, str]) -> tuple[RecordedData, ...]:
    """Parse the raw data described by tags."""
    found: dict[str, dict[str, Any]] = {}
    for tag, text in known.items():
        kind, _, name = tag.removeprefix("data.").partition(".")
        if not tag.startswith("data.") or kind in _NOT_DATA:
            continue
        facts = found.setdefault(port_of(name) or kind, {})
        if kind == "file":  # the content that was read
            facts["digest"] = text
        elif kind == "digest" or _SHA256.fullmatch(text):
            facts.setdefault("digest", text)
        elif _ASSET.fullmatch(text):
            facts["asset"] = text
        elif name:  # data.path.NAME
            facts.setdefault("path", text)
        else:  # the address of a job's input
            scheme = "azureml:" if text.startswith(_SHORT_DATASTORE) else ""
            facts.setdefault("address", scheme + text)
    return tuple(RecordedData(port, **facts) for port, facts in sorted(found.items()))


def _completed(client: "MLClient", item: RecordedData, job: "CloudJob") -> RecordedData:
    """Add what a job knows about an input: its type, and the file name of its data asset."""
    from kedro_azure_mlops.azure.assets import find_data, split_reference

    is_folder = job.data.get(item.port, {}).get("type") == "uri_folder"
    path = item.path
    if item.asset and not path:
        asset = find_data(client, *split_reference(item.asset))
        path = PurePosixPath(str(asset.path)).name if asset else None
    return replace(item, is_folder=is_folder, path=path)


def _job_parameters(tags: Mapping[str, str], inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a job; its inputs come last, as a schedule may override the tag."""
    submitted = _pairs(tags.get("params", ""))
    return _parse_parameters([*submitted, *inputs.items()], dict(submitted))


def _digest(client: "MLClient", job: "CloudJob", scores: str) -> str:
    """Compute the digest that the tracking hook records for the same file."""
    from kedro_azure_mlops.azure.cloud_job import fetch_output

    with TemporaryDirectory() as folder:
        (file,) = fetch_output(client, job, scores, Path(folder), "compared").iterdir()
        return content_digest(file)


def _must_exist(path: Path) -> bool:
    if not path.exists():
        raise OperationError(f"--data names {path}, which does not exist.")
    return True


def _find_content(item: RecordedData, paths: Sequence[Path]) -> Path | None:
    for path in paths:
        if item.digest and path.exists() and content_digest(path) == item.digest:
            return path.resolve()
    return None


def _format_missing(item: RecordedData, paths: Sequence[Path]) -> str:
    existing = dict.fromkeys(str(path) for path in paths if path.exists())
    now = f"{' and '.join(existing)} has changed" if existing else "it is missing now"
    return f"{_format_data([item])}\nand {now}. Give the original file: --data PATH"


def _format_data(data: Sequence[RecordedData]) -> str:
    return "\n".join(
        f"{item.port} was {item.path or item.address or 'a file'} with SHA-256 "
        + (item.digest or "not recorded")
        + (f", data asset {item.asset}" if item.asset else "")
        for item in data
    )
