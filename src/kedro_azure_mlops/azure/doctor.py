"""Check this machine, the project and its access to Azure; each problem states its fix."""

import importlib
import importlib.metadata
import platform
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kedro.framework.project import settings
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from yaml import YAMLError

from kedro_azure_mlops.azure.environment import (
    WHEELS,
    Pin,
    names_plugin,
    pins,
    read_lock,
    refuse_changed_wheels,
    wheels_in,
)
from kedro_azure_mlops.azure.identity import INSTALL_AZURE, INSTALL_AZURE_LOCK
from kedro_azure_mlops.azure.snapshot import files_to_upload, refuse_links_that_leave
from kedro_azure_mlops.config import (
    Environment,
    configuration_folder,
    environments,
    read_azureml,
    read_mlops,
    refuse_no_project,
)
from kedro_azure_mlops.errors import OperationError, first_line
from kedro_azure_mlops.hooks.code_version import ask_git
from kedro_azure_mlops.job.compilation import compile_job

PLUGIN = "kedro-azure-mlops"
NO_CLIENT = "azure-ai-ml is not installed; it is needed for submit, deploy and provision"
_ENTRY_POINTS = ("kedro.hooks", "kedro.project_commands")
_REQUIREMENTS = "requirements"
_MAX_SHOWN = 3  # packages that differ from the lock
_SETUP = "uv pip install -r requirements/run.txt -r requirements/dev.txt (make setup)"
_INSTALLS = {  # lock -> the command that installs it
    "run": _SETUP,
    "dev": _SETUP,
    "azure": INSTALL_AZURE_LOCK,
}


@dataclass(frozen=True)
class Check:
    """A check and its result; a problem also states the fix. A note is not a problem."""

    is_ok: bool
    text: str
    is_note: bool = False


def check(env: str | None = None, *, root: Path | None = None) -> Iterator[tuple[str, Check]]:
    """Check this machine, the configuration and the access to Azure.

    If the packages for Azure are missing, Azure is not checked and a note reports it. If an
    environment is named, it is a problem, because its jobs and endpoints need them.

    Parameters
    ----------
    env
        The environment to check; by default all that are configured.
    root
        Folder of the project; by default the current one.

    Yields
    ------
    str, Check
        The subject of the check (this machine, an environment, Azure), and its result.

    Raises
    ------
    OperationError
        If the folder is not a project, or there is no such environment.
    """
    from kedro_azure_mlops.azure.doctor_azure import check_cloud, sign_in

    root = root or Path.cwd()
    refuse_no_project(root)
    names = [_existing_environment(root, env)] if env else configured_environments(root)
    lacks_azure = env is None and not has_client()
    for result in check_machine(root, lacks_azure):
        yield "this machine", result
    sends_jobs = []
    for name in names:
        results = list(dict.fromkeys(check_project(root, name)))
        yield from ((name, result) for result in results)
        if _has_configuration(root, name, "azureml"):
            yield from ((name, result) for result in job_packages(root, name))
            if all(result.is_ok for result in results):
                sends_jobs.append(name)
    if lacks_azure:
        yield "Azure", Check(True, f"not checked: {NO_CLIENT}: {INSTALL_AZURE}", is_note=True)
        return
    signed_in = sign_in()
    yield "Azure", signed_in
    if signed_in.is_ok:
        for name in sends_jobs:
            yield from ((f"Azure, {name}", result) for result in check_cloud(root, name))


def configured_environments(root: Path) -> list[str]:
    """Return the environments that have a file of their own, or base if there are none."""
    folder = root / configuration_folder(root)
    files = (*folder.glob("*/azureml.y*ml"), *folder.glob("*/mlops.y*ml"))
    names = {file.parent.name for file in files} - {"local"}
    return sorted(names - {"base"} or names)


def has_client() -> bool:
    """Return whether the client of Azure ML is installed, working or not."""
    try:
        return find_spec("azure.ai.ml") is not None
    except ModuleNotFoundError:  # of azure or azure.ai
        return False


def check_machine(root: Path, lacks_azure: bool = False) -> Iterator[Check]:
    """Check everything that needs no environment, network or sign-in."""
    yield python_version(root, platform.python_version())
    yield from plugin(importlib.metadata.entry_points())
    yield from git(root)
    installed = installed_packages()
    for name in _INSTALLS:
        if (root / _REQUIREMENTS / f"{name}.txt").is_file():
            yield lock(root, name, installed, may_lack=lacks_azure and name == "azure")
    yield from wheels(root)
    yield snapshot(root)


