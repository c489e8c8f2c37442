"""Send columns to Azure ML's data collector, which stores them in the workspace.

The collector is a process that runs next to the server of an online deployment. It reads whole
bodies itself; columns reach it through the bounded queue of ``azureml-ai-monitoring``, if that
package is installed. ``deploy online`` selects the data, see ``deploy.artifact.collections_of``.
"""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kedro_azure_mlops.contract import Schema
from kedro_azure_mlops.serve.record import Settings, is_sampled
from kedro_azure_mlops.serve.score import values_writer

logger = logging.getLogger(__name__)

INPUTS, OUTPUTS = "model_inputs", "model_outputs"
CONFIG = "AZUREML_MDC_CONFIG_PATH"  # set by Azure: the file that names the collections
_SECONDS_BETWEEN_LOGS = 60.0


class AzureCollector:
    """Passes answered requests to Azure's data collector; its failures are only logged.

    ``recorded`` and ``dropped`` count rows.

    Parameters
    ----------
    share
        Fraction of requests to collect; they are chosen by their ids, so they are complete.
    leave_out
        Columns that are never passed on.

    Raises
    ------
    ValueError
        If the model lacks such a column.
    """

    def __init__(
        self, schema: Schema, digest: str, share: float = 1.0, leave_out: Sequence[str] = ()
    ) -> None:
        known = [one.name for one in (*schema.inputs, *schema.outputs)]
        if unknown := sorted(set(leave_out) - set(known)):
            raise ValueError(
                f"leave_out names {', '.join(unknown)}, which is not a column of the model: it has "
                f"{', '.join(known)}"
            )
        from azureml.ai.monitoring import Collector
        from azureml.ai.monitoring.context import BasicCorrelationContext

        self.recorded = self.dropped = 0
        self._context, self._share = BasicCorrelationContext, share
        kept = [one for one in schema.inputs if one.name not in leave_out]
        # Times as text: the unit of numbers depends on the version of pandas.
        self._inputs = {
            one.name: values_writer(one) if one.type == "datetime" else _unchanged for one in kept
        }
        names = [(n, one.name) for n, one in enumerate(schema.outputs)]
        self._outputs = [(number, name) for number, name in names if name not in leave_out]
        self._digest, self._logged = digest, -_SECONDS_BETWEEN_LOGS
        self._thread_state = threading.local()  # the package calls back in the collecting thread
        self._input_collector = Collector(name=INPUTS, on_error=self._fail)
        self._output_collector = Collector(name=OUTPUTS, on_error=self._fail)

    def put(
        self,
        request_id: str,
        seconds: float,
        columns: Mapping[str, np.ndarray],
        outputs: Sequence[Sequence[Any]],
    ) -> None:
        """Pass on an answered request; parameters as for ``Recorder.put``."""
        if self._share < 1 and not is_sampled(request_id, self._share):
            return
        rows = len(next(iter(columns.values())))
        self._thread_state.failed = False
        try:
            self._collect(request_id, seconds, columns, outputs, rows)
        except Exception as error:  # noqa: BLE001, a server continues
            self._fail(error)
        if self._thread_state.failed:
            self.dropped += rows
        else:
            self.recorded += rows

    def close(self, seconds: float | None = None) -> None:
        """Do nothing: a thread of the package sends its queue while the process is alive."""

    def _collect(
        self,
        request_id: str,
        seconds: float,
        columns: Mapping[str, np.ndarray],
        outputs: Sequence[Sequence[Any]],
        rows: int,
    ) -> None:
        import pandas as pd

        context = self._context(id=request_id)
        answer_columns: dict[str, list[Any]] = {"model_digest": [self._digest] * rows}
        if not math.isnan(seconds):
            answer_columns["latency_ms"] = [1e3 * seconds] * rows
        inputs = pd.DataFrame(
            {name: convert(columns[name]) for name, convert in self._inputs.items()}
        )
        answers = pd.DataFrame(
            answer_columns | {name: outputs[place] for place, name in self._outputs}
        )
        self._input_collector.collect(inputs, context)
        self._output_collector.collect(answers, context)

    def _fail(self, error: Exception) -> None:
        self._thread_state.failed = True
        if time.monotonic() - self._logged >= _SECONDS_BETWEEN_LOGS:
            self._logged = time.monotonic()
            logger.error("Azure cannot collect the answers, so they are dropped: %s", error)


def _unchanged(values: np.ndarray) -> np.ndarray:
    return values


def open_collector(schema: Schema, digest: str) -> AzureCollector | None:
    """Return the collector of columns; None if Azure collects none.

    ``RECORD_SHARE`` and ``RECORD_LEAVE_OUT`` have the same meaning as for a ``Recorder``.

    Raises
    ------
    ValueError
        If a variable is invalid, or Azure's file that names the collections cannot be read.
    """
    path = os.environ.get(CONFIG)
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123, as Azure's package does
            names = {name.lower() for name in json.load(file).get("collections") or {}}
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{CONFIG} names {path}, which cannot be read: {error}") from error
    if not names & {INPUTS, OUTPUTS}:
        return None
    settings = Settings.from_variables(os.environ | {"RECORD_FOLDER": "-"})
    assert settings is not None  # noqa: S101, a folder is named
    return AzureCollector(schema, digest, settings.share, settings.leave_out)
