"""What must be right on this machine before anything goes to Azure; a fault says what to do."""

import importlib.metadata
import platform
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yaml import YAMLError

from {{ cookiecutter.package_name }}.errors import ProjectError
from {{ cookiecutter.package_name }}.tracking.code_version import ask_git

from operation.azureml.compilation.job import compile_job
from operation.azureml.config import CONFIGURATION
from operation.azureml.locks import pins
from operation.azureml.project import read_project
from operation.azureml.snapshot import files_to_upload, refuse_links_that_leave
from operation.errors import OperationError

_NO_ENVIRONMENTS = {"base", "local"}
_NAMED = 3  # of the packages that are not as locked
# which verb of make installs which lock
_SETS = {"run": "make setup", "dev": "make setup", "azure": "make azure"}


@dataclass(frozen=True)
class Check:
    """What was looked at and how it is; for a fault also what to do."""

    is_ok: bool
    text: str


def environments(root: Path) -> list[str]:
    """Name the environments that are configured for Azure."""
    files = (root / CONFIGURATION).glob("*/azureml.yml")
    return sorted({file.parent.name for file in files} - _NO_ENVIRONMENTS)


def machine(root: Path) -> list[Check]:
    """Check all that needs no network and no sign-in."""
    return [
        python_version(root, platform.python_version()),
        *git(root),
        *(lock(root, name, installed_packages()) for name in _SETS),
        snapshot(root),
    ]


def python_version(root: Path, version: str) -> Check:
    """Compare a Python with what ``pyproject.toml`` asks for."""
    from packaging.specifiers import SpecifierSet

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["requires-python"]
    if version in SpecifierSet(wanted):
        return Check(True, f"Python {version}")
    return Check(
        False,
        f"Python {version}, but the project asks for {wanted}. Install one, remove .venv and type: "
        "make setup",
    )


def git(root: Path) -> list[Check]:
    """Check that a run can know its commit."""
    if shutil.which("git") is None:
        return [Check(False, "git is not installed, so runs cannot know their commit: install it")]
    commit = ask_git(root, "rev-parse", "--short", "HEAD")
    if commit is None:
        todo = "git init && git add --all && git commit -m Start"
        return [Check(False, f"There is no commit, so runs cannot know theirs. Type: {todo}")]
    changed = len((ask_git(root, "status", "--porcelain", "--", ".") or "").splitlines())
    state = f"files not committed: {changed}" if changed else "all is committed"
    return [Check(True, f"git: commit {commit}, {state}")]


def installed_packages() -> dict[str, str]:
    """List the packages of this Python and their versions."""
    from packaging.utils import canonicalize_name

    found = importlib.metadata.distributions()
    return {canonicalize_name(each.name): each.version for each in found if each.name}


def lock(root: Path, name: str, installed: Mapping[str, str]) -> Check:
    """Compare what is installed with what a lock names."""
    wanted = pins(root / "requirements" / f"{name}.txt")
    wrong = [
        f"{package} {installed.get(package, 'is missing')}, not {version}"
        for package, version in wanted.items()
        if installed.get(package) != version
    ]
    if not wrong:
        return Check(True, f"requirements/{name}.txt: all {len(wanted)} packages are as locked")
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return Check(
        False,
        f"requirements/{name}.txt is not what is installed: {'; '.join(wrong[:_NAMED])}{more}. "
        f"Type: {_SETS[name]}",
    )


def snapshot(root: Path) -> Check:
    """Check what would be uploaded: no link may lead out of the project."""
    try:
        files = files_to_upload(root)
        refuse_links_that_leave(root, files)
    except OperationError as error:
        return Check(False, str(error))
    return Check(True, f"{len(files)} files would be uploaded, none from outside the project")


def compiles(root: Path, env: str) -> Check:
    """Check the configuration of an environment: its job must compile."""
    try:
        steps = compile_job(read_project(env, root=root))["jobs"]
    except (OperationError, ProjectError, YAMLError) as error:
        return Check(False, str(error))
    return Check(True, f"the configuration compiles, steps: {', '.join(steps)}")
