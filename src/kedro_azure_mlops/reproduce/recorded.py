"""Read the record of a run: code, parameters, scores, and exactly the data that it read.

The tracking server has it for runs and local jobs, the workspace for jobs on Azure ML.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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
_NOT_DATA = ("fingerprint", "from_earlier_runs")


@dataclass(frozen=True)
class RecordedData:
    """A raw input of a run: digest of its bytes, its path at that time, and its data asset."""

    port: str
    digest: str | None = None
    path: str | None = None
    asset: str | None = None


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
    """Read a run; for a job or one of its other steps, read the step that made the scores.

    Raises
    ------
    OperationError
        If there is no such run, it stored no scores, or it began with results of an earlier run.
    """
    from mlflow import MlflowException

    try:
        given = client.get_run(run_id)
        run = given if SCORES in given.data.tags else _scoring(client, given)
        parent = run.data.tags.get(_PARENT)
        job = client.get_run(parent).data.tags if parent else {}
        steps = _children(client, run, parent) if parent else [run]
    except MlflowException as error:
        raise OperationError(
            f"The run {run_id} cannot be read from {client.tracking_uri}: {first_line(error)} "
            "Is it on another server? Name that in MLFLOW_TRACKING_URI."
        ) from error
    if "data.from_earlier_runs" in run.data.tags and not parent:
        raise OperationError(
            f"The run {run_id} began with {run.data.tags['data.from_earlier_runs']}, which earlier "
            "runs had made: give the id of a run that began with the raw data."
        )
    return _recorded(run, job, [step.data.tags for step in steps])


def find_job(client: "MLClient", name: str, env: str, scores: str) -> RecordedRun:
    """Read a job: its tags, its inputs, and the digest of the scores that it made.

    Parameters
    ----------
    scores
        The output that is compared.

    Raises
    ------
    OperationError
        If there is no such job, or it has not made scores.
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
        parameters=_parameters_in(_texts(job.tags, job.parameters)),
        parameters_file=None,
        data=_data_in(job.tags),
        in_steps=True,
    )


def find_data(
    data: Sequence[RecordedData],
    given: Sequence[Path],
    catalog: Mapping[str, str],
    root: Path,
) -> dict[str, Path]:
    """Return the file with the recorded content by port, without ports that must be fetched.

    Parameters
    ----------
    given
        Files to try before all others; each must be one that the run has read.
    catalog
        The path that this checkout's catalog reads each port from.

    Raises
    ------
    OperationError
        If a file is missing or has other content, and no data asset is known.
    """
    offered = {content_digest(path): path.resolve() for path in given if _is_there(path)}
    wanted = {item.digest for item in data}
    for digest, path in offered.items():
        if digest not in wanted:
            raise OperationError(
                f"{path} (SHA-256 {digest}) is not among the data of that run:\n{_listed(data)}"
            )
    found: dict[str, Path] = {}
    for item in data:
        places = [root / place for place in (item.path, catalog.get(item.port)) if place]
        there = offered.get(item.digest or "") or _with_content(item, places)
        if there:
            found[item.port] = there
        elif not item.asset and not is_address(item):
            raise OperationError(_missing(item, places))
    return found


def unchecked(data: Sequence[RecordedData], found: Mapping[str, Path]) -> list[str]:
    """Return warnings about data that is read from an address again and may have changed."""
    if not data:
        return ["the data that the run read is not recorded: the commit's catalog names it."]
    return [
        f"{item.port} is read from {item.path} again: whether it is still the same is not checked."
        for item in data
        if item.port not in found and is_address(item) and not item.asset
    ]


def is_address(item: RecordedData) -> bool:
    """Return whether data was read from an address and not from a file."""
    return "://" in (item.path or "")


def _scoring(client: Any, run: Any) -> Any:
    """Find the step that made the scores, in a job or in the job that a step belongs to."""
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
        parameters=_given(job, steps) if in_steps else {},
        parameters_file=PARAMETERS if attempt == 1 else f"attempt_{attempt}/{PARAMETERS}",
        data=_data_in(known),
        in_steps=in_steps,
    )


def _given(job: Mapping[str, str], steps: list[Mapping[str, str]]) -> dict[str, str]:
    """Collect the runtime parameters of a job: each step gets only those that it uses."""
    return _parameters_in([job.get("params", ""), *(s.get("kedro.params", "") for s in steps)])


def _parameters_in(texts: Sequence[str]) -> dict[str, str]:
    """Read parameters in the form of ``--params``; the last text takes precedence."""
    pairs = [pair.partition("=") for text in texts for pair in text.split(",") if pair]
    # as an input of the job, a.b is called a__b
    return {name.replace("__", "."): value for name, _, value in pairs}


def _data_in(known: Mapping[str, str]) -> tuple[RecordedData, ...]:
    """Read the raw data that tags describe."""
    found: dict[str, dict[str, str]] = {}
    for tag, text in known.items():
        kind, _, name = tag.removeprefix("data.").partition(".")
        if not tag.startswith("data.") or kind in _NOT_DATA:
            continue
        facts = found.setdefault(port_of(name) or kind, {})
        if kind == "file":  # data that was read, not only passed on
            facts["digest"] = text
        elif kind == "digest" or _SHA256.fullmatch(text):
            facts.setdefault("digest", text)
        elif _ASSET.fullmatch(text):
            facts["asset"] = text
        else:
            facts.setdefault("path", text)
    return tuple(RecordedData(port, **facts) for port, facts in sorted(found.items()))


def _texts(tags: Mapping[str, str], parameters: Mapping[str, str]) -> list[str]:
    """Return parameters; those actually sent take precedence, as a schedule may change them."""
    return [tags.get("params", ""), *(f"{name}={value}" for name, value in parameters.items())]


def _digest(client: "MLClient", job: "CloudJob", scores: str) -> str:
    """Compute the digest that the tracking hook records for the same file."""
    from kedro_azure_mlops.azure.cloud_job import fetch_output

    with TemporaryDirectory() as folder:
        (made,) = fetch_output(client, job, scores, Path(folder), "compared").iterdir()
        return content_digest(made)


def _is_there(path: Path) -> bool:
    if not path.exists():
        raise OperationError(f"--data names {path}, which does not exist.")
    return True


def _with_content(item: RecordedData, places: Sequence[Path]) -> Path | None:
    for place in places:
        if item.digest and place.exists() and content_digest(place) == item.digest:
            return place.resolve()
    return None


def _missing(item: RecordedData, places: Sequence[Path]) -> str:
    there = dict.fromkeys(str(place) for place in places if place.exists())
    now = f"{' and '.join(there)} has other content now" if there else "it is missing now"
    return f"{_listed([item])}\nand {now}. Name the file of that time: --data PATH"


def _listed(data: Sequence[RecordedData]) -> str:
    return "\n".join(
        f"{item.port} was {item.path or 'a file'} with SHA-256 {item.digest or 'not recorded'}"
        + (f", data asset {item.asset}" if item.asset else "")
        for item in data
    )
