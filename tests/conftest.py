"""Fixtures that render the template, or try to."""

import contextlib
import io
import itertools
import logging
import os
import pickle
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cookiecutter.cli import main as command_line
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from omegaconf import OmegaConf
from rich.logging import RichHandler
from sqlalchemy import Engine
from sqlalchemy.event import listen

from tests.helpers import (
    LEAKING,
    PROJECT,
    ROOT,
    Attempt,
    BakedProject,
    InstalledProject,
    render,
)

# In the background (nohup make test &), tests and their child processes ignore SIGINT, and tests of
# interruptions would wait forever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tracking variables that an Azure ML job or a developer's shell may set.
_TRACKING_VARIABLES = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"),
    *("RANK", "OMPI_COMM_WORLD_RANK", "TF_CONFIG", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"),
    "KEDRO_ENV",
)


def pytest_xdist_auto_num_workers() -> int:
    """Return one more than the number of cores: tests wait for processes, servers and disks."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the template as in a clone, without the files that tools leave behind."""
    copy = tmp_path_factory.mktemp("template")
    shutil.copy(ROOT / "cookiecutter.json", copy)
    junk = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", "*.egg-info")
    for folder in ("hooks", PROJECT):
        shutil.copytree(ROOT / folder, copy / folder, ignore=junk)
    return copy


