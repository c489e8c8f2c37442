"""Helpers shared by all tests: rendered projects and attempts to render."""

import ast
import os
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cookiecutter.main import cookiecutter

if TYPE_CHECKING:  # importing it takes a second
    from mlflow import MlflowClient

ROOT = Path(__file__).parent.parent
USERS_ENVIRONMENT = dict(os.environ)  # with the user's caches and package index
PROJECT = "{{cookiecutter.project_slug}}"

# Prefixes of variables in the user's shell that must not reach a render.
LEAKING = (
    "ARGS", "AZURE", "CI", "CONDA", "COOKIECUTTER", "ENV", "GIT_", "GITHUB_", "KEDRO", "MAKE",
    "MFLAGS", "MLFLOW", "PARAMS", "PORT", "PYTHON", "SYSTEM_", "TF_BUILD", "UV_PYTHON", "VENV",
    "VIRTUAL_ENV", "XDG_",
)  # fmt: skip


def clean_environment(**changes: str) -> dict[str, str]:
    """Return the environment of a shell that has just been opened."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(LEAKING)}
    return kept | {"LC_ALL": "C.UTF-8"} | changes


@dataclass(frozen=True)
class BakedProject:
    """A rendered project."""

    path: Path

    @property
    def shell(self) -> dict[str, str]:
        """Variables that keep bytecode out of renders, which tests share."""
        return {"PYTHONDONTWRITEBYTECODE": "1"}

    @property
    def files(self) -> set[str]:
        """Names of all files except git's, relative and with slashes."""
        paths = (path for path in self.path.rglob("*") if path.is_file())
        names = {path.relative_to(self.path).as_posix() for path in paths}
        return {name for name in names if not name.startswith(".git/")}

    def has_file(self, name: str) -> bool:
        """Return whether a file exists."""
        return (self.path / name).is_file()

    def read(self, name: str) -> str:
        """Return the text of a file with its line ends unchanged."""
        return (self.path / name).read_bytes().decode("utf-8")

    def toml(self, name: str) -> dict[str, Any]:
        """Return the content of a TOML file."""
        return tomllib.loads(self.read(name))

    def yaml(self, name: str) -> Any:
        """Return the content of a YAML file, with scalars as text so that `on` stays a key."""
        return yaml.load(self.read(name), Loader=yaml.BaseLoader)  # noqa: S506

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, in a clean environment."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.path,
            env=clean_environment(**self.shell, **environment),
            capture_output=True,
            text=True,
        )


@dataclass(frozen=True)
class Tracked:
    """The MLflow store of a project."""

    runs: list[dict[str, Any]]
    versions: list[int]
    models: dict[str, dict[str, int]]


@dataclass(frozen=True)
class InstalledProject(BakedProject):
    """A rendered project that uses the environment of these tests."""

    @property
    def shell(self) -> dict[str, str]:
        """Variables that make the project's package importable, as if it were installed."""
        return {"PYTHONPATH": str(self.path / "src")}

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Make a target, without uv so that nothing is installed into the tests' environment."""
        return self.run("make", "UV=false", *arguments, **environment)

    def python(self, code: str) -> str:
        """Run some code in its environment and return the output."""
        process = self.run(".venv/bin/python", "-c", code)
        assert process.returncode == 0, process.stderr
        return process.stdout

    def tracked(self) -> Tracked:
        """Return the content of its MLflow store."""
        client = self.client()
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
        models = client.search_registered_models()
        versions = [v for m in models for v in client.search_model_versions(f"name='{m.name}'")]
        return Tracked(
            [{"status": run.info.status, **run.data.to_dictionary()} for run in runs],
            sorted(int(version.version) for version in versions),
            {m.name: {alias: int(v) for alias, v in m.aliases.items()} for m in models},
        )

    def client(self) -> "MlflowClient":
        """Return a client of its MLflow store for this process."""
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{(self.path / 'mlruns.db').as_posix()}")


@dataclass(frozen=True)
class Attempt:
    """A call of cookiecutter, which may have been refused."""

    output: Path
    status: int
    printed: str

    @property
    def succeeded(self) -> bool:
        """Return whether the project was rendered."""
        return self.status == 0

    @property
    def left_nothing(self) -> bool:
        """Return whether the output folder is still empty."""
        return not any(self.output.iterdir())

    @property
    def project(self) -> BakedProject:
        """The rendered project."""
        (path,) = self.output.iterdir()
        return BakedProject(path)

    @property
    def retry(self) -> list[str]:
        """The words of the command that the message suggests."""
        (line,) = (line for line in self.printed.splitlines() if line.startswith("  cookiecutter "))
        return shlex.split(line)


def render(template: Path, output: Path, **answers: str) -> BakedProject:
    """Render the template into a folder."""
    path = cookiecutter(
        str(template),
        no_input=True,
        extra_context=answers,
        default_config=True,
        output_dir=str(output),
    )
    return BakedProject(Path(path))


def read_manifest(name: str, package: str) -> set[str]:
    """Return the file names in a manifest, with the name of the package filled in."""
    text = (ROOT / "tests" / "template" / "manifest" / f"{name}.txt").read_text(encoding="utf-8")
    return set(text.replace("<package>", package).splitlines())


def tool(name: str) -> Path:
    """Return the path of one of the template's tools."""
    return Path(sys.executable).parent / name


def yamllint_of(project: Path) -> list[str | Path]:
    """Return the yamllint command of a rendered project's hook."""
    hooks = yaml.safe_load((project / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (hook,) = (hook for hook in hooks["repos"][0]["hooks"] if hook["id"] == "yamllint")
    return [tool("yamllint"), *shlex.split(hook["entry"])[1:]]


def read_hook_words(name: str) -> set[str]:
    """Return the words of a list in the source of the hook."""
    source = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
            texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
            return {word for text in texts for word in str(text).split()}
    raise LookupError(name)


def virtual_environment(folder: Path, *packages: str) -> Path:
    """Return the Python of a new environment; skip the test if its packages do not install."""
    uv = ["sh", str(ROOT / "tools/uv.sh")]
    subprocess.run([*uv, "venv", "--quiet", "--python", ">=3.11,<3.14", str(folder)], check=True)
    python = folder / "bin/python"
    installed = subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", str(python), *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"these packages cannot be installed together: {installed.stderr[-500:]}")
    return python
