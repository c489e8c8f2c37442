"""Add a reference profile to a model without one, from the table that its node received."""

import logging
from collections.abc import Mapping
from typing import Any

from kedro_azure_mlops.errors import first_line
from kedro_azure_mlops.monitor.profile import profile_of, reference_profile

logger = logging.getLogger(__name__)


def add_profile(model: Any, inputs: Mapping[str, Any]) -> None:
    """Set a model's attribute ``profile``, unless it has one or no input fits.

    Parameters
    ----------
    inputs
        The inputs of the node that made the model. The first table (DataFrame) with all columns of
        the model's requests counts as its training data.
    """
    import pandas as pd

    if not callable(getattr(model, "predict", None)) or profile_of(model) is not None:
        return
    why = "none of the inputs of its node is a table with the columns of its requests"
    try:
        columns = _columns_of_requests(model)
        for name, table in inputs.items():
            if not isinstance(table, pd.DataFrame) or not columns or {*columns} - {*table.columns}:
                continue
            model.profile = _profile(model, table[columns])
            logger.info("The model's reference profile describes %s", name)
            return
    except Exception as error:  # noqa: BLE001, from a model's own code: it serves without a profile
        why = first_line(error)
    logger.warning("The model has no reference profile and cannot be monitored: %s", why)


def _columns_of_requests(model: Any) -> list[Any]:
    """List the columns of a model's requests; empty if they are not known."""
    schema = getattr(model, "schema", None)
    if schema is not None:
        return [one.name for one in schema.inputs]
    example = getattr(model, "input_example", None)
    names = getattr(example, "columns", getattr(model, "feature_names_in_", None))
    return [] if names is None else list(names)


def _profile(model: Any, rows: Any) -> dict[str, Any]:
    from kedro_azure_mlops.models import inferred_schema
    from kedro_azure_mlops.serve.stored import arrays_of, predict, takes_series

    answer = predict(model, rows, takes_series(model, rows))
    schema = getattr(model, "schema", None) or inferred_schema(rows, answer)
    return reference_profile(rows.assign(**arrays_of(answer, schema.outputs)), schema)
