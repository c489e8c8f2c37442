"""Create estimators named in parameters, ``sklearn.linear_model.Ridge``, and check them early.

A typed parameter calls ``refuse_unusable`` when it is read, so a run stops before its first node.
"""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.models import refuse_untrusted
from kedro_azure_mlops.serve.stored import TRUSTED_TYPES

_TRIED_ROWS = 64


def new_estimator(name: str, arguments: Mapping[str, Any], seed: int | None = None) -> Any:
    """Return an unfitted estimator.

    Parameters
    ----------
    name
        ``module.Class``.
    arguments
        Arguments of the class; omitted ones keep their defaults. An argument that the class lacks
        is ignored if it is None, so ``null`` removes one intended for another estimator.
    seed
        Becomes ``random_state`` if the class has one and ``arguments`` do not set it.

    Raises
    ------
    ValueError
        If the class cannot be imported or does not accept the arguments.
    """
    kind = _imported(name)

    def has(argument: str) -> bool:  # called only if needed: some classes have no signature
        return argument in inspect.signature(kind).parameters

    try:
        accepted = {key: value for key, value in arguments.items() if value is not None or has(key)}
        if seed is not None and has("random_state"):
            accepted.setdefault("random_state", seed)
        return kind(**accepted)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be created: {error}{_format_arguments(arguments)}"
        ) from error


def fit(estimator: Any, rows: np.ndarray, name: str) -> Any:
    """Fit an estimator on rows without labels, shape ``(n, columns)``, and return it.

    Raises
    ------
    OperationError
        If it cannot be fitted on them; the message begins with ``name``, the parameter.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            return estimator.fit(rows)
    except (ValueError, TypeError) as error:
        raise OperationError(f"{name} cannot be fitted on {len(rows)} rows: {error}") from error


def refuse_unusable(
    name: str,
    arguments: Mapping[str, Any],
    methods: Sequence[str],
    columns: int,
    *,
    trusted: Sequence[str] = (),
) -> None:
    """Refuse an estimator that cannot be fitted without labels, or score, or be stored safely.

    Parameters
    ----------
    methods
        At least one of these is required, ``score_samples`` or ``decision_function``.
    columns
        The number of features of the 64 rows that it is tried on.
    trusted
        Types that may be stored besides ``models.TRUSTED_TYPES``.

    Raises
    ------
    ValueError
        If it is unusable; the message names the estimator and the reason.
    """
    if not callable(getattr(_imported(name), "fit", None)):
        raise ValueError(f"{name} has no fit()")
    estimator = new_estimator(name, arguments)
    if not any(callable(getattr(estimator, method, None)) for method in methods):
        why = f"{_missing_method_reason(estimator, methods[0])}{_format_arguments(arguments)}"
        raise ValueError(f"{name} has no {' or '.join(methods)}: {why}")
    rows = np.random.default_rng(0).normal(size=(_TRIED_ROWS, columns))
    try:
        with warnings.catch_warnings(action="ignore"):
            fitted = estimator.fit(rows)
            next(getattr(fitted, name) for name in methods if hasattr(fitted, name))(rows)
    except Exception as error:  # an estimator may raise anything
        raise ValueError(f"{name} cannot be fitted: {error}") from error
    try:
        refuse_untrusted(fitted, [*TRUSTED_TYPES, *trusted])
    except Exception as error:
        raise ValueError(f"{name} cannot be stored safely: {error}") from error


def _format_arguments(arguments: Mapping[str, Any]) -> str:
    """Return a remark on the arguments: errors of the class do not say where they are set."""
    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "none"
    return f" (arguments: {shown}; arguments.NAME=VALUE sets one, arguments.NAME=null removes one)"


def _imported(name: str) -> Any:
    module, _, kind = name.rpartition(".")
    try:
        return getattr(import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name} cannot be imported, write it as module.Class: {error}") from error


def _missing_method_reason(estimator: Any, method: str) -> str:
    """Return the estimator's own error, such as a missing argument."""
    try:
        return f"{getattr(estimator, method)!r} is not a method"
    except AttributeError as error:
        return str(error.__cause__ or error)
