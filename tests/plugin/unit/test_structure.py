"""Rules of the layout, checked on the source itself."""

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
# what takes seconds to import, or is not a dependency of the plugin itself
HEAVY = ("azure", "azureml", "adlfs", "mlflow", "sklearn", "onnxruntime")
# of the environments of a server or of updates: modules that need them cannot be imported here
ELSEWHERE = ("azureml_inference_server_http", "prometheus_client", "gunicorn", "cookiecutter")
# words of the sample of the template; "reading" is also an ordinary word
OF_THE_SAMPLE = re.compile(
    r"temperature|sensor|\breadings\b|\b(a|one|each|every|the|bad|invalid) reading\b|forest|anomal",
    re.IGNORECASE,
)


def modules() -> list[str]:
    """Name all modules of the plugin."""
    files = [file.relative_to(PACKAGE.parent) for file in sorted(PACKAGE.rglob("*.py"))]
    names = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    return [name for name in names if not name.endswith("__main__")]


def printed(program: str) -> str:
    """Run a program in a process of its own and return what it prints."""
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=new_shell(),
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.strip()


def test_no_module_imports_azure_or_mlflow_by_being_imported() -> None:
    """Import all modules at once and name the first that brings something heavy along."""
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
    assert json.loads(printed(program).splitlines()[-1]) == {}


def test_what_every_command_of_kedro_imports_is_next_to_nothing() -> None:
    program = """
import kedro.framework.cli, sys
before = set(sys.modules)
import kedro_azure_mlops.cli, kedro_azure_mlops.hooks
ours = {name for name in set(sys.modules) - before if name.startswith("kedro_azure_mlops")}
print(sorted(ours))
print(sorted(name for name in ("pydantic", "pandas", "numpy") if name in set(sys.modules) - before))
"""
    ours, others = printed(program).splitlines()[-2:]
    assert others == "[]"
    assert len(ast.literal_eval(ours)) <= 6


def test_pytest_starts_with_the_plugin_without_importing_anything() -> None:
    program = f"""
import pytest, sys
before = set(sys.modules)
import kedro_azure_mlops.testing.plugin
loaded = set(sys.modules) - before
print(sorted(name for name in loaded if name.split(".")[0] in {(*HEAVY, "kedro", "cryptography")}))
print(sorted(name for name in loaded if name.startswith("kedro_azure_mlops")))
"""
    heavy, ours = printed(program).splitlines()
    assert heavy == "[]"
    names = ("", ".testing", ".testing.plugin")
    assert ast.literal_eval(ours) == [f"kedro_azure_mlops{name}" for name in names]


FILES = sorted(
    file.relative_to(PACKAGE).as_posix()
    for file in PACKAGE.rglob("*")
    if file.is_file() and "__pycache__" not in file.parts
)


@pytest.mark.parametrize("name", FILES)
def test_no_file_knows_the_sample(name: str) -> None:
    lines = (PACKAGE / name).read_text(encoding="utf-8").splitlines()
    known = [
        f"{n}: {line.strip()}" for n, line in enumerate(lines, 1) if OF_THE_SAMPLE.search(line)
    ]
    assert known == []


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_a_template(name: str) -> None:
    text = (PACKAGE / name).read_text(encoding="utf-8")
    assert not re.search(r"\{\{ ?cookiecutter\.package", text)


def test_words_of_the_sample_would_be_found() -> None:
    for line in ("a bad reading", "readings", "the Sensor", "IsolationForest", "ANOMALIES"):
        assert OF_THE_SAMPLE.search(line)
    for line in ("reading the file", "import threading", "while reading a file"):
        assert not OF_THE_SAMPLE.search(line)