def check_project(root: Path, env: str) -> Iterator[Check]:
    """Check the configuration of an environment, its scorer, and that its job compiles."""
    if _has_configuration(root, env, "mlops"):
        yield from settings_of(root, env)
    if _has_configuration(root, env, "azureml"):
        yield compiles(root, env)


def python_version(root: Path, version: str) -> Check:
    """Compare a Python version with the one that ``pyproject.toml`` requires."""
    wanted = _pyproject(root).get("project", {}).get("requires-python", "")
    if version in SpecifierSet(wanted):
        return Check(True, f"Python {version}")
    return Check(
        False,
        f"Python {version}, but the project requires {wanted}. Install one, remove .venv and run: "
        f"{_SETUP}",
    )


def plugin(known: Any) -> Iterator[Check]:
    """Check that Kedro loads the plugin: if the import fails, Kedro only logs a line.

    Parameters
    ----------
    known
        The installed entry points, ``importlib.metadata.EntryPoints``.
    """
    for group in _ENTRY_POINTS:
        entries = [
            each for each in known.select(group=group) if each.value.startswith("kedro_azure")
        ]
        if not entries:
            yield Check(
                False,
                f"{PLUGIN} is not registered under {group}, so Kedro does not load it. Install it "
                f"again: {_SETUP}",
            )
        for entry in entries:
            try:
                entry.load()
            except Exception as error:  # noqa: BLE001, an import may raise anything
                yield Check(
                    False,
                    f"Kedro cannot load {entry.value} ({group}), and continues without it: "
                    f"{type(error).__name__}: {first_line(error)}. Install again: {_SETUP}",
                )
                return
    if PLUGIN in (settings.DISABLE_HOOKS_FOR_PLUGINS or ()):
        yield Check(
            False,
            f"settings.py disables the hooks of {PLUGIN} (DISABLE_HOOKS_FOR_PLUGINS): no run is "
            "tracked and no job finds its data. Remove it from there.",
        )
        return
    yield Check(True, f"{PLUGIN} {importlib.metadata.version(PLUGIN)} is loaded by Kedro")


def git(root: Path) -> list[Check]:
    """Check that a run can record its commit."""
    if shutil.which("git") is None:
        return [Check(False, "git is not installed, so runs record no commit: install it")]
    commit = ask_git(root, "rev-parse", "--short", "HEAD")
    if commit is None:
        todo = "git init && git add --all && git commit -m Start"
        return [Check(False, f"There is no commit, so runs record none. Run: {todo}")]
    changed = len((ask_git(root, "status", "--porcelain", "--", ".") or "").splitlines())
    state = f"files not committed: {changed}" if changed else "everything is committed"
    return [Check(True, f"git: commit {commit}, {state}")]


def installed_packages() -> dict[str, str]:
    """Return the packages of this Python and their versions."""
    found = importlib.metadata.distributions()
    return {canonicalize_name(each.name): each.version for each in found if each.name}


def lock(root: Path, name: str, installed: Mapping[str, str], *, may_lack: bool = False) -> Check:
    """Compare the installed packages with those in a lock.

    Parameters
    ----------
    may_lack
        Whether missing packages only result in a note. A version other than the locked one is a
        problem in any case.
    """
    wanted = pins(root / _REQUIREMENTS / f"{name}.txt")
    differing = {package for package in wanted if installed.get(package) != wanted[package]}
    wrong = [
        f"{package} {installed.get(package, 'is missing')}, not {version}"
        for package, version in wanted.items()
        if package in differing
    ]
    if not wrong:
        return Check(True, f"requirements/{name}.txt: all {len(wanted)} packages match the lock")
    if may_lack and not differing & installed.keys():
        return Check(True, f"requirements/{name}.txt: {NO_CLIENT}: {_INSTALLS[name]}", is_note=True)
    more = f" and {len(wrong) - _MAX_SHOWN} more" if len(wrong) > _MAX_SHOWN else ""
    return Check(
        False,
        f"requirements/{name}.txt differs from the installed packages: "
        f"{'; '.join(wrong[:_MAX_SHOWN])}{more}. Run: {_INSTALLS[name]}",
    )


