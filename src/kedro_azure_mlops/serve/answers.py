"""Answers to requests, the same for both servers, which only translate them."""

import logging
import time
import traceback
from collections.abc import Callable

from kedro_azure_mlops.serve import metrics, score
from kedro_azure_mlops.serve.request import BadRequestError

logger = logging.getLogger(__name__)


def answer(method: str, read: Callable[[], bytes]) -> score.Answer:
    """Answer a request to ``/score``; ``read`` gives its body or refuses it."""
    started = time.perf_counter()
    found = _answer(method, read)
    metrics.count(found, time.perf_counter() - started)
    return found


def health() -> score.Answer:
    """Return which model is loaded."""
    model = score.model()
    return score.Answer(200, {"model": {"version": model.version, "digest": model.digest}})


def refuse(field: str, message: str, status: int) -> score.Answer:
    """Answer what cannot be scored."""
    return score.refusal(BadRequestError(field, message, status))


def _answer(method: str, read: Callable[[], bytes]) -> score.Answer:
    if method != "POST":
        return refuse("method", f"{method[:20]} is not known here: POST the rows", 405)
    try:
        return score.run(read())
    except BadRequestError as error:
        return score.refusal(error)
    except Exception as error:  # noqa: BLE001, a server goes on
        # without the error's own words, which may quote what was sent
        where = "".join(traceback.format_tb(error.__traceback__))
        logger.error("A request failed with %s:\n%s", type(error).__name__, where)
        return score.Answer(
            500, {"error": {"field": "server", "message": "failed; its log says where"}}
        )
