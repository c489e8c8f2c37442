"""Catalog dataset that reads a data asset of the workspace, on a laptop or in a job."""

import logging
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from kedro_azure_mlops.azure.assets import find_data, split_reference
from kedro_azure_mlops.azure.downloads import download_asset
from kedro_azure_mlops.azure.workspace import workspace
from kedro_azure_mlops.errors import OperationError

logger = logging.getLogger(__name__)


class DataAssetError(OperationError, DatasetError):
    """A data asset cannot be read (exit status 2)."""


class DataAsset(AbstractDataset[NoReturn, Any]):
    """A data asset, downloaded with your identity or the job's, and read by another dataset.

    ::

        raw_hours:
          type: kedro_azure_mlops.azure.datasets.DataAsset
          asset: hours@latest # or hours:<version>
          env: dev
          dataset: {type: pandas.CSVDataset}

    Parameters
    ----------
    asset
        Name and version, or ``name@latest`` for the version that was registered last. (Kedro
        reserves the key ``version``.)
    env
        The environment that names the workspace; inside a job, the job's workspace is used.
    dataset
        The dataset that reads the file or folder, without its path.
    folder
        The folder for downloads; a downloaded version is not fetched again.
    """

    def __init__(
        self,
        *,
        asset: str,
        env: str,
        dataset: dict[str, Any],
        folder: str = "build/assets",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if "type" not in dataset or "filepath" in dataset:
            raise DataAssetError(f"{asset}: its dataset needs a type and no filepath.")
        try:
            self._name, self._wanted = split_reference(asset)
        except OperationError as error:
            raise DataAssetError(str(error)) from error
        self._env, self._dataset, self._folder = env, dataset, Path(folder)
        self.metadata = metadata
        self.filepath: Path | None = None  # of the last load

    def load(self) -> Any:
        """Read the asset.

        Raises
        ------
        DataAssetError
            If it does not exist, cannot be fetched, or differs from the registered content.
        """
        folder = self._folder / self._name
        try:
            self.filepath = download_asset(self._env, self._name, self._wanted, folder)
        except OperationError as error:
            raise DataAssetError(str(error)) from error
        logger.info("Loading the data asset %s:%s", self._name, self.version)
        config = self._dataset | {"filepath": self.filepath.as_posix()}
        return AbstractDataset.from_config(self._name, config).load()

    @property
    def version(self) -> str | None:
        """The version that was loaded last."""
        path = self.filepath
        return path.relative_to(self._folder / self._name).parts[0] if path else None

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: versions of a data asset do not change.

        Raises
        ------
        DatasetError
            Always.
        """
        raise DatasetError(f"The data asset {self._name} can only be read.")

    def _exists(self) -> bool:
        return find_data(workspace(self._env), self._name, self._wanted) is not None

    def _describe(self) -> dict[str, Any]:
        return {
            "asset": self._name,
            "version": self.version or self._wanted,
            "env": self._env,
            "dataset": self._dataset,
        }
