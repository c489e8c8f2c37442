"""The result of monitoring a model, and its storage in files and MLflow."""

import json
import logging
import re
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from kedro_azure_mlops.ci import annotate, report_outputs, without_ci_commands
from kedro_azure_mlops.config import Mlops
from kedro_azure_mlops.contract import Schema
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.faults import fault_in_words, faults
from kedro_azure_mlops.hooks.run import open_run
from kedro_azure_mlops.hooks.server import choose_server, lost_after_ci, server_of
from kedro_azure_mlops.monitor.findings import Comparison, Finding, badness
from kedro_azure_mlops.monitor.profile import Profile
from kedro_azure_mlops.storage import shown
from kedro_azure_mlops.writing import naming_a_full_disk, new_beside

logger = logging.getLogger(__name__)

REPORT, VALUES, TEXTFILE = "report.html", "report.json", "monitor.prom"
_BUILD = Path("build/monitor")
_MOST_METRICS = 500  # per run; MLflow accepts a thousand per request
_LONGEST_TAG = 4_000  # characters
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")  # names may contain any character
_DAY, _HOUR, _MINUTE = pd.Timedelta("1D"), pd.Timedelta("1h"), pd.Timedelta("1min")


@dataclass(frozen=True)
class MonitorReport:
    """The result of monitoring a model in service.

    Parameters
    ----------
    env, model, version, digest
        The environment, and the name, version and digest of the model whose profile was used.
    at
        The time of the check, in UTC.
    source
        Description of the judged data.
    comparison
        The comparison of the rows with the profile; see ``Comparison``.
    metrics
        The metrics of the project's function, by name; empty without labels.
    slices
        One row per series: ``rows``, ``flagged`` (share) and one column per metric.
    missed
        One finding for each metric that misses a level of the gate, per series or overall.
    flagged
        Examples of flagged rows with the column ``explanation``, the worst of each series first.
    rows, order
        All judged rows, sorted by time, and the column of times, if there is one.
    notes
        Sentences about what was left out, and why.
    """

    env: str
    model: str
    version: str
    digest: str
    at: pd.Timestamp
    source: str
    comparison: Comparison
    metrics: dict[str, float]
    slices: pd.DataFrame
    missed: list[Finding]
    flagged: pd.DataFrame
    rows: pd.DataFrame
    order: str | None
    notes: list[str]
    profile: Profile
    schema: Schema
    config: Mlops = field(repr=False)
    root: Path = field(repr=False)

    @property
    def version_in_words(self) -> str:
        """The model's version and digest; a model folder has only a digest."""
        short = self.digest[:12]
        return f"digest {short}" if self.version == short else f"version {self.version} ({short})"

    @property
    def findings(self) -> list[Finding]:
        """All alarms, worst first."""
        return sorted([*self.comparison.findings, *self.missed], key=_severity, reverse=True)

    @property
    def reasons(self) -> list[str]:
        """One line per alarm, worst first; empty if there are none."""
        return [_CONTROLS.sub(" ", one.words).strip() for one in self.findings]

    @property
    def alarm(self) -> bool:
        """Return whether there is an alarm."""
        return bool(self.findings)

    @property
    def drifted(self) -> bool:
        """Return whether the world has changed, or the model misses a level of the gate."""
        return self.comparison.drifted or bool(self.missed)

    @property
    def quality(self) -> bool:
        """Return whether the data is wrong, so that a model must not learn from it."""
        return self.comparison.quality

    @property
    def retrain(self) -> bool:
        """Return whether training on the newest data would help."""
        return self.drifted and not self.quality

    @property
    def newest_checks(self) -> list[dict[str, Any]]:
        """The rows of ``comparison.windows`` for the newest window.

        Alarms come first, then the checks nearest to their limits.
        """
        windows = self.comparison.windows
        if windows.empty:
            return []
        last = windows[windows["end"] == windows["end"].max()]
        share = (last["value"].abs() / last["limit"].where(last["limit"] > 0)).fillna(0.0)
        order = pd.DataFrame({"alarm": last["alarm"].astype(bool), "share": share})
        order = order.sort_values(["alarm", "share"], ascending=False, kind="stable")
        return last.loc[order.index].to_dict("records")  # type: ignore[return-value]

    def write(self, folder: Path | None = None) -> Path:
        """Write ``report.html``, ``report.json`` and ``monitor.prom``; return the first one's path.

        They are written to the given folder, or to ``build/monitor/ENV``, the output ``report`` of
        a CI run. Each is replaced atomically, so that a node exporter never reads an incomplete
        file.
        """
        from kedro_azure_mlops.monitor.exports import json_report, textfile
        from kedro_azure_mlops.monitor.report import html_report

        own = _BUILD / self.env
        is_own, folder = folder is None, folder or self.root / own
        texts = {
            REPORT: html_report(self),
            VALUES: json.dumps(json_report(self), indent=1, allow_nan=False) + "\n",
            TEXTFILE: textfile(self),
        }
        with naming_a_full_disk(folder, what="the report"):
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                new = new_beside(folder / name)
                try:
                    new.write_text(text, encoding="utf-8", newline="\n")
                    new.replace(folder / name)
                finally:
                    new.unlink(missing_ok=True)
        if is_own:
            report_outputs(report=own.as_posix())
        return Path(shown(str(folder / REPORT)))

    def summary(self) -> str:
        """Return the newest checks as a table of at most 80 columns, and the reasons."""
        from kedro_azure_mlops.monitor.exports import table

        return without_ci_commands("\n".join(table(self)))

    def announce(self) -> None:
        """Report the outcome to a CI run: an annotation per reason and three outputs.

        The outputs are ``drifted``, ``quality`` and ``retrain``. Outside CI, nothing is reported.
        """
        annotate([f"{self.env}: {reason}" for reason in self.reasons])
        report_outputs(drifted=self.drifted, quality=self.quality, retrain=self.retrain)

    def record(self) -> None:
        """Record the result as an MLflow run in the environment's monitoring experiment.

        In CI nothing is recorded in a database of the checkout, as it is lost after the run.

        Raises
        ------
        OperationError
            If the server fails, unless ``tracking.when_unreachable`` is ``warn``.
        """
        tracking = self.config.tracking
        if not tracking.enabled:
            return
        if lost := lost_after_ci(server_of(tracking.uri, self.root), self.env, self.root):
            logger.warning(
                "Not recorded in MLflow: %s would be lost after the CI run. "
                "Set MLFLOW_TRACKING_URI, or tracking.uri in mlops.yml of %s.",
                *(lost.name, self.env),
            )
            return
        import mlflow

        try:
            choose_server(self.config, self.root)
            self._fill_run()
        except faults() as error:
            message = (
                f"{fault_in_words(error, mlflow.get_tracking_uri())}\n"
                "The check itself is complete, but MLflow has no record of it."
            )
            if tracking.when_unreachable == "error":
                advice = (
                    "To check without MLflow, set tracking.when_unreachable: warn in mlops.yml."
                )
                raise OperationError(f"{message} {advice}") from error
            logger.warning(message)

    def _fill_run(self) -> None:
        folder = self.config.tracking.experiment_folder
        run = open_run(history_of(self.config, self.env), f"monitor {self.env}", folder)
        status = "FAILED"
        try:
            run.set_tags(
                {
                    "monitor.env": self.env,
                    "monitor.model": f"{self.model} {self.version}",
                    "monitor.digest": self.digest,
                    "monitor.source": self.source,
                    "monitor.alarm": str(self.alarm).lower(),
                    "monitor.retrain": str(self.retrain).lower(),
                    "monitor.reasons": "\n".join(self.reasons)[:_LONGEST_TAG],
                }
            )
            run.log_metrics(self._numbers())
            with TemporaryDirectory(prefix="monitor-") as work:
                self.write(Path(work))
                for name in (REPORT, VALUES):
                    run.log_file(str(Path(work) / name))
            status = "FINISHED"
        finally:
            run.end(status)

    def _numbers(self) -> dict[str, float]:
        """Return the numbers as metrics, with names that MLflow allows."""
        kinds = [one.kind for one in self.findings]
        found = {f"alarms.{kind}": float(kinds.count(kind)) for kind in ("drift", "quality")}
        found |= {"alarms": float(len(kinds)), "rows": float(self.comparison.rows)}
        found |= self.metrics
        for key, row in self.slices.to_dict("index").items():
            found |= {f"{key}/{name}": float(value) for name, value in row.items()}
        for one in self.newest_checks:
            names = [one["key"], one["column"], one["check"]]
            found["/".join(str(name) for name in names if not pd.isna(name))] = float(one["value"])
        numbers = {re.sub(r"[^\w\-. /]", "_", k): v for k, v in found.items() if isfinite(v)}
        return dict(list(numbers.items())[:_MOST_METRICS])


def history_of(config: Mlops, env: str) -> str:
    """Return the name of the experiment with all monitoring runs of an environment."""
    experiment = config.experiment
    return (
        f"{experiment}-monitor" if experiment.endswith(f"-{env}") else f"{experiment}-monitor-{env}"
    )


def in_words(span: pd.Timedelta) -> str:
    """Format a time span: ``24 h``, ``30 min``, ``7 days``."""
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if span >= (2 if unit == _DAY else 1) * unit and span % unit == pd.Timedelta(0):
            return f"{span // unit} {name}"
    return f"{span.total_seconds():g} s"


def score_of(schema: Schema) -> str | None:
    """Return the name of the first numeric output; larger scores are more unusual."""
    return next((one.name for one in schema.outputs if one.type == "double"), None)


def _severity(finding: Finding) -> float:
    """Return the ratio by which a finding misses its limit, a maximum or a minimum."""
    return max(-badness(finding), finding.limit / max(finding.value, 1e-9))
