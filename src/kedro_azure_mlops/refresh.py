"""Decide when and on which data a model is retrained: ``update_policy`` of ``mlops.yml``.

The answers of one environment (such as prod) are monitored, and its data trains a model in another
(dev). The data is passed by reference: the parameters that name it are read from the watched
environment and given to the training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

from kedro_azure_mlops.config import config_errors, config_loader, configuration_folder, read_mlops
from kedro_azure_mlops.errors import OperationError

_MISSING = object()


@dataclass(frozen=True)
class UpdatePolicy:
    """The conditions for retraining the model of an environment.

    ``watch`` is the environment whose answers are monitored. ``parameters`` are the parameters that
    the training uses from that environment: dotted names and their values.
    """

    env: str
    when: str
    watch: str
    every: timedelta | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def as_text(self) -> dict[str, str]:
        """Return the parameters as ``submit_job`` and ``kedro run --params`` accept them."""
        return {name: "null" if v is None else str(v) for name, v in self.parameters.items()}


@dataclass(frozen=True)
class Refresh:
    """The decision whether a model is due for retraining, with the reason."""

    is_due: bool
    reason: str


def read_update_policy(env: str, root: Path | None = None) -> UpdatePolicy:
    """Read the update policy of an environment.

    Raises
    ------
    OperationError
        If ``mlops.yml`` cannot be read, or names an environment or a parameter that does not exist.
    """
    root = root or Path.cwd()
    policy = read_mlops(root, env).update_policy
    watch = policy.watch or env
    parameters = _parameters(root, watch) if policy.parameters else {}
    values = {name: _find_parameter(parameters, name, watch) for name in policy.parameters}
    return UpdatePolicy(env, policy.when, watch, _parse_span(policy.every), values)


def decide_refresh(
    policy: UpdatePolicy,
    *,
    drifted: bool,
    quality: bool,
    champion_since: datetime | None,
    now: datetime | None = None,
) -> Refresh:
    """Decide whether to retrain.

    No model learns from bad data: while the quality is in doubt, nothing is trained, regardless of
    drift.

    Parameters
    ----------
    drifted, quality
        The findings of monitoring: the data has changed, or cannot be trusted.
    champion_since
        The start of service of the training environment's champion; None without a champion.
    now
        With a time zone; None: the time of this machine.
    """
    if policy.when == "never":
        return Refresh(False, f"update_policy.when is never: {policy.env} is trained manually")
    if quality:
        return Refresh(False, "the quality of the data is in doubt: fix that first")
    age = (now or datetime.now(UTC)) - champion_since if champion_since else None
    is_young = policy.every is not None and age is not None and age < policy.every
    served = f"the champion of {policy.env} has been in service for {_format_span(age)}"
    if policy.when == "schedule":
        return Refresh(
            not is_young, f"{served}, update_policy.every is {_format_span(policy.every)}"
        )
    if not drifted:
        return Refresh(False, f"nothing has drifted in {policy.watch}")
    if is_young:
        every = _format_span(policy.every)
        return Refresh(False, f"{policy.watch} has drifted, but {served}, less than {every}")
    return Refresh(True, f"{policy.watch} has drifted")


def champion_since(env: str, root: Path | None = None) -> datetime | None:
    """Return the start of service of an environment's champion; None without a champion.

    Raises
    ------
    OperationError
        If the registry cannot be read.
    """
    from kedro_azure_mlops.registry import open_registry
    from kedro_azure_mlops.registry.promotion import changes

    champion = open_registry(env, root or Path.cwd()).champion()
    if champion is None or not (history := changes([champion])):
        return None
    return datetime.fromisoformat(history[-1].time)


def _parameters(root: Path, env: str) -> Mapping[str, Any]:
    folder = configuration_folder(root)
    if not (root / folder / env).is_dir():
        raise OperationError(f"update_policy.watch: there is no environment {env} in {folder}.")
    with config_errors(f"{folder}: the parameters of {env}"):
        return dict(config_loader(root, env)["parameters"])


def _find_parameter(parameters: Mapping[str, Any], name: str, env: str) -> Any:
    value = reduce(
        lambda inner, key: inner.get(key, _MISSING) if isinstance(inner, Mapping) else _MISSING,
        name.split("."),
        parameters,
    )
    if value is _MISSING:
        raise OperationError(
            f"update_policy.parameters names {name}, which is not in parameters.yml of {env}."
        )
    return value


def _parse_span(text: str | None) -> timedelta | None:
    if text is None:
        return None
    import pandas as pd

    return pd.Timedelta(text).to_pytimedelta()


def _format_span(span: timedelta | None) -> str:
    if span is None:
        return "no time yet"
    hours = span / timedelta(hours=1)
    return f"{hours / 24:.3g} days" if hours >= 24 else f"{hours:.3g} hours"
