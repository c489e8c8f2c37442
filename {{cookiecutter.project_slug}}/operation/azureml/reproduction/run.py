"""What the tracking server knows about a run: its code, its data, its parameters, its scores."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from {{ cookiecutter.package_name }}.binding import port_of
from {{ cookiecutter.package_name }}.errors import first_line
from {{ cookiecutter.package_name }}.tracking.run import ATTEMPT, PARAMETERS

from operation.errors import OperationError

SCORES = "scores.digest"
_PARENT = "mlflow.parentRunId"
_ASSET = re.compile(r"[\w.-]+:[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_DATA = ("fingerprint", "from_earlier_runs")


@dataclass(frozen=True)
class RecordedData:
    """A raw input of a run: digest of its bytes, where it lay, and its data asset."""

    port: str
    digest: str | None = None
    path: str | None = None
    asset: str | None = None


@dataclass(frozen=True)
class RecordedRun:
    """A run, with what its job and the other steps of that job know about it.

    ``in_steps`` says that other steps of the same job have made what this one began with.
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
    """Read a run; of a job, or another step of it, the step that made the scores.

    Raises
    ------
    OperationError
        If there is no such run, or it stored no scores, or it began with what an earlier run made.
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


def _scoring(client: Any, run: Any) -> Any:
    """Find the step that made the scores, of a job or of the job that a step belongs to."""
    job = run.data.tags.get(_PARENT, run.info.run_id)
    scoring = [step for step in _children(client, run, job) if SCORES in step.data.tags]
    if not scoring:
        raise OperationError(
            f"The run {run.info.run_id} ({run.info.status}) has no {SCORES}, and no step of its "
            "job: it has not finished, or does not score. There is nothing to compare with."
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
        data=data_in(known),
        in_steps=in_steps,
    )


def _given(job: Mapping[str, str], steps: list[Mapping[str, str]]) -> dict[str, str]:
    """Collect the runtime parameters of a job: each step was told only those that matter to it."""
    return parameters_in([job.get("params", ""), *(s.get("kedro.params", "") for s in steps)])


def parameters_in(texts: Sequence[str]) -> dict[str, str]:
    """Read parameters that were written as ``--params`` takes them; the last text counts."""
    pairs = [pair.partition("=") for text in texts for pair in text.split(",") if pair]
    # as an input of the job, a.b is called a__b
    return {name.replace("__", "."): value for name, _, value in pairs}


def data_in(known: Mapping[str, str]) -> tuple[RecordedData, ...]:
    """Read what tags say about raw data."""
    found: dict[str, dict[str, str]] = {}
    for tag, text in known.items():
        kind, _, name = tag.removeprefix("data.").partition(".")
        if not tag.startswith("data.") or kind in _NOT_DATA:
            continue
        facts = found.setdefault(port_of(name) or kind, {})
        if kind == "file":  # what was read, and not only handed over
            facts["digest"] = text
        elif kind == "digest" or _SHA256.fullmatch(text):
            facts.setdefault("digest", text)
        elif _ASSET.fullmatch(text):
            facts["asset"] = text
        else:
            facts.setdefault("path", text)
    return tuple(RecordedData(port, **facts) for port, facts in sorted(found.items()))