def wheels(root: Path) -> Iterator[Check]:
    """Check that the wheels in ``wheels/`` are those that the locks name, with the same hashes.

    A package without a wheel there comes from an index, except for the plugin if
    ``pyproject.toml`` has ``wheels`` in its ``find-links``.
    """
    available = wheels_in(root)
    expected = {name for name, _ in available}
    if WHEELS in _pyproject(root).get("tool", {}).get("uv", {}).get("find-links", []):
        expected.add(PLUGIN)
    locks = [f"{_REQUIREMENTS}/{file.name}" for file in sorted(root.glob(f"{_REQUIREMENTS}/*.txt"))]
    missing: dict[tuple[str, str], str] = {}
    named: set[Pin] = set()
    for name in locks:
        for pin in read_lock(root / name):
            if pin.name in expected:
                named.add(pin)
                if (pin.name, pin.version) not in available:
                    missing.setdefault((pin.name, pin.version), name)
    for (package, version), name in missing.items():
        others = [each for wheel, each in available if wheel == package]
        content = f"has only {', '.join(others)}" if others else "has no wheel for it"
        yield Check(
            False,
            f"{name} names {package}=={version}, but {WHEELS}/ {content}. Restore the wheel (git "
            f"checkout -- {WHEELS}), lock again (make lock), or, if {package} is on your index, "
            f"remove its wheels and find-links in pyproject.toml.",
        )
    try:
        refuse_changed_wheels(root, locks)
    except OperationError as error:
        yield Check(False, str(error))
        return
    if named and not missing:
        yield Check(True, f"{WHEELS}/ has the wheels that the locks name: {_format_pins(named)}")


def snapshot(root: Path) -> Check:
    """Check the files to upload: no link may point outside the project."""
    try:
        files = files_to_upload(root)
        refuse_links_that_leave(root, files)
    except OperationError as error:
        return Check(False, str(error))
    return Check(True, f"{len(files)} files would be uploaded, none from outside the project")


def settings_of(root: Path, env: str) -> Iterator[Check]:
    """Check ``mlops.yml`` of an environment, and that the scorer it names can be imported."""
    try:
        config = read_mlops(root, env)
    except (OperationError, YAMLError) as error:
        yield Check(False, str(error))
        return
    yield Check(True, "mlops.yml is valid")
    if config.scorer:
        yield scorer(config.scorer)


def scorer(name: str) -> Check:
    """Check that a scorer, ``package.module:function``, can be imported."""
    module, _, function = name.partition(":")
    subject = f"scorer: {name} in mlops.yml"
    try:
        found = getattr(importlib.import_module(module), function, None)
    except Exception as error:  # noqa: BLE001, an import may raise anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        return Check(False, f"{subject} cannot be imported: {reason}")
    if not callable(found):
        return Check(
            False, f"{subject}: {module} has no function {function or '(write pkg.mod:f)'}"
        )
    return Check(True, f"the scorer {name} can be imported")


def compiles(root: Path, env: str) -> Check:
    """Check ``azureml.yml`` of an environment: its job must compile."""
    try:
        steps = compile_job(env, write=False, root=root).job["jobs"]
    except (OperationError, YAMLError) as error:
        return Check(False, str(error))
    return Check(True, f"the configuration compiles, steps: {', '.join(steps)}")


def job_packages(root: Path, env: str) -> Iterator[Check]:
    """Check that jobs install the plugin, if the project's locks define their environment."""
    environment = None
    with suppress(OperationError, YAMLError):  # reported by compiles
        environment = read_azureml(root, env).environment
    if not isinstance(environment, Environment) or environment.dockerfile:
        return
    if not names_plugin(root, environment.locks):
        yield Check(
            False,
            f"jobs would not install {PLUGIN}, so none could run. Add {PLUGIN}[azure] to "
            f"{' or '.join(environment.locks)} (environment.locks in azureml.yml)",
        )


def _existing_environment(root: Path, env: str) -> str:
    known = environments(root)
    if env not in {"base", *known}:
        folder = configuration_folder(root)
        raise OperationError(f"there is no environment {env} in {folder}: {', '.join(known)}")
    return env


def _has_configuration(root: Path, env: str, name: str) -> bool:
    folder = root / configuration_folder(root)
    return any(any(folder.glob(f"{layer}/{name}.y*ml")) for layer in ("base", env))


def _pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def _format_pins(named: set[Pin]) -> str:
    return ", ".join(sorted({f"{pin.name} {pin.version}" for pin in named}))
