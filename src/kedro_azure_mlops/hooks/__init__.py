"""Kedro's hooks: tracking, bindings of a job's ports, and the ranks of distributed steps.

Kedro loads this module in every project where the plugin is installed, so it imports nothing heavy.
For a project with neither ``mlops.yml`` nor ``azureml.yml``, run without ``BIND__`` variables, it
lists the names of the configuration files and does nothing else.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from click import ClickException
from kedro.framework.hooks import hook_impl

from kedro_azure_mlops.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from kedro_azure_mlops.config import Mlops
    from kedro_azure_mlops.hooks.tracking import MlflowTracking
    from kedro_azure_mlops.hooks.work import Work

BINDING = "BIND__"  # prefix of the variables that move catalog entries


class PluginHooks:
    """All hooks of the plugin; each Kedro session resets their state."""

    def __init__(self) -> None:
        self.configuration: Mlops | None = None
        self.waits: bool | None = None  # whether to wait for other runs; None: the default
        self.before_first_node: Callable[[], None] | None = None
        self._tracking: MlflowTracking | None = None
        self._work: Work | None = None
        self._may_be_distributed = False
        ours = logging.getLogger("kedro_azure_mlops")
        if ours.level == logging.NOTSET:  # Kedro shows INFO only for itself and the project
            ours.setLevel(logging.INFO)

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Check parameters and ``mlops.yml``, and move bound entries, before anything runs."""
        if self._tracking is not None:  # an earlier run, as in a notebook, was interrupted
            self._tracking.abandon()
        self._end_work()
        self.configuration = self._tracking = None
        is_bound = binds_ports()
        source = context.config_loader.conf_source
        has_mlops = has_configuration(source, "mlops")
        self._may_be_distributed = is_bound or has_configuration(source, "azureml")
        if has_mlops:
            _import_scipy_early()
        if has_mlops or self._may_be_distributed:
            from kedro_azure_mlops.config import override_globals
            from kedro_azure_mlops.hooks.parameter_types import refuse_wrong_parameters

            with _shown_by_kedro():
                refuse_wrong_parameters(context)
            override_globals(context.config_loader)
        if has_mlops:
            from kedro_azure_mlops.config import mlops_of_context
            from kedro_azure_mlops.hooks.tracking import MlflowTracking
            from kedro_azure_mlops.hooks.work import Work
            from kedro_azure_mlops.safety import protect_logs, protect_output
            from kedro_azure_mlops.writing import name_full_disks_of_logs

            protect_output()
            protect_logs()
            name_full_disks_of_logs()
            self._may_be_distributed = True
            with _shown_by_kedro():
                self.configuration = mlops_of_context(context)
            self._tracking = MlflowTracking(context, self.configuration)
            self._work = Work(Path(context.project_path), is_bound=is_bound)
        if is_bound:
            from kedro_azure_mlops.hooks.binding import bind_context

            bind_context(context)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Lock the run's files and open an MLflow run; only the first process of a step writes."""
        try:
            with _shown_by_kedro():
                if self._tracking is not None and self._work is not None:
                    self._work.begin(pipeline, catalog, self.waits)
                    from kedro_azure_mlops.hooks.on_spark import open_session_if_needed

                    # Spark first: without it there is nothing to track
                    open_session_if_needed(pipeline, catalog, self.configuration)
                    with self._work.naming_a_full_disk():
                        self._tracking.begin(run_params, pipeline, catalog)
                    if self.configuration is not None and self.configuration.scorer:
                        from kedro_azure_mlops.models import leave_answers_to_scorer

                        leave_answers_to_scorer(pipeline.all_outputs(), catalog)
                if self._may_be_distributed:
                    from kedro_azure_mlops.hooks.ranks import store_nothing_unless_first

                    store_nothing_unless_first(pipeline, catalog)
        except BaseException:
            self._end_work()
            raise
        if self.before_first_node is not None:
            self.before_first_node()

    @hook_impl
    def after_node_run(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Add a reference profile to a model that has none."""
        if self._tracking is None or self.configuration is None:
            return
        names = {self.configuration.tracking.model, self.configuration.gate.judged}
        for name in names & outputs.keys():
            from kedro_azure_mlops.hooks.profile import add_profile

            add_profile(outputs[str(name)], inputs)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Remember the champion that the run compares with."""
        if self._tracking is not None:
            self._tracking.loaded(dataset_name, data)

    @hook_impl(trylast=True)
    def before_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Add the model's identity to the gate's decision; redirect the entry to a new file."""
        if self._tracking is not None:
            self._tracking.before_saved(dataset_name, data)
        if self._work is not None:
            self._work.before_saved(dataset_name)

    @hook_impl(tryfirst=True)
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Move the finished file into place; record that the model of this run is stored."""
        if self._work is not None:
            self._work.saved(dataset_name)
        if self._tracking is not None:
            self._tracking.saved(dataset_name)

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Send the run's results, register its model and let the gate move the champion."""
        try:
            if self._tracking is not None and self._work is not None:
                with _shown_by_kedro(), self._work.naming_a_full_disk():
                    self._tracking.finish(pipeline, catalog)
        finally:
            self._end_work()

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Mark the run as failed, remove partial files, and name the cause of some errors.

        These are a full disk and errors of functions on Spark's executors: Kedro would only report
        that a dataset could not be saved.
        """
        try:
            if self._tracking is not None:
                self._tracking.fail()
            with _shown_by_kedro():
                if self._work is not None:
                    self._work.failed(error)
                _raise_error_of_executor(error)
        finally:
            self._end_work()

    def _end_work(self) -> None:
        """Release the files of this run, so that other runs can start."""
        if self._work is not None:
            self._work.end()
            self._work = None


def _raise_error_of_executor(error: Exception) -> None:
    """Raise the error of a function on Spark as pandas would raise it."""
    if "pyspark" not in sys.modules or isinstance(error, OperationError | RefusedError):
        return
    from kedro_azure_mlops.engine.on_spark import error_of_function

    if own := error_of_function(error):
        raise own from error


@contextmanager
def _shown_by_kedro() -> Iterator[None]:
    """Make any project's ``kedro run`` print only an error's message and exit with its status."""
    try:
        yield
    except (OperationError, RefusedError) as error:
        kind = type(error)
        shown = type(kind.__name__, (kind, ClickException), {"__module__": kind.__module__})
        raise shown(str(error)) from error


def _import_scipy_early() -> None:
    """Import scipy's functions before pandas, matplotlib and MLflow, so that skops loads faster.

    When skops is imported, it searches all modules, in the order of their import, for each of
    these 250 functions. With thousands of modules ahead of them, that search would take
    longer than anything else at the start of a run.
    """
    with suppress(ImportError):
        import scipy.special  # noqa: F401


def binds_ports() -> bool:
    """Return whether this is a step of a job, with ports bound to catalog entries."""
    return any(name.startswith(BINDING) for name in os.environ)


def has_configuration(source: str | Path, name: str) -> bool:
    """Return whether a configuration folder or archive has a file such as ``base/mlops.yml``."""
    path = Path(str(source))
    if not path.is_file():  # `kedro package` archives the folder
        return any(path.glob(f"*/{name}*.y*ml"))
    import tarfile

    with tarfile.open(path) as archive:
        return any(PurePath(one).match(f"*/{name}*.y*ml") for one in archive.getnames())


hooks = PluginHooks()


def last_configuration() -> "Mlops | None":
    """Return the ``mlops.yml`` of this process's last session; None if it had none."""
    return hooks.configuration
