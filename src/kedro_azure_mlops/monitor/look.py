"""Compare the current requests and answers of the model in service with its profile."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.azure.collected import collect_answers
from kedro_azure_mlops.ci import report_outputs
from kedro_azure_mlops.config import Mlops, bootstrap, read_mlops
from kedro_azure_mlops.contract import (
    Schema,
    Scorer,
    UnusableModelError,
    load_proven_scorer,
    read_contract,
)
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.explain import EXPLANATION, explain_rows, reason_not_explained
from kedro_azure_mlops.monitor.comparison import Comparison, Finding, compare_rows
from kedro_azure_mlops.monitor.findings import of_no_rows
from kedro_azure_mlops.monitor.labels import load_metrics, measure, missed_levels, slices_of
from kedro_azure_mlops.monitor.profile import Profile, read_profile
from kedro_azure_mlops.monitor.result import MonitorReport, in_words, score_of
from kedro_azure_mlops.monitor.rows import (
    SERVED_AT,
    ProjectData,
    Rows,
    newest_part,
    recorded_rows,
    scored_rows,
    unreadable_as_error,
)
from kedro_azure_mlops.registry import champion, refuse_no_model
from kedro_azure_mlops.serve.batches import readable_columns
from kedro_azure_mlops.serve.code import trusted_types
from kedro_azure_mlops.serve.model import fetch_model
from kedro_azure_mlops.storage import shown

_WINDOWS = 14  # compared by default: enough to show when a change began
_EXAMPLES = 20  # flagged rows in the report
_SAME = 1e-4  # largest difference between a recomputed and a recorded score
_NOT_EXPLAINED = "not explained: part of its history is missing"


def monitor_model(
    env: str,
    *,
    since: str | None = None,
    inputs: Sequence[Path | str] = (),
    model: Path | str | None = None,
    labels: Path | str | None = None,
    root: Path | None = None,
    now: pd.Timestamp | None = None,
) -> MonitorReport:
    """Compare the current requests and answers of a model with the profile in its folder.

    Parameters
    ----------
    env
        The environment: its champion, its data, its ``monitoring`` in ``mlops.yml``.
    since
        How far back to look, such as ``24h`` or ``7D``. The newest window of the profile is judged;
        earlier windows show when a change began. None: ``monitoring.since``, else 14 windows.
    inputs
        Files (CSV or Parquet) instead of the recorded answers or ``monitoring.data``. Rows
        without answers are scored by the model.
    model
        A model folder instead of the champion.
    labels
        A file of labels instead of ``monitoring.labels``.
    root
        The project; None: the current folder.
    now
        The time of the check, in UTC; None: the current time.

    Raises
    ------
    OperationError
        If nothing can be judged: there is no champion or no profile, files cannot be read or have
        the wrong columns, or ``since`` is shorter than a window. The message names the remedy.
    """
    root = (root or Path.cwd()).resolve()
    config = read_mlops(root, env)
    bootstrap(root)
    at = now or pd.Timestamp.now("UTC").tz_localize(None)
    with TemporaryDirectory(prefix="monitor-") as work:
        model_folder = Path(model) if model else None
        served = fetch_model(env, model_folder, root, Path(work) / "model")
        schema, profile = read_contract(served.folder).schema, read_profile(served.folder)
        span = _span(since or config.monitoring.since, profile)

        @cache
        def scorer() -> Scorer:
            trusted = trusted_types(root, env, config)
            try:
                return load_proven_scorer(served.folder, config.scorer, served.digest, trusted)[0]
            except UnusableModelError as error:
                raise OperationError(f"{served.label} cannot answer: {error}") from error

        data = ProjectData(root, env)
        if inputs or not _are_recorded(config, root):
            tables = _load_tables(config, data, [Path(one) for one in inputs])
            found = scored_rows(tables, schema, scorer, span, at)
        else:
            folder, collected = root / config.recording.folder, list[str]()
            if config.monitoring.source == "collected":
                back = span + pd.Timedelta(days=schema.history.days if schema.history else 0)
                folder = collect_answers(
                    env, schema, since=at - back, root=root, say=collected.append
                )
            found = recorded_rows(folder, schema, span, served.digest, at)
            found.notes.extend(collected)
        if since and found.order is None:
            raise OperationError(
                f"Nothing was judged: --since {since} needs times, and the model's schema has none."
            )
        judged = newest_part(found.table, found.order, span, found.now)
        rows = found.table[judged].reset_index(drop=True)
        comparison = _compare(rows, profile, schema, found, at, span)
        flagged = _examples(found, judged, schema, profile.window, scorer)
    if found.order is not None:  # rows in the future have a finding, but would distort the plots
        rows = rows[~(rows[found.order] > comparison.end)]
    notes, slices = found.notes, slices_of(rows, schema)
    metrics: dict[str, float] = {}
    missed: list[Finding] = []
    label_table = _load_labels(config, data, labels)
    if label_table is not None and len(rows):
        function = load_metrics(config.monitoring.metrics)
        metrics, table, about = measure(function, rows, label_table, schema)
        slices, notes = slices.join(table), notes + about
        missed = missed_levels(config.gate.rules, metrics, table, comparison.start)
    return MonitorReport(
        env=env,
        model=config.model_name,
        version=served.version,
        digest=served.digest,
        at=at,
        source=found.source,
        comparison=comparison,
        metrics=metrics,
        slices=slices,
        missed=missed,
        flagged=flagged,
        rows=rows.drop(columns=found.absent),
        order=found.order,
        notes=[*notes, *comparison.notes],
        profile=profile,
        schema=schema,
        config=config,
        root=root,
    )


def nothing_to_monitor(
    env: str, *, root: Path | None = None, say: Callable[[str], None] = print
) -> bool:
    """Return whether an environment has no champion yet, and report that to a CI run.

    The outputs are those of ``MonitorReport.announce``: all of them are false.

    Raises
    ------
    OperationError
        As for ``champion``; also if ``mlops.yml`` names no model, so there never is a champion.
    """
    if champion(env, root=root) is not None:
        return False
    refuse_no_model(env, root)
    say(f"{env} has no champion yet, so there is nothing to monitor")
    report_outputs(drifted=False, quality=False, retrain=False)
    return True


def _span(since: str | None, profile: Profile) -> pd.Timedelta:
    if since is None:
        return _WINDOWS * profile.window
    try:
        span = pd.Timedelta(since)
    except ValueError as error:
        message = f"--since {since} is not a time span such as 24h or 7D."
        raise OperationError(message) from error
    if pd.isna(span) or span < profile.window:
        raise OperationError(
            f"Nothing was judged: --since {since} is shorter than the windows that the model's "
            f"profile compares, {in_words(profile.window)}. Give at least that, or omit --since."
        )
    return span


def _are_recorded(config: Mlops, root: Path) -> bool:
    """Return whether to judge the recorded answers, see ``Monitoring.source``."""
    monitoring, recording = config.monitoring, config.recording
    if monitoring.source:
        return monitoring.source != "data"
    return recording.enabled or (root / recording.folder).is_dir()


def _load_tables(
    config: Mlops, data: ProjectData, inputs: Sequence[Path]
) -> Iterator[tuple[str, Any]]:
    """Yield the files, or the catalog entry, with their names."""
    entry = config.monitoring.data
    if inputs:
        batch = config.deployment.batch
        for file in inputs:
            yield shown(str(file)), data.load_file(file, (batch.input if batch else None, entry))
    elif entry:
        yield entry, data.load(entry, "monitoring.data")
    else:
        raise OperationError(
            "There is nothing to judge. Record the answers (recording.enabled: true in mlops.yml), "
            "set monitoring.data to a catalog entry, or give a file: --input FILE."
        )


def _compare(
    rows: pd.DataFrame,
    profile: Profile,
    schema: Schema,
    found: Rows,
    at: pd.Timestamp,
    span: pd.Timedelta,
) -> Comparison:
    if len(rows):
        timed = rows.set_index(SERVED_AT, drop=False) if found.order == SERVED_AT else rows
        compared = compare_rows(timed, profile, schema, now=found.now, flagged=schema.flag)
        return _without_columns(compared, found.absent) if found.absent else compared
    end = found.now or at
    words = f"no traffic: no row in the last {in_words(span)} ({found.source})"
    return of_no_rows(words, end - span)


def _without_columns(compared: Comparison, absent: list[str]) -> Comparison:
    """Drop the checks of columns that are deliberately not recorded, and so not missing."""
    windows = compared.windows[~compared.windows["column"].isin(absent)]
    findings = [one for one in compared.findings if one.column not in absent]
    return replace(compared, findings=findings, windows=windows)


def _examples(
    found: Rows,
    judged: np.ndarray,
    schema: Schema,
    window: pd.Timedelta,
    scorer: Callable[[], Scorer],
) -> pd.DataFrame:
    """Select flagged rows, the worst of each series and window first, and explain them."""
    table = found.table
    if schema.flag is None or schema.flag not in table.columns:
        return pd.DataFrame()
    flagged = table[judged & (table[schema.flag] == 1).to_numpy()]
    score = score_of(schema)
    if score:
        flagged = flagged.sort_values(score, ascending=False, kind="stable")
    by = schema.history.by if schema.history else None
    groups = [flagged[by]] if by else []
    if found.order and len(flagged) > _EXAMPLES:  # one row per event
        flagged = flagged.groupby([*groups, flagged[found.order].dt.floor(window)]).head(1)
    if by:  # the worst of each series, then the second worst
        flagged = flagged.loc[flagged.groupby(by).cumcount().sort_values(kind="stable").index]
    flagged = flagged.head(_EXAMPLES)
    if flagged.empty:
        return flagged
    if why := reason_not_explained(scorer()):
        found.notes.append(f"Flagged rows are not explained: {why}.")
        return flagged
    return flagged.assign(**{EXPLANATION: _explained(table, flagged, schema, scorer())})


def _explained(
    table: pd.DataFrame, flagged: pd.DataFrame, schema: Schema, scorer: Scorer
) -> list[str]:
    """Explain rows from their history, unless the recomputed score differs from the recorded."""
    by = schema.history.by if schema.history else None
    before = table[table[by].isin(flagged[by])] if by else table
    before = before[readable_columns(before, schema.inputs)[1]]
    positions = before.index.get_indexer(flagged.index)
    known = positions[positions >= 0]
    columns, _ = readable_columns(before, schema.inputs)
    found = iter(explain_rows(scorer, columns, known) or [])
    score, words = score_of(schema), []
    for position, (_, row) in zip(positions, flagged.iterrows(), strict=True):
        one = next(found, None) if position >= 0 else None
        if one is None or (
            one.score is not None and score and not np.isclose(one.score, row[score], atol=_SAME)
        ):
            words.append(_NOT_EXPLAINED)
        else:
            words.append(one.words)
    return words


def _load_labels(config: Mlops, data: ProjectData, file: Path | str | None) -> pd.DataFrame | None:
    """Return the table of labels; None if none is configured."""
    entry = config.monitoring.labels
    if file is not None:
        found = data.load_file(Path(file), (entry,))
    elif entry is not None:
        found = data.load(entry, "monitoring.labels")
    else:
        return None
    if isinstance(found, Iterator):
        with unreadable_as_error(str(file or entry)):
            found = pd.concat([pd.DataFrame(), *found])
    if not isinstance(found, pd.DataFrame):
        raise OperationError(f"{file or entry} is a {type(found).__name__}, not a label table.")
    return found
