"""Answers to requests, shared by both servers, which only convert requests and answers.

Answers are counted, and recorded if ``RECORD_FOLDER`` names a folder (see ``record.py``) or
Azure's data collector collects columns (see ``collector.py``).
"""

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from kedro_azure_mlops.contract import AnswerError
from kedro_azure_mlops.serve import metrics, score
from kedro_azure_mlops.serve.collector import AzureCollector, open_collector
from kedro_azure_mlops.serve.record import Recorder, Settings, identified
from kedro_azure_mlops.serve.request import BadRequestError, Rows

logger = logging.getLogger(__name__)

_recorder: Recorder | AzureCollector | None = None


def begin() -> None:
    """Load the model and, if environment variables enable it, start recording its answers.

    Raises
    ------
    UnusableModelError
        If there is no usable model, or it is not the required one.
    ValueError
        If a variable is invalid, or the folder cannot be written.
    """
    global _recorder  # noqa: PLW0603, a server has one
    score.init()
    end()
    model, settings = score.model(), Settings.from_variables()
    if settings is not None:
        _recorder = Recorder(settings, model.schema, model.digest)
        _recorder.start()
        logger.info("Recording answers in %s", settings.folder)
    else:
        _recorder = open_collector(model.schema, model.digest)
    if _recorder is not None:
        metrics.watch(_recorder)


def end() -> None:
    """Write the answers that are still queued for recording, and stop recording."""
    global _recorder  # noqa: PLW0603
    if _recorder is not None:
        _recorder.close()
        _recorder = None


def answer(method: str, read: Callable[[], bytes], request_id: str | None = None) -> score.Answer:
    """Answer a request to ``/score``; ``read`` returns its body or raises BadRequestError."""
    started = time.perf_counter()
    kept: list[tuple[Rows, Sequence[Sequence[Any]]]] = []
    result = _answer(method, read, None if _recorder is None else lambda *one: kept.append(one))
    seconds = time.perf_counter() - started
    metrics.count(result, seconds)
    if _recorder is not None and kept:
        rows, outputs = kept[0]
        _recorder.put(request_id or identified(None), seconds, rows.columns, outputs)
    return result


def health() -> score.Answer:
    """Return the version and digest of the loaded model."""
    model = score.model()
    return score.Answer(200, {"model": {"version": model.version, "digest": model.digest}})


def refuse(field: str, message: str, status: int) -> score.Answer:
    """Return the answer to a request that cannot be scored."""
    return score.refusal(BadRequestError(field, message, status))


def _answer(method: str, read: Callable[[], bytes], keep: score.Keep | None) -> score.Answer:
    if method != "POST":
        return refuse("method", f"{method[:20]} is not allowed here: POST the rows", 405)
    try:
        return score.run(read(), keep)
    except BadRequestError as error:
        return score.refusal(error)
    except Exception as error:  # noqa: BLE001, a server continues
        # Without the messages of other errors, which may quote the request.
        what = f": {error}" if isinstance(error, AnswerError) else ""
        where = "".join(traceback.format_tb(error.__traceback__))
        logger.error("A request failed with %s%s:\n%s", type(error).__name__, what, where)
        return score.Answer(500, {"error": {"field": "server", "message": "failed: see its log"}})
