import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kedro_azure_mlops.config import read_mlops
from kedro_azure_mlops.contract import write_manifest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve import process
from kedro_azure_mlops.serve.code import ENTRY, ServedCode, copy_served_code, trusted_types
from kedro_azure_mlops.serve.packages import PLAIN, STORED, lock_of, names_of
from kedro_azure_mlops.serve.process import Prepared, write_image_context
from tests.plugin.helpers import REPOSITORY
from tests.plugin.trained import LOCK, project_with_scorer, save_small_model, set_scorer

PLUGIN = REPOSITORY / "src/kedro_azure_mlops"
ALLOWED = {"azureml_inference_server_http", "flask", "gunicorn", "numpy", "prometheus_client"}
STORED_MODEL_PACKAGES = {"pandas", "skops"}
SERVERS = ("answers", "collector", "connections", "local", "metrics", "online", "plain")
SCORING_FILES = {
    *("kedro_azure_mlops/__init__.py", "kedro_azure_mlops/contract.py", "served.json"),
    "kedro_azure_mlops/explain.py",
    "kedro_azure_mlops/values.py",
    "kedro_azure_mlops/windows.py",
    *(f"kedro_azure_mlops/serve/{name}.py" for name in ("__init__", "request", "score", "stream")),
    *(f"kedro_azure_mlops/serve/{name}.py" for name in ("record", "parts")),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project served by its scorer; tests must not change it."""
    return project_with_scorer(tmp_path_factory.mktemp("served") / "project")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that a test may change."""
    return project_with_scorer(tmp_path / "project")


@pytest.fixture(scope="module")
def code(root: Path, tmp_path_factory: pytest.TempPathFactory) -> ServedCode:
    model = save_small_model(tmp_path_factory.mktemp("trained") / "model")
    target = tmp_path_factory.mktemp("code") / "code"
    return copy_served_code(root, read_mlops(root, "local"), target, model=model)


def copy_code(root: Path, target: Path) -> ServedCode:
    return copy_served_code(root, read_mlops(root, "local"), target)


def file_names(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in files}


def imported_modules(path: Path) -> set[str]:
    """Return the names of all modules that a file imports, also inside functions."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    return imported


def test_served_code_has_the_score_function_the_servers_and_the_scorer(code: ServedCode) -> None:
    servers = {f"kedro_azure_mlops/serve/{name}.py" for name in SERVERS}
    project_files = {f"plant/{name}.py" for name in ("__init__", "rolling", "weights")}
    assert file_names(code.folder) == SCORING_FILES | servers | project_files
    assert (code.folder / ENTRY).is_file()
    served = json.loads((code.folder / "served.json").read_text(encoding="utf-8"))
    assert served == {"scorer": "plant.rolling:load", "trusted": []}
    assert code.engine == "the rolling mean"
    assert "numpy" in code.packages()
    assert not {"kedro", "mlflow", "pandas", "scikit-learn"} & code.packages()


def test_scoring_finds_modules_that_are_imported_late(root: Path, tmp_path: Path) -> None:
    without_model = copy_code(root, tmp_path / "code")
    assert "plant/weights.py" not in file_names(without_model.folder)
    assert without_model.engine is None


def test_served_files_are_copies_of_those_in_project_and_plugin(
    code: ServedCode, root: Path
) -> None:
    for name in file_names(code.folder) - {"served.json"}:
        source = root / "src" / name if name.startswith("plant/") else PLUGIN.parent / name
        assert (code.folder / name).read_bytes() == source.read_bytes()


def test_old_files_in_the_target_folder_are_removed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/config.json").write_text("{}", encoding="utf-8")
    copy_code(root, tmp_path / "code")
    assert "config.json" not in file_names(tmp_path / "code")


@pytest.mark.parametrize("has_scorer", [True, False], ids=["scorer", "stored model"])
def test_served_code_imports_only_itself_and_the_serving_environment(
    project: Path, tmp_path: Path, has_scorer: bool
) -> None:
    if not has_scorer:
        set_scorer(project, "null")
    folder = copy_code(project, tmp_path / "code").folder
    allowed = (
        sys.stdlib_module_names | ALLOWED | (STORED_MODEL_PACKAGES if not has_scorer else set())
    )
    own_modules = {name.removesuffix(".py").replace("/", ".") for name in file_names(folder)}
    # connections.py also supports uvicorn, if that is the server
    late = {"uvicorn.protocols.http.auto.AutoHTTPProtocol"}
    late |= {"pyarrow", "pyarrow.parquet"}  # parts.py writes gzip without it
    # collector.py imports Azure's package, which needs pandas, if the lock has it
    azure = "azureml.ai.monitoring"
    late |= {"pandas", f"{azure}.Collector", f"{azure}.context.BasicCorrelationContext"}
    if has_scorer:
        late.add("kedro_azure_mlops.serve.stored.load_stored_scorer")
    for path in sorted((folder / "kedro_azure_mlops").rglob("*.py")):
        for module in imported_modules(path) - late:
            if module.startswith("kedro_azure_mlops"):
                assert {module, module.rpartition(".")[0]} & {
                    *own_modules,
                    *(name.removesuffix(".__init__") for name in own_modules),
                }, f"{path.name} imports {module}"
            else:
                assert module.split(".")[0] in allowed, f"{path.name} imports {module}"


def test_the_servers_can_be_left_out(root: Path, tmp_path: Path) -> None:
    mlops = read_mlops(root, "local")
    copy_served_code(root, mlops, tmp_path / "code", with_servers=False)
    files = file_names(tmp_path / "code")
    assert not [name for name in files if Path(name).stem in SERVERS]


def test_the_served_code_runs_without_the_plugin_and_the_project(
    code: ServedCode, tmp_path: Path
) -> None:
    """As on a server, only the folder, numpy and the standard library are available."""
    model, request = save_small_model(tmp_path / "model"), tmp_path / "request"
    script = (
        f"import sys; sys.path.insert(0, {str(code.folder)!r})\n"
        "for name in ('kedro', 'mlflow', 'pandas', 'sklearn'): sys.modules[name] = None\n"
        "from kedro_azure_mlops.serve import score; score.init()\n"
        f"print(score.run(open({str(request)!r}, 'rb').read()).status)\n"
        "import kedro_azure_mlops; print(kedro_azure_mlops.__file__)"
    )
    from kedro_azure_mlops.serve.model import example_request

    request.write_text(example_request(model), encoding="utf-8")
    completed = subprocess.run(
        [sys.executable, "-c", script],
        env={"AZUREML_MODEL_DIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.stderr == ""
    status, file = completed.stdout.split()
    assert (status, Path(file).is_relative_to(code.folder)) == ("200", True)


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ("plant.none:load", "plant.none:load cannot be imported: No module named 'plant.none'"),
        ("plant.rolling:none", "has no attribute 'none'"),
        ("plant.broken:load", "plant.broken:load cannot be imported: No module named 'torchery'"),
    ],
)
def test_a_scorer_that_cannot_be_imported_is_rejected(
    project: Path, tmp_path: Path, scorer: str, message: str
) -> None:
    (project / "src/plant/broken.py").write_text("import torchery\n", encoding="utf-8")
    set_scorer(project, scorer)
    with pytest.raises(OperationError, match=re.escape(message)):
        copy_code(project, tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_a_scorer_whose_answers_differ_from_training_is_rejected(
    project: Path, tmp_path: Path
) -> None:
    model = save_small_model(tmp_path / "model")
    (model / "rolling.json").write_text('{"limit": 1, "units": []}', encoding="utf-8")
    write_manifest(model)
    with pytest.raises(OperationError, match="training recorded"):
        copy_served_code(project, read_mlops(project, "local"), tmp_path / "code", model=model)


@pytest.mark.parametrize("champion_of", [None, "prod"])
def test_a_model_that_this_code_cannot_serve_is_named_with_advice(
    project: Path, tmp_path: Path, champion_of: str | None
) -> None:
    model = save_small_model(tmp_path / "model")
    weights = model / "rolling.json"
    valid = weights.read_text(encoding="utf-8")

    def copy_with_model() -> ServedCode:
        write_manifest(model)
        return copy_served_code(
            project,
            read_mlops(project, "local"),
            tmp_path / "code",
            model=model,
            label="plant version 3",
            champion_of=champion_of,
        )

    weights.write_text("{", encoding="utf-8")
    with pytest.raises(OperationError, match=r"^plant version 3 cannot be served: ") as error:
        copy_with_model()
    assert str(model) not in str(error.value)
    rollback_advice = (
        ", or return to the previous champion: kedro mlops rollback --env prod --reason TEXT"
    )
    assert error.value.next == f"train again with this code{rollback_advice if champion_of else ''}"
    weights.write_text(valid, encoding="utf-8")
    assert copy_with_model().engine


def test_types_trusted_by_the_catalog_are_served_with_their_modules(
    project: Path, tmp_path: Path
) -> None:
    set_scorer(project, "null")
    catalog = project / "conf/base/catalog.yml"
    entry = "  type: kedro_azure_mlops.models.ModelDataset\n"
    text = catalog.read_text(encoding="utf-8")
    types = "  trusted: [plant.rolling.RollingLoad, numpy.random.Generator]\n"
    catalog.write_text(text.replace(entry, entry + types, 1), encoding="utf-8")
    mlops = read_mlops(project, "local")
    trusted = trusted_types(project, "local", mlops)
    assert trusted == ("plant.rolling.RollingLoad", "numpy.random.Generator")
    folder = copy_served_code(project, mlops, tmp_path / "code", trusted=trusted).folder
    assert "plant/rolling.py" in file_names(folder)
    served = json.loads((folder / "served.json").read_text(encoding="utf-8"))
    assert served == {"scorer": None, "trusted": list(trusted)}


# Packages of the serving environment


def test_a_partial_lock_keeps_pins_and_hashes(project: Path) -> None:
    part = lock_of(project, ["numpy", "pandas"], PLAIN)
    assert names_of(part) == {"numpy", *PLAIN}  # pandas is imported but not locked
    assert all(line in LOCK.splitlines() for line in part.splitlines())
    assert part.count("--hash=sha256:") == 3


def test_dependencies_of_imported_packages_are_included(project: Path) -> None:
    lock = project / "requirements/serve.txt"
    pin = " \\\n    --hash=sha256:" + "0" * 64 + "\n"
    extra_pins = "".join(
        f"{name}==1.0{pin}" for name in ("Scikit_Learn", "joblib", "scipy", "flask")
    )
    lock.write_text("# a comment\n" + LOCK + extra_pins, encoding="utf-8")
    assert names_of(lock_of(project, ["scikit-learn"])) == {
        "joblib",
        "numpy",
        "scikit-learn",
        "scipy",
    }


def test_packages_missing_from_the_lock_are_rejected(project: Path) -> None:
    with pytest.raises(OperationError, match="does not name pandas, scikit-learn, skops: add it"):
        lock_of(project, [], STORED)
    (project / "requirements/serve.txt").unlink()
    with pytest.raises(OperationError, match=r"requirements/serve\.txt cannot be read"):
        lock_of(project, ["numpy"])


# The image


@pytest.fixture
def prepared(project: Path, tmp_path: Path) -> Prepared:
    model = save_small_model(tmp_path / "model")
    result = process.prepare("local", model, project)
    write_image_context(result, project)
    return result


def test_the_image_context_holds_exactly_the_copied_files(prepared: Prepared) -> None:
    lines = (prepared.folder / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {
        line.split()[1]
        for line in lines
        if line.startswith("COPY") and not line.startswith("COPY --from")
    }
    assert copied == {"code", "model", "requirements.txt"}
    files = {path.name for path in prepared.folder.iterdir()}
    assert files == copied | {"Dockerfile", "request.json"}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"ARG IMAGE=python:{version}-slim" in lines
    lock = (prepared.folder / "requirements.txt").read_text(encoding="utf-8")
    assert names_of(lock) == {"numpy", *PLAIN}


def test_the_image_is_pinned_and_runs_as_an_unprivileged_user() -> None:
    lines = (PLUGIN / "serve/Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM ${IMAGE}@${IMAGE_DIGEST} AS packages",
        "FROM ${IMAGE}@${IMAGE_DIGEST}",
    ]
    assert "ARG IMAGE_DIGEST" in lines  # has no default, so a build must set it
    assert "USER 10001:10001" in lines
    assert lines.index("USER 10001:10001") > lines.index("COPY model /app/model")
