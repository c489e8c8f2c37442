"""A table of results: a readable CSV file if it is small, Parquet if it is large."""

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.writing import clean_up, naming_a_full_disk, new_beside

__all__ = ["ResultTable"]


class ResultTable(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """A CSV file, or a Parquet file next to it if the table is long.

    A million rows take seconds to write and read as text, and no spreadsheet opens them. The index
    is not stored. A table replaces that of an earlier run, in either format, and is written
    completely or not at all.

    Parameters
    ----------
    filepath
        The CSV file, on this machine; the Parquet file has the suffix ``.parquet`` instead.
    most_csv_rows
        Longer tables are Parquet.
    load_args
        Further arguments of ``pandas.read_csv``.
    """

    def __init__(
        self,
        *,
        filepath: str,
        most_csv_rows: int = 500_000,
        load_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if "://" in str(filepath):
            raise OperationError(
                f"{filepath} is not on this machine: for an address use the type pandas.CSVDataset "
                "or pandas.ParquetDataset in the catalog."
            )
        self.filepath = Path(filepath)
        self.most_csv_rows = most_csv_rows
        self.load_args = load_args or {}
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Read the latest table."""
        if self._parquet.exists():
            return pd.read_parquet(self._parquet)
        return pd.read_csv(self.filepath, **self.load_args)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, and remove an earlier one in the other format."""
        is_long = len(data) > self.most_csv_rows
        path, other = self.filepath, self._parquet
        if is_long:
            path, other = other, path
        path.parent.mkdir(parents=True, exist_ok=True)
        new = new_beside(path)
        with naming_a_full_disk(path, what="the table of results"):
            try:
                if is_long:
                    data.to_parquet(new, index=False)
                else:
                    data.to_csv(new, index=False)
                new.replace(path)
            finally:
                self.clean_up()
        other.unlink(missing_ok=True)

    def clean_up(self) -> None:
        """Remove the leftovers of a run that was killed while saving; an earlier table stays."""
        clean_up(self.filepath)
        clean_up(self._parquet)

    @property
    def _parquet(self) -> Path:
        return self.filepath.with_suffix(".parquet")

    def _exists(self) -> bool:
        return self.filepath.is_file() or self._parquet.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self.filepath, "most_csv_rows": self.most_csv_rows}
