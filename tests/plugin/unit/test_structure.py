"""Rules for the source of the plugin: its imports, and no words of the template."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kedro_azure_mlops
from tests.plugin.helpers import ROOT, new_shell

PACKAGE = Path(kedro_azure_mlops.__file__).parent
# packages that take seconds to import or are not dependencies of the plugin
HEAVY = ("azure", "azureml", "adlfs", "mlflow", "sklearn", "onnxruntime")
# packages of servers and of updates: modules that need them cannot be imported here
ELSEWHERE = ("azureml_inference_server_http", "prometheus_client", "gunicorn", "cookiecutter")
# words of the template's sample; "reading" alone is also an ordinary word
SAMPLE_WORDS = re.compile(
    r"temperature|sensor|\breadings\b|\b(a|one|each|every|the|bad|invalid) reading\b|forest|anomal",
    re.IGNORECASE,
)


def modules() -> list[str]:
    """Return the names of all modules of the plugin."""
    files = [file.relative_to(PACKAGE.parent) for file in sorted(PACKAGE.rglob("*.py"))]
    names = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    return [name for name in names if not name.endswith("__main__")]


def run_program(program: str) -> str:
    """Run a program in a new process and return its output."""
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=new_shell(),
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.strip()


def test_importing_any_module_does_not_import_azure_or_mlflow() -> None:
    """Import all modules in one process and name the first that imports a heavy package."""
    program = f"""
import importlib, json, sys
found = {{}}
for name in {modules()}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in {ELSEWHERE}:
            raise
    for heavy in {HEAVY}:
        if heavy in sys.modules:
            found.setdefault(heavy, name)
print(json.dumps(found))
"""
    assert json.loads(run_program(program).splitlines()[-1]) == {}


def test_every_kedro_command_imports_only_a_few_light_modules() -> None:
    program = """
import kedro.framework.cli, sys
before = set(sys.modules)
import kedro_azure_mlops.cli, kedro_azure_mlops.hooks
ours = {name for name in set(sys.modules) - before if name.startswith("kedro_azure_mlops")}
print(sorted(ours))
print(sorted(name for name in ("pydantic", "pandas", "numpy") if name in set(sys.modules) - before))
"""
    ours, others = run_program(program).splitlines()[-2:]
    assert others == "[]"
    assert len(ast.literal_eval(ours)) <= 6


def test_the_pytest_plugin_imports_no_other_modules() -> None:
    program = f"""
import pytest, sys
before = set(sys.modules)
import kedro_azure_mlops.testing.plugin
loaded = set(sys.modules) - before
print(sorted(name for name in loaded if name.split(".")[0] in {(*HEAVY, "kedro", "cryptography")}))
print(sorted(name for name in loaded if name.startswith("kedro_azure_mlops")))
"""
    heavy, ours = run_program(program).splitlines()
    assert heavy == "[]"
    names = ("", ".testing", ".testing.plugin")
    assert ast.literal_eval(ours) == [f"kedro_azure_mlops{name}" for name in names]


FILES = sorted(
    file.relative_to(PACKAGE).as_posix()
    for file in PACKAGE.rglob("*")
    if file.is_file() and "__pycache__" not in file.parts
)


@pytest.mark.parametrize("name", FILES)
def test_no_file_mentions_the_sample(name: str) -> None:
    lines = (PACKAGE / name).read_text(encoding="utf-8").splitlines()
    mentions = [
        f"{n}: {line.strip()}" for n, line in enumerate(lines, 1) if SAMPLE_WORDS.search(line)
    ]
    assert mentions == []


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_a_template(name: str) -> None:
    text = (PACKAGE / name).read_text(encoding="utf-8")
    assert not re.search(r"\{\{ ?cookiecutter\.package", text)


def test_sample_words_are_recognized() -> None:
    for line in ("a bad reading", "readings", "the Sensor", "IsolationForest", "ANOMALIES"):
        assert SAMPLE_WORDS.search(line)
    for line in ("reading the file", "import threading", "while reading a file"):
        assert not SAMPLE_WORDS.search(line)
