"""Data passed between steps of a job without a catalog entry, in a format chosen by its type.

A pandas DataFrame or Series is stored as Parquet, a numpy array as npy, plain JSON values as JSON,
a scikit-learn estimator as skops. Anything else, and data that its format would alter (an index
with a frequency, a column of mixed objects), is pickled by value with cloudpickle.

Loading a pickle, or a skops file with all its types trusted, runs code. That is acceptable within
one job: its own steps have just written the folder, with the same code. Do not point this
dataset at a folder of unknown origin, and add a catalog entry for data that outlives the job.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from kedro_azure_mlops.errors import first_line
from kedro_azure_mlops.writing import out_of_space

TYPE_FILE = "type.json"  # written last: a folder without it is incomplete
FORMATS = "Parquet, npy, JSON or skops depending on the type, else as a pickle"
_ADVICE = "add a catalog entry that stores it, or keep the nodes that need it in one step"


class CarriedDataset(AbstractDataset[Any, Any]):
    """A dataset passed between two steps of a job, in its own folder.

    Parameters
    ----------
    path
        The folder, with the data in one file and its type in ``type.json``.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.metadata = metadata

    def save(self, data: Any) -> None:
        """Write the data in the first format that preserves it exactly.

        Raises
        ------
        DatasetError
            If the data cannot even be pickled: a generator, an open file, a connection.
        """
        self._clear()
        kind = next(kind for kind in _FORMATS if self._try_to_write(kind, data))
        description = {"format": kind, "type": f"{type(data).__module__}.{type(data).__qualname__}"}
        (self.path / TYPE_FILE).write_text(json.dumps(description) + "\n", encoding="utf-8")

    def load(self) -> Any:
        """Read the data.

        Raises
        ------
        DatasetError
            If the folder is incomplete or cannot be read.
        """
        try:
            kind = json.loads((self.path / TYPE_FILE).read_text(encoding="utf-8"))["format"]
            _, read = _FORMATS[kind]
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"{self.path} holds no data written by a step: {error!r}") from error
        return read(self.path / kind)

    def _clear(self) -> None:
        """Empty the folder, deleting the type first; a mount cannot be deleted and recreated."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / TYPE_FILE).unlink(missing_ok=True)
        for old in self.path.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()

    def _try_to_write(self, kind: str, data: Any) -> bool:
        write, _ = _FORMATS[kind]
        file = self.path / kind
        if kind == "data.pickle":
            try:
                write(data, file)
            except Exception as error:  # pickling runs the objects' own code
                file.unlink(missing_ok=True)
                self._refuse_full_disk(error)
                raise DatasetError(
                    f"a {type(data).__name__} cannot be carried to the next step "
                    f"({first_line(error)}): {_ADVICE}"
                ) from error
            return True
        try:
            if write(data, file):
                return True
        except Exception as error:  # noqa: BLE001 # for any reason: try the next format
            file.unlink(missing_ok=True)
            self._refuse_full_disk(error)
        file.unlink(missing_ok=True)
        return False

    def _refuse_full_disk(self, error: Exception) -> None:
        if full := out_of_space(error, [self.path], "the data for the next step"):
            raise full from error

    def _exists(self) -> bool:
        return (self.path / TYPE_FILE).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"path": self.path}


def _write_frame(data: Any, file: Path) -> bool:
    import pandas as pd

    if type(data) is not pd.DataFrame:
        return False
    objects = (c for c in range(data.shape[1]) if data.iloc[:, c].dtype == object)
    if any(pd.api.types.infer_dtype(data.iloc[:, c], skipna=False) != "string" for c in objects):
        return False
    data.to_parquet(file)
    pd.testing.assert_frame_equal(_read_frame(file), data, check_exact=True)
    return True


def _read_frame(file: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(file)


def _write_series(data: Any, file: Path) -> bool:
    import pandas as pd

    if type(data) is not pd.Series:
        return False
    keeps_name = data.name is None or isinstance(data.name, str)
    return keeps_name and _write_frame(data.to_frame(), file)


def _read_series(file: Path) -> Any:
    column = _read_frame(file).iloc[:, 0]
    return column.rename(None) if column.name == 0 else column


def _write_array(data: Any, file: Path) -> bool:
    import numpy as np

    if type(data) is not np.ndarray or data.dtype.hasobject:
        return False
    with file.open("wb") as target:
        np.save(target, data, allow_pickle=False)
    return True


def _read_array(file: Path) -> Any:
    import numpy as np

    return np.load(file, allow_pickle=False)


def _write_json(data: Any, file: Path) -> bool:
    if not _is_plain(data):
        return False
    file.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return True


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _is_plain(value: Any) -> bool:
    """Return whether JSON preserves a value: no tuples, only string keys, no numpy numbers."""
    if type(value) is dict:
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _write_estimator(data: Any, file: Path) -> bool:
    from sklearn.base import BaseEstimator
    from skops.io import dump

    from kedro_azure_mlops.model_files import compact_skops

    if not isinstance(data, BaseEstimator):
        return False
    with compact_skops():
        dump(data, file)
    return type(_read_estimator(file)) is type(data)


def _read_estimator(file: Path) -> Any:
    from skops.io import get_untrusted_types, load

    return load(file, trusted=get_untrusted_types(file=file))


def _write_pickle(data: Any, file: Path) -> bool:
    import cloudpickle

    with file.open("wb") as target:
        cloudpickle.dump(data, target)
    return True


def _read_pickle(file: Path) -> Any:
    import pickle

    with file.open("rb") as source:
        return pickle.load(source)  # noqa: S301 - written by a step of the same job, see above


_FORMATS: dict[str, tuple[Callable[[Any, Path], bool], Callable[[Path], Any]]] = {
    "data.parquet": (_write_frame, _read_frame),
    "series.parquet": (_write_series, _read_series),
    "data.npy": (_write_array, _read_array),
    "data.json": (_write_json, _read_json),
    "data.skops": (_write_estimator, _read_estimator),
    "data.pickle": (_write_pickle, _read_pickle),
}
