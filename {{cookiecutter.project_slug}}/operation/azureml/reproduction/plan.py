"""The commands that make the model of a run again, from its commit, its data, its parameters."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from {{ cookiecutter.package_name }}.binding import PREFIX, port_of

from operation.azureml.config import CONFIGURATION
from operation.azureml.locks import pins
from operation.azureml.reproduction.commands import Command
from operation.azureml.reproduction.data import ways_to_data
from operation.azureml.reproduction.run import RecordedRun
from operation.azureml.snapshot import content_digest
from operation.errors import OperationError

FOLDER = "build/reproduce"
STORE = "sqlite:///mlruns.db"
_LOCK = "requirements/run.txt"
_SHOWN = 5


@dataclass(frozen=True)
class Scores:
    """What is compared: a dataset, and the name of the file that holds it."""

    dataset: str
    file: str


@dataclass(frozen=True)
class Reproduction:
    """What to do, in order, and where its results are then."""

    commands: Sequence[Command]
    project: str
    warnings: Sequence[str]
    made: Path

    def scores(self) -> str:
        """Return the digest of the scores that were made.

        Raises
        ------
        OperationError
            If none were made.
        """
        if not self.made.exists():
            raise OperationError(f"The repetition in {self.project} has made no scores.")
        return content_digest(self.made)


def reproduce(
    run: RecordedRun, found: dict[str, Path], server: str | None, scores: Scores, root: Path
) -> Reproduction:
    """Write the commands.

    Parameters
    ----------
    found
        Where the data is, by port; what is missing is fetched.
    server
        The tracking server of the run, unless the environment names it.
    scores
        The catalog entry that is compared in the end.
    """
    tree = f"{FOLDER}/{run.id}"
    project = (PurePosixPath(tree) / _git(root, "rev-parse", "--show-prefix").strip()).as_posix()
    places, bring = ways_to_data(run.data, found, run.env, f"{tree}.data", root)
    made = root / f"{tree}.data" / "made" / scores.file
    places = {port_of(scores.dataset): str(made)} | places
    commands = [
        *_checkout(root, tree, str(run.commit)),
        *_parameters(root, run, project, server),
        *bring,
        _kedro_run(run, project, places, scores.dataset),
    ]
    return Reproduction(commands, project, _other_packages(root, str(run.commit), project), made)


def refuse_unknown_code(run: RecordedRun, root: Path, anyway: bool) -> None:
    """Refuse a run whose code cannot be had.

    Raises
    ------
    OperationError
        If its commit is not known or not here, or its files were changed (unless ``anyway``).
    """
    if run.commit is None:
        raise OperationError(
            f"The run {run.id} has no commit: it was made outside of git, its code is not known."
        )
    if run.dirty and not anyway:
        raise OperationError(
            f"The run {run.id} was made with changes that are not in commit {run.commit}. "
            "--anyway tries without them."
        )
    if _git(root, "cat-file", "-t", run.commit).strip() != "commit":
        raise OperationError(
            f"The commit {run.commit} of run {run.id} is not in this clone, type: "
            "git fetch --all (and --unshallow, if the clone is shallow)"
        )


def _checkout(root: Path, tree: str, commit: str) -> list[Command]:
    again = Path(root / tree).exists()
    remove = [Command(("git", "worktree", "remove", "--force", tree))] if again else []
    # --force: also where a folder was deleted by hand, which git still remembers
    return [*remove, Command(("git", "worktree", "add", "--force", "--detach", tree, commit))]


def _parameters(root: Path, run: RecordedRun, project: str, server: str | None) -> list[Command]:
    """Put the parameters of the run in the place of those of its environment.

    A job was sent with its parameters and those of its commit, and has no file of them.
    """
    if run.parameters_file is None:
        return []
    folder = f"{project}/{CONFIGURATION}/{run.env}"
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
    """Name files of the environment whose parameters would be there twice."""
    folder = f"{CONFIGURATION}/{run.env}"
    files = _git(root, "ls-tree", "-r", "--name-only", str(run.commit), f"{folder}/").splitlines()
    old = [name for name in files if PurePosixPath(name).name.startswith("parameters")]
    return [name for name in old if name != f"{folder}/parameters.yml"]


def _kedro_run(run: RecordedRun, project: str, places: dict[str, str], scores: str) -> Command:
    words = ["kedro", "run", "--env", run.env]
    if run.in_steps:
        words += ["--to-outputs", scores]
        given = ",".join(f"{name}={value}" for name, value in run.parameters.items())
        words += ["--params", given] if given else []
    else:
        words += shlex.split(run.filters)
        if run.pipelines != ("__default__",):
            words += ["--pipelines", ",".join(run.pipelines)]
    bound = {f"{PREFIX}{port}": place for port, place in places.items()}
    return Command(tuple(words), project, {"MLFLOW_TRACKING_URI": STORE} | bound)


def _other_packages(root: Path, commit: str, project: str) -> list[str]:
    """Compare the lock of that time with what is installed here."""
    differences = [
        f"{name} {pinned} (here {installed})"
        for name, pinned in _pins(_git(root, "show", f"{commit}:./{_LOCK}")).items()
        if (installed := _installed(name)) != pinned
    ]
    if not differences:
        return []
    more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return [
        f"the scores may differ, for other packages are installed here than {_LOCK} of that commit "
        f"names: {', '.join(differences[:_SHOWN])}{more}. For an environment of that time, after "
        f"the first command: make -C {project} setup, then put {project}/.venv/bin first on PATH "
        "and type the other commands."
    ]


def _pins(lock: str) -> dict[str, str]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "lock.txt"
        file.write_text(lock, encoding="utf-8")
        return pins(file)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _git(root: Path, *arguments: str) -> str:
    """Ask git; nothing, when it does not know."""
    try:
        answer: Any = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise OperationError("reproduce needs git, which is not installed.") from error
    return answer.stdout
