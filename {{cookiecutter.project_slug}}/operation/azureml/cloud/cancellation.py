"""Stop a job that was sent, whoever waits for it."""

from typing import TYPE_CHECKING

from operation.azureml.cloud.job import ENDED
from operation.azureml.utils import azure_errors

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_UNDER_WAY = "CancelRequested"


def cancel(client: "MLClient", name: str) -> str:
    """Ask Azure to cancel a job, and say what became of that.

    A job that has ended stays as it is.

    Raises
    ------
    OperationError
        If there is no such job, or Azure refuses.
    """
    from azure.core.exceptions import HttpResponseError

    status = _status(client, name)
    if status not in {*ENDED, _UNDER_WAY}:
        with azure_errors(f"cancelling the job {name}"):
            try:
                # whether all its machines are given back is nothing to wait for
                client.jobs.begin_cancel(name, polling=False)
            except HttpResponseError:
                status = _status(client, name)
                if status not in ENDED:  # it may have ended in between
                    raise
    if status in ENDED:
        return f"the job {name} has ended already: it is {status}"
    return f"the job {name} is being cancelled"


def _status(client: "MLClient", name: str) -> str:
    with azure_errors(f"looking for the job {name}"):
        status = client.jobs.get(name).status
    return str(getattr(status, "value", status))
