"""The commands that reproduce the model of a run from its commit, data and parameters.

They are printed as shell commands, and run exactly as printed.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.config import Mlops, bootstrap, configuration_folder, read_mlops
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import PREFIX, place_of, port_of
from kedro_azure_mlops.hooks.faults import fault_in_words, faults
from kedro_azure_mlops.hooks.server import (
    choose_server,
    database_of,
    server_of,
    shown_address,
)
from kedro_azure_mlops.job.ports import file_in_folder
from kedro_azure_mlops.reproduce.recorded import (
    RecordedData,
    RecordedRun,
    find_data,
    find_job,
    find_run,
    is_address,
    unchecked,
)

FOLDER = "build/reproduce"
DEFAULT_ENV = "local"
STORE = "sqlite:///mlruns.db"
_LOCK = "requirements/run.txt"
_SHOWN = 5
# Variables of this process that its commands must not inherit.
_NOT_INHERITED = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "PYTHONPATH"),
    *("RANK", "OMPI_COMM_WORLD_RANK", "TF_CONFIG"),
)


@dataclass(frozen=True)
class Command:
    """A command, the folder below the project to run it in, and its variables."""

    words: tuple[str, ...]
    folder: str = "."
    variables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = [f"{name}={value}" for name, value in self.variables.items()]
        line = shlex.join((*(["env", *pairs] if pairs else []), *self.words))
        return line if self.folder == "." else f"(cd {shlex.quote(self.folder)} && {line})"

    def run(self, root: Path) -> None:
        """Run the command with the tools of this Python environment.

        Raises
        ------
        OperationError
            If the command fails or is not installed.
        """
        try:
            subprocess.run(
                self.words,
                cwd=root / self.folder,
                env={**_environment(), **self.variables},
                check=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise OperationError(f"This command failed ({error}):\n{self}") from error


@dataclass(frozen=True)
class Reproduction:
    """The commands that reproduce the model of a run, in order, and the paths of the results.

    ``recorded`` is the run, ``project`` the folder of its code, ``made`` the path of the scores.
    """

    recorded: RecordedRun
    commands: Sequence[Command]
    project: str
    warnings: Sequence[str]
    made: Path
    root: Path

    def run(self, say: Callable[[str], None] = print) -> str:
        """Print and run each command, and return the digest of the scores.

        Raises
        ------
        OperationError
            If a command fails, or no scores are written.
        """
        for command in self.commands:
            say(f"$ {command}")
            command.run(self.root)
        if not self.made.exists():
            raise OperationError(f"The repeated run in {self.project} wrote no scores.")
        return content_digest(self.made)


def plan_reproduction(
    env: str = DEFAULT_ENV,
    *,
    run: str | None = None,
    job: str | None = None,
    data: Sequence[Path] = (),
    anyway: bool = False,
    root: Path | None = None,
) -> Reproduction:
    """Plan how to reproduce the model of a run; nothing is run yet.

    Parameters
    ----------
    env
        The environment of the tracking server, or workspace, with the record of the run.
    run
        A run on the tracking server, or a local job.
    job
        A job on Azure ML instead.
    data
        Files that the run read, if they have since been moved.
    anyway
        Try it even if the code of the run had uncommitted changes.
    root
        The folder of the project; the current one by default.

    Returns
    -------
    The commands; the scores are reproduced if their digest is ``recorded.scores``.

    Raises
    ------
    OperationError
        If there is no such run or job, or its code or data is not available.
    """
    root = root or Path.cwd()
    config, entries = read_mlops(root, env), _catalog_entries(root, env)
    catalog = {port: str(place_of(entry)) for port, entry in entries.items()}
    scores = config.tracking.scores
    if scores is None or port_of(scores) not in catalog:
        raise OperationError(
            f"tracking.scores in {configuration_folder(root)}/base/mlops.yml names no catalog "
            "entry with a file. Set it to the scores: runs are compared by their digest."
        )
    server = None if os.environ.get("MLFLOW_TRACKING_URI") else config.tracking.uri
    recorded = _recorded(root, env, config, run, job)
    _refuse_unknown_code(recorded, root, anyway)
    found = find_data(recorded.data, data, catalog, root)
    tree = f"{FOLDER}/{recorded.id}"
    project = (PurePosixPath(tree) / _git(root, "rev-parse", "--show-prefix").strip()).as_posix()
    files = {
        item.port: file_in_folder(entries[item.port])
        for item in recorded.data
        if item.is_folder and item.port in entries
    }
    folder = f"{tree}.data"
    paths, data_commands = _data_commands(recorded, found, files, folder, root)
    made = root / folder / "made" / PurePosixPath(catalog[port_of(scores)]).name
    commands = [
        *_checkout(root, tree, str(recorded.commit)),
        *_parameters(root, recorded, project, server),
        *data_commands,
        _kedro_run(recorded, project, {port_of(scores): str(made)} | paths, scores),
    ]
    warnings = (
        *_other_packages(root, str(recorded.commit), project),
        *unchecked(recorded.data, found),
    )
    return Reproduction(recorded, commands, project, warnings, made, root)


def _recorded(root: Path, env: str, config: Mlops, run: str | None, job: str | None) -> RecordedRun:
    if bool(run) == bool(job):
        raise OperationError("give either --run ID or --job NAME.")
    if job:
        if env == DEFAULT_ENV:
            raise OperationError("--job NAME needs the environment of its workspace: --env dev.")
        from kedro_azure_mlops.azure.workspace import workspace

        return find_job(workspace(env), job, env, port_of(str(config.tracking.scores)))
    import mlflow

    address = server_of(config.tracking.uri, root)
    database = database_of(address)
    if database and not database.is_file():
        raise OperationError(
            f"No run is tracked at {shown_address(address)}: name a server in MLFLOW_TRACKING_URI."
        )
    try:
        choose_server(config, root)
    except faults() as error:
        raise OperationError(fault_in_words(error, address)) from error
    return find_run(mlflow.MlflowClient(), str(run))


def _catalog_entries(root: Path, env: str) -> dict[str, Mapping[str, Any]]:
    """Return the catalog entries of an environment that have a path, by port."""
    from kedro.framework.session import KedroSession

    bootstrap(root)
    session: Any = KedroSession.create(project_path=root, env=env)
    with session:
        catalog = session.load_context().config_loader["catalog"]
    return {port_of(name): entry for name, entry in catalog.items() if place_of(entry)}


def _refuse_unknown_code(run: RecordedRun, root: Path, anyway: bool) -> None:
    """Refuse a run whose code is not available.

    Raises
    ------
    OperationError
        If its commit is unknown or missing, or its code had uncommitted changes (unless
        ``anyway``).
    """
    if run.commit is None:
        raise OperationError(
            f"The run {run.id} has no commit: it was made outside of git, so its code is unknown."
        )
    if run.dirty and not anyway:
        raise OperationError(
            f"The run {run.id} was made with changes that are not in commit {run.commit}. "
            "To try without them, add --anyway."
        )
    if _git(root, "cat-file", "-t", run.commit).strip() != "commit":
        raise OperationError(
            f"The commit {run.commit} of run {run.id} is not in this clone: fetch it with "
            "git fetch --all (and --unshallow, if the clone is shallow)"
        )


def _checkout(root: Path, tree: str, commit: str) -> list[Command]:
    exists = Path(root / tree).exists()
    remove = [Command(("git", "worktree", "remove", "--force", tree))] if exists else []
    # --force: git may still list a worktree whose folder was deleted manually
    return [*remove, Command(("git", "worktree", "add", "--force", "--detach", tree, commit))]


def _data_commands(
    run: RecordedRun,
    found: Mapping[str, Path],
    files: Mapping[str, str],
    folder: str,
    root: Path,
) -> tuple[dict[str, str], list[Command]]:
    """Return the path that each port is read from, and the commands that copy its data there.

    A file keeps its name, because code may depend on it. ``files`` are the files to read in inputs
    that are folders.
    """
    paths, commands = {}, []
    for item in run.data:
        file = files.get(item.port, "")
        name = file or item.name
        target = f"{folder}/{item.port}/{name}"
        path = found.get(item.port)
        if path and file:
            path = path / file
        if path is None and is_address(item) and not item.source:
            if item.address:  # otherwise it is in the catalog of that commit
                paths[item.port] = f"{item.address}/{file}" if file else item.address
            continue
        if path and (path.name == name or not item.path):
            paths[item.port] = str(path)
            continue
        command = ("cp", "-r", str(path), target) if path else _fetch(item, run.env, target)
        commands += [Command(("mkdir", "-p", f"{folder}/{item.port}")), Command(command)]
        paths[item.port] = str(root / target)
    clean = [Command(("rm", "-rf", folder))] if (root / folder).exists() else []
    return paths, [*clean, *commands]


def _parameters(root: Path, run: RecordedRun, project: str, server: str | None) -> list[Command]:
    """Replace the parameters of the run's environment with those of the run.

    A job has no parameters file: it used those of its commit and its runtime parameters.
    """
    if run.parameters_file is None:
        return []
    folder = f"{project}/{configuration_folder(root)}/{run.env}"
    others = [f"{project}/{name}" for name in _other_parameters(root, run)]
    download = Command(
        (
            *("mlflow", "artifacts", "download", "--run-id", run.id),
            *("--artifact-path", run.parameters_file, "--dst-path", folder),
        ),
        variables={"MLFLOW_TRACKING_URI": server} if server else {},
    )
    commands = [Command(("rm", *others))] if others else []
    commands.append(download)
    if "/" in run.parameters_file:
        fetched = f"{folder}/{run.parameters_file}"
        commands.append(Command(("mv", fetched, f"{folder}/parameters.yml")))
    return commands


def _other_parameters(root: Path, run: RecordedRun) -> list[str]:
    """List other parameter files of the environment, which would duplicate the parameters."""
    folder = f"{configuration_folder(root)}/{run.env}"
    files = _git(root, "ls-tree", "-r", "--name-only", str(run.commit), f"{folder}/").splitlines()
    matching = [name for name in files if PurePosixPath(name).name.startswith("parameters")]
    return [name for name in matching if name != f"{folder}/parameters.yml"]


def _kedro_run(run: RecordedRun, project: str, paths: dict[str, str], scores: str) -> Command:
    words = ["kedro", "run", "--env", run.env]
    if run.in_steps:
        words += ["--to-outputs", scores]
        pairs = ",".join(f"{name}={value}" for name, value in run.parameters.items())
        words += ["--params", pairs] if pairs else []
    else:
        words += shlex.split(run.filters)
        if run.pipelines != ("__default__",):
            words += ["--pipelines", ",".join(run.pipelines)]
    bound = {f"{PREFIX}{port}": path for port, path in paths.items()}
    return Command(tuple(words), project, {"MLFLOW_TRACKING_URI": STORE} | bound)


def _other_packages(root: Path, commit: str, project: str) -> list[str]:
    """Return a warning if the lock of the commit differs from the packages installed here."""
    differences = [
        f"{name} {pinned} (here {installed})"
        for name, pinned in _pins(_git(root, "show", f"{commit}:./{_LOCK}")).items()
        if (installed := _installed(name)) != pinned
    ]
    if not differences:
        return []
    more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return [
        f"the scores may differ, because the packages installed here differ from {_LOCK} of that "
        f"commit: {', '.join(differences[:_SHOWN])}{more}. To use its environment, type after the "
        f"first command: uv venv {project}/.venv; uv pip sync --python {project}/.venv "
        f"{project}/{_LOCK}; then put {project}/.venv/bin first on PATH and continue."
    ]


def _pins(lock: str) -> dict[str, str]:
    from kedro_azure_mlops.azure.environment import pins

    with TemporaryDirectory() as folder:
        file = Path(folder) / "lock.txt"
        file.write_text(lock, encoding="utf-8")
        return dict(pins(file))


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _git(root: Path, *arguments: str) -> str:
    """Return git's output, empty if it fails."""
    try:
        completed = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise OperationError("reproduce needs git, which is not installed.") from error
    return str(completed.stdout)


def _fetch(item: RecordedData, env: str, target: str) -> tuple[str, ...]:
    return ("python", "-m", "kedro_azure_mlops.azure.fetch", "--env", env, str(item.source), target)


def _environment() -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not name.startswith("BIND__")
    }
    tools = str(Path(sys.executable).parent)
    return inherited | {"PATH": os.pathsep.join((tools, inherited.get("PATH", os.defpath)))}
