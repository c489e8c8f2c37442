"""The rules of the layout, checked on the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from operation.tests.helpers import ROOT, new_shell

SOURCES = sorted((ROOT / "src").rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_src_knows_neither_azure_nor_operation(path: Path) -> None:
    assert not imported(path) & {"azure", "azureml", "operation"}


def test_a_file_that_imports_azure_would_be_found(tmp_path: Path) -> None:
    guilty = tmp_path / "guilty.py"
    guilty.write_text("def f():\n    from azure.ai import ml\n", encoding="utf-8")
    assert imported(guilty) & {"azure"}


# They run in the environment of requirements/serve.txt alone.
SERVERS = ("answers", "local", "metrics", "online", "plain")
EVERY_MODULE = f"""
import importlib, pathlib, sys
import operation  # finds src
servers = ["operation.serving." + name for name in {SERVERS}]
for folder in ("src", "operation"):
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        parts = path.with_suffix("").parts
        if "tests" not in parts and path.stem not in ("__main__", "__init__"):
            name = ".".join(parts[folder == "src" :])
            if name not in servers:
                importlib.import_module(name)
print(sorted(name for name in sys.modules if name.split(".")[0] in ("azure", "azureml", "adlfs")))
"""


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


def test_no_module_of_ours_imports_azure_by_being_imported() -> None:
    assert printed(EVERY_MODULE).splitlines()[-1] == "[]"


def test_azures_client_does_not_wait_for_a_grammar_of_addresses() -> None:
    slow = "('rfc3987_syntax', 'lark')"  # imported by jsonschema wherever they are installed
    program = f"import azure.ai.ml, sys; print([one for one in {slow} if one in sys.modules])"
    assert printed(program) == "[]"


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.name == "nodes.py"],
    ids=lambda path: path.parent.name,
)
def test_nodes_do_no_io(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    writers = {"to_csv", "to_parquet", "to_json", "to_pickle", "savefig", "write_text", "dump"}
    readers = {"open", "read_csv", "read_parquet", "read_text", "load", "print"}
    assert not called & (writers | readers)
    assert not imported(path) & {"mlflow", "pathlib", "os"}


WHAT_IS_SERVED = """
import sys
before = set(sys.modules)
sys.path.insert(0, "src")
import {{ cookiecutter.package_name }}.score
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(loaded - sys.stdlib_module_names - {"numpy"}))
"""


def test_what_is_served_imports_numpy_and_nothing_else() -> None:
    assert printed(WHAT_IS_SERVED) == "['{{ cookiecutter.package_name }}']"
