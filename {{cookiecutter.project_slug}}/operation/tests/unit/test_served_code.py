import ast
import sys
from pathlib import Path

import pathspec
import pytest

from operation.serving.code import PACKAGE, copy_served_code
from operation.serving.packages import DEVICE, PLAIN, part_of_lock
from operation.tests.helpers import ROOT

ALLOWED = {"azureml_inference_server_http", "flask", "numpy", "onnxruntime", "prometheus_client"}
LOCK = (ROOT / "requirements/serve.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "code"
    copy_served_code(folder)
    return folder


def names(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in files}


def modules(path: Path, package: str) -> set[str]:
    """Names of the modules that a file imports, wherever in it, written in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: 1 - node.level or None]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def test_what_is_served_is_the_score_function_and_the_servers_around_it(code: Path) -> None:
    scoring = {f"src/{PACKAGE}/scoring/{path.name}" for path in scoring_files()}
    servers = ("__init__", "answers", "local", "metrics", "online", "plain")
    assert names(code) == scoring | {
        "operation/__init__.py",
        f"src/{PACKAGE}/__init__.py",
        f"src/{PACKAGE}/score.py",
        *(f"operation/serving/{name}.py" for name in servers),
    }


def scoring_files() -> list[Path]:
    return list((ROOT / "src" / PACKAGE / "scoring").glob("*.py"))


def test_what_is_served_has_the_bytes_of_the_project(code: Path) -> None:
    assert all((code / name).read_bytes() == (ROOT / name).read_bytes() for name in names(code))


def test_what_was_there_is_removed(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/config.json").write_text("{}", encoding="utf-8")
    copy_served_code(tmp_path / "code")
    assert "config.json" not in names(tmp_path / "code")


def test_served_code_imports_itself_and_the_serving_environment_only(code: Path) -> None:
    for path in sorted(code.rglob("*.py")):
        parts = path.relative_to(code).with_suffix("").parts[path.parts[len(code.parts)] == "src" :]
        for module in modules(path, ".".join(parts[:-1])):
            top = module.split(".")[0]
            if top in {"operation", PACKAGE}:
                assert is_there(code, module), f"{path.name} imports {module}"
            else:
                assert top in sys.stdlib_module_names | ALLOWED, f"{path.name} imports {module}"


def is_there(code: Path, module: str) -> bool:
    """Whether it is a module of the folder, or a name of one."""
    parents = (module, module.rpartition(".")[0])
    files = [Path(root, *name.split(".")) for name in parents if name for root in ("", "src")]
    return any(
        (code / file).with_suffix(".py").is_file() or (code / file / "__init__.py").is_file()
        for file in files
    )


def test_what_an_import_of_more_would_need_is_seen(tmp_path: Path) -> None:
    guilty = tmp_path / "guilty.py"
    guilty.write_text("from ..features import FEATURES\nimport pandas\n", encoding="utf-8")
    assert modules(guilty, f"{PACKAGE}.scoring") == {
        f"{PACKAGE}.features",
        f"{PACKAGE}.features.FEATURES",
        "pandas",
    }


@pytest.mark.parametrize("wanted", [DEVICE, PLAIN], ids=["device", "plain"])
def test_a_part_of_the_lock_has_its_pins_and_hashes(wanted: tuple[str, ...]) -> None:
    part = part_of_lock(LOCK, wanted)
    pins = [line for line in part.splitlines() if not line.startswith(" ")]
    assert [pin.split("==")[0] for pin in pins] == sorted(wanted)
    assert all(line in LOCK.splitlines() for line in part.splitlines())
    assert part.count("--hash=sha256:") >= 2 * len(wanted)


def test_a_part_that_the_lock_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="does not name pandas: type make lock"):
        part_of_lock(LOCK, (*DEVICE, "pandas"))


def sent_to_docker(name: str) -> bool:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    # Docker's patterns begin at the top, with or without a slash
    rooted = [
        f"{'!' * line.startswith('!')}/{line.lstrip('!').lstrip('/')}"
        for line in lines
        if line and not line.startswith("#")
    ]
    return not pathspec.GitIgnoreSpec.from_lines(rooted).match_file(name)


@pytest.mark.parametrize(
    "name",
    [
        "requirements/serve.txt",
        "operation/serving/packages.py",
        f"build/serve/code/src/{PACKAGE}/score.py",
        "build/serve/code/operation/serving/plain.py",
        "build/serve/model/served/1/detector.json",
        "build/serve/model/served/1/MLmodel",
    ],
)
def test_docker_may_read_what_the_image_is_made_of(name: str) -> None:
    assert sent_to_docker(name)
    copied = [line.split()[1:-1] for line in dockerfile() if line.startswith("COPY build")]
    copied += [line.split()[1:-1] for line in dockerfile() if line.startswith("COPY requirements")]
    assert any(name.startswith(source) for sources in copied for source in sources)


@pytest.mark.parametrize(
    "name",
    [
        "build/serve/request.json",
        "build/bundle/x",
        "dist/bundle.zip",
        "build/serve/code/.env",
        "build/serve/model/key.pem",
        "operation/configuration/local/credentials.yml",
        "data/raw/temperatures.csv",
    ],
)
def test_docker_may_read_nothing_else(name: str) -> None:
    assert not sent_to_docker(name)


def dockerfile() -> list[str]:
    return (ROOT / "operation/serving/Dockerfile").read_text(encoding="utf-8").splitlines()


def test_the_image_is_pinned_and_runs_as_nobody_in_particular() -> None:
    lines = dockerfile()
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM ${IMAGE}@${IMAGE_DIGEST} AS packages",
        "FROM ${IMAGE}@${IMAGE_DIGEST}",
    ]
    assert "ARG IMAGE_DIGEST" in lines  # without a default: nobody forgets it
    assert "USER 10001:10001" in lines
    assert lines.index("USER 10001:10001") > lines.index("COPY build/serve/model /app/model")
