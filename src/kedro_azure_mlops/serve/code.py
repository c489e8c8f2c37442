"""The code for a server: only the modules that scoring the model's example imports."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from kedro_azure_mlops.config import Mlops, bootstrap, config_loader, refuse_no_project
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve.score import SERVED

PLUGIN = "kedro_azure_mlops"
ENTRY = f"{PLUGIN}/serve/online.py"
"""The entry script of Azure ML's server, relative to a code folder."""

_PACKAGE = Path(__file__).parents[1]
_SCORING = (
    *("__init__.py", "contract.py", "explain.py", "serve/__init__.py"),
    *("serve/request.py", "serve/score.py", "serve/stream.py"),
    *("serve/record.py", "serve/parts.py"),
    *("values.py", "windows.py"),
)
_STORED = ("serve/stored.py",)
_SERVERS = tuple(
    f"serve/{name}.py"
    for name in ("answers", "collector", "connections", "local", "metrics", "online", "plain")
)
# Loads the scorer in a separate process and prints the files and modules that were imported.
_FINDER = """
import importlib, json, sys
from pathlib import Path
given = json.loads(sys.argv[1])
sys.path[:0] = given["path"]
for name in given["modules"]:
    importlib.import_module(name)
engine = None
if given["scorer"]:
    from kedro_azure_mlops.contract import _imported
    load = _imported(given["scorer"])
if given["model"]:
    from kedro_azure_mlops.serve.score import load_served
    model = load_served(Path(given["model"]), given["scorer"], given["trusted"])
    engine = model.engine
files, others = set(), set()
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    root = next((r for r in given["path"] if file and Path(file).is_relative_to(r)), None)
    if root:
        files.add((root, Path(file).relative_to(root).as_posix()))
    elif name.partition(".")[0] == "kedro_azure_mlops" and file:
        files.add((given["plugin"], Path(file).relative_to(given["plugin"]).as_posix()))
    else:
        others.add(name.partition(".")[0])
answer = {"engine": engine, "files": sorted(files), "modules": sorted(others)}
sys.__stdout__.write("\\n" + json.dumps(answer) + "\\n")
"""


@dataclass(frozen=True)
class ServedCode:
    """A folder of serving code, the scorer that loads the model, and the modules it imports.

    ``engine`` describes what computes the answers (None if no model was given),
    ``modules`` are the top-level names of all other imported modules.
    """

    folder: Path
    scorer: str | None
    engine: str | None
    modules: tuple[str, ...]

    def packages(self) -> set[str]:
        """Look up the distributions of these modules, which takes a third of a second."""
        known = packages_distributions()
        return {package for module in self.modules for package in known.get(module, ())}


def copy_served_code(
    root: Path,
    mlops: Mlops,
    target: Path,
    *,
    model: Path | None = None,
    trusted: tuple[str, ...] = (),
    with_servers: bool = True,
    label: str = "the model",
    champion_of: str | None = None,
) -> ServedCode:
    """Write the code for serving into a folder, replacing its content.

    The project's scorer, or the loader of the stored model if it has none, is imported in a
    separate process, and the modules of the project that this loads are copied.

    Parameters
    ----------
    root
        The project.
    mlops
        Its configuration, for ``scorer``.
    target
        The folder to write. Servers have it on their path; ``ENTRY`` is the entry script for Azure
        ML's server.
    model
        A model folder; scoring its example finds late imports as well.
    trusted
        Types of the stored model that may be loaded, see ``trusted_types``.
    with_servers
        Whether to include the servers around the score function.
    label
        Names the model in messages.
    champion_of
        The environment whose champion the model is, if any.

    Raises
    ------
    OperationError
        If the scorer cannot be imported, or cannot serve the model.
    """
    modules = sorted({name.rpartition(".")[0] for name in trusted if _is_in_project(root, name)})
    try:
        imports = _find_imports(root, mlops.scorer, model, trusted, modules)
    except _UnservedModelError as error:
        raise _unserved_error(label, str(error), champion_of) from error
    shutil.rmtree(target, ignore_errors=True)
    own = [*_SCORING, *(() if mlops.scorer else _STORED), *(_SERVERS if with_servers else ())]
    files = {f"{PLUGIN}/{name}": _PACKAGE / name for name in own}
    for folder, name in imports["files"]:
        files.setdefault(name, Path(folder) / name)
    for name, file in sorted(files.items()):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    served = {"scorer": mlops.scorer, "trusted": list(trusted)}
    text = json.dumps(served, indent=1) + "\n"
    (target / SERVED).write_text(text, encoding="utf-8", newline="\n")
    return ServedCode(target, mlops.scorer, imports["engine"], tuple(imports["modules"]))


def trusted_types(root: Path, env: str, mlops: Mlops) -> tuple[str, ...]:
    """Return the types that may be loaded from the trained model (``trusted`` in the catalog)."""
    if mlops.scorer or mlops.tracking.model is None:
        return ()
    from kedro.io import CatalogConfigResolver

    catalog = config_loader(root, env)["catalog"]
    default = {"{default}": {"type": "kedro.io.MemoryDataset"}}
    resolver = CatalogConfigResolver(catalog, default_runtime_patterns=default)
    entry = resolver.resolve_pattern(mlops.tracking.model)
    return tuple(entry.get("trusted") or ())


def source_folder(root: Path) -> Path:
    """Return the folder that holds a project's packages.

    Raises
    ------
    OperationError
        If the folder holds no project.
    """
    refuse_no_project(root)
    return Path(bootstrap(root).source_dir)


def _is_in_project(root: Path, name: str) -> bool:
    return (source_folder(root) / name.partition(".")[0]).is_dir()


class _UnservedModelError(ValueError):
    """The code can be loaded but cannot serve the model; the message gives the reason."""


def _unserved_error(label: str, why: str, champion_of: str | None) -> OperationError:
    remedy = "train again with this code"
    if champion_of:
        remedy += (
            ", or return to the previous champion: "
            f"kedro mlops rollback --env {champion_of} --reason TEXT"
        )
    return OperationError(f"{label} {why}", next=remedy)


def _find_imports(
    root: Path,
    scorer: str | None,
    model: Path | None,
    trusted: tuple[str, ...],
    modules: list[str],
) -> dict[str, Any]:
    arguments = {
        "path": [str(source_folder(root).resolve())],
        "plugin": str(_PACKAGE.parent),
        "modules": modules,
        "scorer": scorer,
        "model": str(model.resolve()) if model else None,
        "trusted": trusted,
    }
    process = subprocess.run(
        [sys.executable, "-c", _FINDER, json.dumps(arguments)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no error message"])[-1]
        why = re.sub(r"^[\w.]+(Error|Exception): ", "", last)
        if model and why.startswith(prefix := f"{arguments['model']} "):
            raise _UnservedModelError(why.removeprefix(prefix))
        raise OperationError(f"The code for serving cannot be loaded: {why}")
    return json.loads(process.stdout.splitlines()[-1])  # type: ignore[no-any-return]
