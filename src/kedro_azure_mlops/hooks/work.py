"""Guard the files that a run works on: one run at a time, complete results."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from kedro_azure_mlops.hooks.binding import is_parameter
from kedro_azure_mlops.hooks.ranks import rank
from kedro_azure_mlops.hooks.whole import WholeFiles, clean_up_after_killed_runs
from kedro_azure_mlops.running import Claim, claim, place_of
from kedro_azure_mlops.writing import naming_a_full_disk, out_of_space

logger = logging.getLogger(__name__)


class Work:
    """Guards the files of one run's catalog entries.

    Parameters
    ----------
    root
        The project.
    is_bound
        Whether this is a step of a job: its outputs are private, may be mounts where nothing can
        be moved, and are ignored if it fails.
    """

    def __init__(self, root: Path, *, is_bound: bool = False) -> None:
        self._root, self._is_bound = root, is_bound
        self._claim = Claim()
        self._whole: WholeFiles | None = None

    def begin(self, pipeline: Pipeline, catalog: CatalogProtocol, waits: bool | None) -> None:
        """Claim the files of this run, and clean up after one that was killed.

        Raises
        ------
        BusyError
            If another run is using them.
        """
        stores = rank() == 0
        outputs = sorted(pipeline.all_outputs()) if stores else []
        inputs = [name for name in pipeline.inputs() if not is_parameter(name)]
        self._claim = claim(
            self._root,
            writes=_places(catalog, outputs),
            reads=_places(catalog, inputs),
            wait=waits,
            say=logger.warning,
        )
        if stores and not self._is_bound:
            clean_up_after_killed_runs(catalog, outputs)
            self._whole = WholeFiles(catalog)

    def before_saved(self, name: str) -> None:
        """Redirect an entry to a temporary file next to its own."""
        if self._whole is not None:
            self._whole.begin(name)

    def saved(self, name: str) -> None:
        """Move a complete entry into place."""
        if self._whole is not None:
            self._whole.end(name)

    def failed(self, error: BaseException) -> None:
        """Remove partial files.

        Raises
        ------
        OutOfSpaceError
            If a full disk stopped the run.
        """
        places = self._whole.discard() if self._whole else {}
        what = f"the entry {' and '.join(places)}" if places else "the output of the run"
        if full := out_of_space(error, places.values() or [self._root], what):
            raise full from error

    def naming_a_full_disk(self) -> AbstractContextManager[None]:
        """Report a full disk in place of the error that it caused outside the nodes."""
        return naming_a_full_disk(self._root, what="the record of the run")

    def end(self) -> None:
        """Release the files, so that other runs can start."""
        self._claim.release()


def _places(catalog: CatalogProtocol, names: list[str]) -> list[str]:
    return [place for name in names if (place := place_of(catalog.get(name)))]