@pytest.fixture(scope="session")
def questions(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's questions and hooks with few files to render, for tests of the answers."""
    copy = tmp_path_factory.mktemp("questions")
    shutil.copy(template / "cookiecutter.json", copy)
    shutil.copytree(template / "hooks", copy / "hooks")
    (copy / PROJECT).mkdir()
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copy(template / PROJECT / name, copy / PROJECT)
    return copy


@pytest.fixture(scope="session", autouse=True)
def _no_bytecode() -> None:
    """Keep shared renders, from which tests import tools, free of bytecode.

    Test modules are imported earlier, because collecting them without bytecode takes longer.
    """
    sys.dont_write_bytecode = True


@pytest.fixture(scope="session", autouse=True)
def _clean_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Isolate the tests from the user's settings and home folder."""
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as shell:
        for name in list(os.environ):
            if name.startswith(LEAKING):
                shell.delenv(name)
        shell.setenv("HOME", home)
        shell.setenv("USERPROFILE", home)
        shell.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_runs() -> Iterator[None]:
    """Skip work that takes a third of a run in this process and that no test checks.

    * Kedro's settings reader needs only the file names of the frames, but ``inspect`` searches all
      modules for the source of each.
    * MLflow reads all of its migrations to find the last one whenever a store is opened.
    * Every configuration file is parsed again for each project, although most texts are the same.
    * SQLite waits for the disk after each change.
    * Rich wraps, colours and aligns each log line.
    """
    from mlflow.store.db import utils

    with pytest.MonkeyPatch.context() as patch:
        for module in ("loaders.py_loader", "utils.files"):
            patch.setattr(f"dynaconf.{module}.inspect", SimpleNamespace(stack=_callers))
        patch.setattr(
            utils, "_get_latest_schema_revision", cache(utils._get_latest_schema_revision)
        )
        patch.setattr(OmegaConf, "load", staticmethod(_load))
        patch.setattr("rich.logging.RichHandler.emit", _print)
        listen(Engine, "connect", _disable_sync)
        yield


def _load(file: Any, load: Callable[[Any], Any] = OmegaConf.load) -> Any:
    if not isinstance(file, io.StringIO):  # Kedro passes the text
        return load(file)
    text = file.read()
    if text not in _PARSED:
        _PARSED[text] = pickle.dumps(load(io.StringIO(text)))
    return pickle.loads(_PARSED[text])  # noqa: S301, pickled above


_PARSED: dict[str, bytes] = {}


def _print(handler: RichHandler, record: logging.LogRecord) -> None:
    print(handler.format(record), file=handler.console.file, flush=True)


def _disable_sync(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def _callers() -> list[SimpleNamespace]:
    frame, callers = sys._getframe(), []
    while frame:
        callers.append(SimpleNamespace(filename=frame.f_code.co_filename))
        frame = frame.f_back
    return callers


@pytest.fixture(autouse=True)
def _own_tracking() -> Iterator[None]:
    """Isolate each test from the developer's tracking server and from earlier tests."""
    _forget_tracking()
    for name in _TRACKING_VARIABLES:
        os.environ.pop(name, None)  # permanently: MLflow sets one, which must not be restored
    yield
    _forget_tracking()


def _forget_tracking() -> None:
    if mlflow := sys.modules.get("mlflow"):  # importing it takes a second, and few tests need it
        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty tracking database: MLflow takes seconds to create one; copying it is instant."""
    import mlflow

    path = tmp_path_factory.mktemp("database") / "mlruns.db"
    with contextlib.chdir(path.parent):  # for the files of the default experiment
        mlflow.MlflowClient(f"sqlite:///{path.as_posix()}").search_experiments()
    return path


@pytest.fixture
def bake(template: Path, tmp_path: Path) -> Callable[..., BakedProject]:
    """Render the template with some answers into a new folder."""
    numbers = itertools.count()
    return lambda **answers: render(template, tmp_path / f"bake-{next(numbers)}", **answers)


@pytest.fixture(scope="session")
def baked(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., BakedProject]:
    """Render like `bake`, but share the project between tests that only read it."""
    return cache(lambda **answers: render(template, tmp_path_factory.mktemp("baked"), **answers))


@pytest.fixture(scope="session")
def environment() -> Path:
    """The environment of these tests, which has the packages of the project's locks."""
    return Path(sys.prefix)


@pytest.fixture(scope="session")
def install(
    template: Path, tmp_path_factory: pytest.TempPathFactory, environment: Path
) -> Callable[..., InstalledProject]:
    """Render with some answers and link the shared environments to the expected paths."""

    def installed(**answers: str) -> InstalledProject:
        project = render(template, tmp_path_factory.mktemp("installed"), **answers)
        (project.path / ".venv").symlink_to(environment)
        (project.path / ".venv-serve").symlink_to(ROOT / ".venv-serve")
        # mark them as installed after the locks were written
        for stamp in (".run", ".dev", ".azure"):
            (environment / stamp).touch()
        (ROOT / ".venv-serve" / ".synced").touch()
        return InstalledProject(project.path)

    return installed


@pytest.fixture
def type_in(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Attempt]:
    """Call cookiecutter as if typed in an empty folder, but in this process to start faster."""
    # A Kedro run in this process has added handlers to the root logger, which would print too.
    monkeypatch.setattr(logging.getLogger("cookiecutter"), "propagate", False)
    output = tmp_path / "output"
    output.mkdir(exist_ok=True)

    def call(program: str, *arguments: str) -> Attempt:
        assert program == "cookiecutter"
        with contextlib.chdir(output), pytest.raises(SystemExit) as end:
            command_line(arguments)
        printed = capfd.readouterr()
        return Attempt(output, int(end.value.code or 0), printed.out + printed.err)

    return call


@pytest.fixture
def attempt(questions: Path, type_in: Callable[..., Attempt]) -> Callable[..., Attempt]:
    """Try to render with some options and answers, to test the hooks."""

    def call(*options: str, **answers: str) -> Attempt:
        pairs = [f"{key}={answer}" for key, answer in answers.items()]
        usual = ("--no-input", "--default-config")
        return type_in("cookiecutter", *usual, *options, str(questions), *pairs)

    return call


@pytest.fixture
def derive() -> Callable[..., dict[str, str]]:
    """Answer the questions and return all variables, without rendering."""

    def answer(**answers: str) -> dict[str, str]:
        context = generate_context(str(ROOT / "cookiecutter.json"), extra_context=answers)
        return dict(prompt_for_config(context, no_input=True))

    return answer
