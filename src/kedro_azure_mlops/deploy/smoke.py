"""The smoke test: a deployment must return the answer that its model recorded at training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kedro_azure_mlops.contract import Column, Contract, UnusableModelError, read_contract
from kedro_azure_mlops.deploy.endpoint import OnlineEndpoint, Reply
from kedro_azure_mlops.errors import OperationError, RefusedError

_MAX_SHOWN = 300


@dataclass(frozen=True)
class Expected:
    """A request to a deployment, and the answer that its model recorded."""

    digest: str
    contract: Contract

    @cached_property
    def body(self) -> bytes:
        """The body of a request: the model's own example."""
        return json.dumps({"data": self.contract.example}).encode()

    @cached_property
    def malformed_body(self) -> bytes:
        """The body of a request that every server must reject: objects instead of values."""
        row: dict[str, Any] = {column.name: {} for column in self.contract.schema.inputs}
        return json.dumps({"data": [row]}).encode()

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The expected rows: the echoed columns, then those of the model."""
        echo = self.contract.schema.echo
        return [
            {name: request[name] for name in echo} | answer
            for request, answer in zip(self.contract.example, self.contract.answer, strict=True)
        ]


def expected_of(folder: Path, digest: str) -> Expected:
    """Return the expected answer of a deployment of a model folder.

    Raises
    ------
    OperationError
        If the folder holds no model with a recorded answer.
    """
    try:
        return Expected(digest, read_contract(folder))
    except UnusableModelError as error:
        raise OperationError(f"The model cannot be deployed: {error}") from error


def smoke(endpoint: OnlineEndpoint, expected: Expected, deployment: str) -> None:
    """Send the model's example and a malformed request to a deployment, regardless of its traffic.

    Raises
    ------
    RefusedError
        If it answers the example with another status, model, rows, columns or values than were
        recorded, or does not reject the malformed request.
    OperationError
        If the endpoint cannot be reached.
    """
    good = _require_ok(endpoint, expected.body, deployment)
    _compare(deployment, good.body, expected)
    bad = endpoint.score(expected.malformed_body, deployment)
    if not 400 <= bad.status < 500:
        raise RefusedError(
            f"{deployment} returns {bad.status} for a malformed request, instead of rejecting it: "
            f"{_short(bad)}"
        )


def refuse_no_answer(endpoint: OnlineEndpoint, body: bytes) -> None:
    """Send a request as callers do, so that traffic decides which deployment answers.

    Raises
    ------
    RefusedError
        If the answer has a status other than 200.
    OperationError
        If the endpoint cannot be reached.
    """
    _require_ok(endpoint, body, None)


def rows_of_answer(who: str, body: Any) -> list[Mapping[str, Any]]:
    """Return the rows of an answer.

    Raises
    ------
    RefusedError
        If the answer has no rows.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise RefusedError(f"{who} does not return a list of rows: {json.dumps(data)[:_MAX_SHOWN]}")
    return data


def is_close(one: Any, other: Any, column: Column, tolerance: float) -> bool:
    """Return whether two values of an output are equal up to rounding.

    Parameters
    ----------
    other
        The expected value.
    tolerance
        The largest difference of numbers, relative to an expected value above 1.
    """
    if _is_number(one) and _is_number(other):
        rounding = 0.0 if column.decimals is None else 2 * 10.0**-column.decimals
        return bool(abs(one - other) <= max(rounding, tolerance * max(1.0, abs(other))))
    return type(one) is type(other) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_ok(endpoint: OnlineEndpoint, body: bytes, deployment: str | None) -> Reply:
    reply = endpoint.score(body, deployment)
    if reply.status != 200:
        who = deployment or reply.deployment or endpoint.name
        raise RefusedError(f"{who} returns {reply.status} for a valid request: {_short(reply)}")
    return reply


def _compare(who: str, body: Any, expected: Expected) -> None:
    model = body.get("model") if isinstance(body, dict) else None
    digest = model.get("digest") if isinstance(model, dict) else "unknown"
    if digest != expected.digest:
        raise RefusedError(f"{who} answers with the model {digest}, not {expected.digest}")
    rows = rows_of_answer(who, body)
    if len(rows) != len(expected.rows):
        raise RefusedError(f"{who} returns {len(rows)} rows instead of {len(expected.rows)}")
    schema = expected.contract.schema
    columns = [*map(schema.input, schema.echo), *schema.outputs]
    for number, (found, wanted) in enumerate(zip(rows, expected.rows, strict=True)):
        for column in columns:
            name, value = column.name, wanted[column.name]
            if name not in found:
                raise RefusedError(f"{who} returns data[{number}] without the column {name}")
            if not is_close(found[name], value, column, expected.contract.tolerance):
                raise RefusedError(
                    f"{who} returns data[{number}].{name} {found[name]}, but training recorded "
                    f"{value}"
                )


def _short(reply: Reply) -> str:
    text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
    return text[:_MAX_SHOWN]
