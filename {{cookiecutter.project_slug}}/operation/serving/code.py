"""The code that a server gets: what scoring needs, in the layout of the project, and no more."""

import shutil
from pathlib import Path

PACKAGE = "{{ cookiecutter.package_name }}"
# The rest of `operation/serving` works on a laptop: it is not sent.
_SERVER = (
    "operation/__init__.py",
    "operation/serving/__init__.py",
    "operation/serving/answers.py",
    "operation/serving/local.py",
    "operation/serving/metrics.py",
    "operation/serving/online.py",
    "operation/serving/plain.py",
)
_CORE = (f"src/{PACKAGE}/__init__.py", f"src/{PACKAGE}/score.py", f"src/{PACKAGE}/scoring/*.py")


def copy_served_code(target: Path) -> None:
    """Write what serving needs into a folder, and nothing else: what was there is removed."""
    _copy((*_SERVER, *_CORE), target)


def copy_score_function(target: Path) -> None:
    """Write the score function alone into a folder, and nothing else."""
    _copy(_CORE, target)


def _copy(patterns: tuple[str, ...], target: Path) -> None:
    root = Path(__file__).parents[2]
    shutil.rmtree(target, ignore_errors=True)
    for file in sorted(file for pattern in patterns for file in root.glob(pattern)):
        copy = target / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
