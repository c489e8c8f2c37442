"""Kedro's hooks: tracking, bindings of a job's ports, and the ranks of distributed steps.

Kedro loads this module in every project where the plugin is installed, so it imports nothing heavy.
A project that has neither ``mlops.yml`` nor ``azureml.yml``, run without ``BIND__`` variables, pays
a look at the names of its configuration files and nothing else.
"""

import logging
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

if TYPE_CHECKING:
    from kedro_azure_mlops.config import Mlops
    from kedro_azure_mlops.hooks.tracking import MlflowTracking

BINDING = "BIND__"  # begins the names of the variables that move catalog entries


class PluginHooks:
    """One object for all of the plugin's hooks; each session of Kedro starts it afresh."""

    def __init__(self) -> None:
        self.configuration: Mlops | None = None
        self._tracking: MlflowTracking | None = None
        self._may_be_distributed = False
        ours = logging.getLogger("kedro_azure_mlops")
        if ours.level == logging.NOTSET:  # Kedro shows INFO of itself and of the project alone
            ours.setLevel(logging.INFO)

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Move bound catalog entries and check ``mlops.yml`` before anything runs."""
        self.configuration = self._tracking = None
        is_bound = any(name.startswith(BINDING) for name in os.environ)
        source = context.config_loader.conf_source
        self._may_be_distributed = is_bound or has_configuration(source, "azureml")
        if is_bound:
            from kedro_azure_mlops.hooks.binding import bind_context

            bind_context(context)
        if has_configuration(source, "mlops"):
            from kedro_azure_mlops.config import mlops_of_context
            from kedro_azure_mlops.hooks.tracking import MlflowTracking
            from kedro_azure_mlops.safety import protect_logs, protect_output

            protect_output()
            protect_logs()
            self._may_be_distributed = True
            self.configuration = mlops_of_context(context)
            self._tracking = MlflowTracking(context, self.configuration)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Open a run; let only the first process of a distributed step write."""
        if self._tracking is not None:
            self._tracking.begin(run_params, pipeline, catalog)
        if self._may_be_distributed:
            from kedro_azure_mlops.hooks.ranks import store_nothing_unless_first

            store_nothing_unless_first(pipeline, catalog)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Remember the champion that the run compares with."""
        if self._tracking is not None:
            self._tracking.loaded(dataset_name, data)

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Add to the gate's decision which model it is about."""
        if self._tracking is not None:
            self._tracking.before_saved(dataset_name, data)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Remember that the model of this run is stored."""
        if self._tracking is not None:
            self._tracking.saved(dataset_name)

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Send what the run has stored, register its model and let the gate move the champion."""
        if self._tracking is not None:
            self._tracking.finish(pipeline, catalog)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Mark the run as failed."""
        if self._tracking is not None:
            self._tracking.fail()


def has_configuration(source: str | Path, name: str) -> bool:
    """Return whether a configuration folder or archive has a file such as ``base/mlops.yml``."""
    place = Path(str(source))
    if not place.is_file():  # `kedro package` makes an archive of it
        return any(place.glob(f"*/{name}*.y*ml"))
    import tarfile

    with tarfile.open(place) as archive:
        return any(PurePath(one).match(f"*/{name}*.y*ml") for one in archive.getnames())


hooks = PluginHooks()


def last_configuration() -> "Mlops | None":
    """Return the ``mlops.yml`` of the last session of this process; None without one."""
    return hooks.configuration
