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
from tests.plugin.trained import LOCK, project_with_scorer, save_small_model, serve_by

PLUGIN = REPOSITORY / "src/kedro_azure_mlops"
ALLOWED = {"azureml_inference_server_http", "flask", "gunicorn", "numpy", "prometheus_client"}
OF_STORED_MODELS = {"pandas", "skops"}
SERVERS = ("answers", "collector", "connections", "local", "metrics", "online", "plain")
SCORING = {
    *("kedro_azure_mlops/__init__.py", "kedro_azure_mlops/contract.py", "served.json"),
    "kedro_azure_mlops/explain.py",
    "kedro_azure_mlops/values.py",
    "kedro_azure_mlops/windows.py",
    *(f"kedro_azure_mlops/serve/{name}.py" for name in ("__init__", "request", "score", "stream")),
    *(f"kedro_azure_mlops/serve/{name}.py" for name in ("record", "parts")),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose scorer serves; tests do not change it."""
    return project_with_scorer(tmp_path_factory.mktemp("served") / "project")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A project that a test may change."""
    return project_with_scorer(tmp_path / "project")


@pytest.fixture(scope="module")
def code(root: Path, tmp_path_factory: pytest.TempPathFactory) -> ServedCode:
    model = save_small_model(tmp_path_factory.mktemp("trained") / "model")
    target = tmp_path_factory.mktemp("code") / "code"
    return copy_served_code(root, read_mlops(root, "local"), target, model=model)


def copy(root: Path, target: Path) -> ServedCode:
    return copy_served_code(root, read_mlops(root, "local"), target)


def names(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in files}


def modules(path: Path) -> set[str]:
    """Names of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_what_is_served_is_the_score_function_the_servers_and_the_scorer(code: ServedCode) -> None:
    servers = {f"kedro_azure_mlops/serve/{name}.py" for name in SERVERS}
    of_project = {f"plant/{name}.py" for name in ("__init__", "rolling", "weights")}
    assert names(code.folder) == SCORING | servers | of_project
    assert (code.folder / ENTRY).is_file()
    served = json.loads((code.folder / "served.json").read_text(encoding="utf-8"))
    assert served == {"scorer": "plant.rolling:load", "trusted": []}
    assert code.engine == "the rolling mean"
    assert "numpy" in code.packages()
    assert not {"kedro", "mlflow", "pandas", "scikit-learn"} & code.packages()


def test_modules_that_are_imported_late_are_found_by_scoring(root: Path, tmp_path: Path) -> None:
    without_model = copy(root, tmp_path / "code")
    assert "plant/weights.py" not in names(without_model.folder)
    assert without_model.engine is None


def test_what_is_served_has_the_bytes_of_project_and_plugin(code: ServedCode, root: Path) -> None:
    for name in names(code.folder) - {"served.json"}:
        source = root / "src" / name if name.startswith("plant/") else PLUGIN.parent / name
        assert (code.folder / name).read_bytes() == source.read_bytes()


def test_what_was_there_is_removed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/config.json").write_text("{}", encoding="utf-8")
    copy(root, tmp_path / "code")
    assert "config.json" not in names(tmp_path / "code")


@pytest.mark.parametrize("has_scorer", [True, False], ids=["scorer", "stored model"])
def test_served_code_imports_itself_and_the_serving_environment_only(
    own: Path, tmp_path: Path, has_scorer: bool
) -> None:
    if not has_scorer:
        serve_by(own, "null")
    folder = copy(own, tmp_path / "code").folder
    allowed = sys.stdlib_module_names | ALLOWED | (OF_STORED_MODELS if not has_scorer else set())
    there = {name.removesuffix(".py").replace("/", ".") for name in names(folder)}
    # connections.py is for uvicorn too, where that serves
    late = {"uvicorn.protocols.http.auto.AutoHTTPProtocol"}
    late |= {"pyarrow", "pyarrow.parquet"}  # parts.py writes gzip without it
    # collector.py where the lock has Azure's package, which needs pandas
    azure = "azureml.ai.monitoring"
    late |= {"pandas", f"{azure}.Collector", f"{azure}.context.BasicCorrelationContext"}
    if has_scorer:
        late.add("kedro_azure_mlops.serve.stored.load_stored_scorer")
    for path in sorted((folder / "kedro_azure_mlops").rglob("*.py")):
        for module in modules(path) - late:
            if module.startswith("kedro_azure_mlops"):
                assert {module, module.rpartition(".")[0]} & {
                    *there,
                    *(name.removesuffix(".__init__") for name in there),
                }, f"{path.name} imports {module}"
            else:
                assert module.split(".")[0] in allowed, f"{path.name} imports {module}"


def test_a_score_function_alone_has_no_servers(root: Path, tmp_path: Path) -> None:
    mlops = read_mlops(root, "local")
    copy_served_code(root, mlops, tmp_path / "code", with_servers=False)
    found = names(tmp_path / "code")
    assert not [name for name in found if Path(name).stem in SERVERS]


def test_the_served_code_runs_without_the_plugin_and_the_project(
    code: ServedCode, tmp_path: Path
) -> None:
    """As on a server: nothing but the folder, numpy and the standard library is there."""
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
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"AZUREML_MODEL_DIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    status, file = done.stdout.split()
    assert (status, Path(file).is_relative_to(code.folder)) == ("200", True)


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ("plant.none:load", "plant.none:load cannot be imported: No module named 'plant.none'"),
        ("plant.rolling:none", "has no attribute 'none'"),
        ("plant.broken:load", "plant.broken:load cannot be imported: No module named 'torchery'"),
    ],
)
def test_a_scorer_that_cannot_be_imported_is_refused(
    own: Path, tmp_path: Path, scorer: str, message: str
) -> None:
    (own / "src/plant/broken.py").write_text("import torchery\n", encoding="utf-8")
    serve_by(own, scorer)
    with pytest.raises(OperationError, match=re.escape(message)):
        copy(own, tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_a_scorer_that_answers_otherwise_than_at_training_is_refused(
    own: Path, tmp_path: Path
) -> None:
    model = save_small_model(tmp_path / "model")
    (model / "rolling.json").write_text('{"limit": 1, "units": []}', encoding="utf-8")
    write_manifest(model)
    with pytest.raises(OperationError, match="training recorded"):
        copy_served_code(own, read_mlops(own, "local"), tmp_path / "code", model=model)


@pytest.mark.parametrize("champion_of", [None, "prod"])
def test_a_model_that_this_code_cannot_serve_is_named_with_what_to_do(
    own: Path, tmp_path: Path, champion_of: str | None
) -> None:
    model = save_small_model(tmp_path / "model")
    weights = model / "rolling.json"
    sound = weights.read_text(encoding="utf-8")

    def copied() -> ServedCode:
        write_manifest(model)
        return copy_served_code(
            own,
            read_mlops(own, "local"),
            tmp_path / "code",
            model=model,
            label="plant version 3",
            champion_of=champion_of,
        )

    weights.write_text("{", encoding="utf-8")
    with pytest.raises(OperationError, match=r"^plant version 3 cannot be served: ") as caught:
        copied()
    assert str(model) not in str(caught.value)
    back = ", or return to the previous champion: kedro mlops rollback --env prod --reason TEXT"
    assert caught.value.next == f"train again with this code{back if champion_of else ''}"
    weights.write_text(sound, encoding="utf-8")
    assert copied().engine


def test_types_that_the_catalog_trusts_are_passed_on_with_their_modules(
    own: Path, tmp_path: Path
) -> None:
    serve_by(own, "null")
    catalog = own / "conf/base/catalog.yml"
    entry = "  type: kedro_azure_mlops.models.ModelDataset\n"
    text = catalog.read_text(encoding="utf-8")
    types = "  trusted: [plant.rolling.RollingLoad, numpy.random.Generator]\n"
    catalog.write_text(text.replace(entry, entry + types, 1), encoding="utf-8")
    mlops = read_mlops(own, "local")
    trusted = trusted_types(own, "local", mlops)
    assert trusted == ("plant.rolling.RollingLoad", "numpy.random.Generator")
    folder = copy_served_code(own, mlops, tmp_path / "code", trusted=trusted).folder
    assert "plant/rolling.py" in names(folder)
    served = json.loads((folder / "served.json").read_text(encoding="utf-8"))
    assert served == {"scorer": None, "trusted": list(trusted)}


# What is installed where it serves


def test_a_part_of_the_lock_has_its_pins_and_hashes(own: Path) -> None:
    part = lock_of(own, ["numpy", "pandas"], PLAIN)
    assert names_of(part) == {"numpy", *PLAIN}  # pandas was imported, and is not locked
    assert all(line in LOCK.splitlines() for line in part.splitlines())
    assert part.count("--hash=sha256:") == 3


def test_what_an_imported_package_needs_is_taken_too(own: Path) -> None:
    lock = own / "requirements/serve.txt"
    pin = " \\\n    --hash=sha256:" + "0" * 64 + "\n"
    more = "".join(f"{name}==1.0{pin}" for name in ("Scikit_Learn", "joblib", "scipy", "flask"))
    lock.write_text("# a comment\n" + LOCK + more, encoding="utf-8")
    assert names_of(lock_of(own, ["scikit-learn"])) == {"joblib", "numpy", "scikit-learn", "scipy"}


def test_a_part_that_the_lock_lacks_is_refused(own: Path) -> None:
    with pytest.raises(OperationError, match="does not name pandas, scikit-learn, skops: add it"):
        lock_of(own, [], STORED)
    (own / "requirements/serve.txt").unlink()
    with pytest.raises(OperationError, match=r"requirements/serve\.txt cannot be read"):
        lock_of(own, ["numpy"])


# The image


@pytest.fixture
def prepared(own: Path, tmp_path: Path) -> Prepared:
    model = save_small_model(tmp_path / "model")
    found = process.prepare("local", model, own)
    write_image_context(found, own)
    return found


def test_the_context_of_the_image_holds_all_that_is_copied_and_no_more(prepared: Prepared) -> None:
    lines = (prepared.folder / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {
        line.split()[1]
        for line in lines
        if line.startswith("COPY") and not line.startswith("COPY --from")
    }
    assert copied == {"code", "model", "requirements.txt"}
    there = {path.name for path in prepared.folder.iterdir()}
    assert there == copied | {"Dockerfile", "request.json"}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"ARG IMAGE=python:{version}-slim" in lines
    lock = (prepared.folder / "requirements.txt").read_text(encoding="utf-8")
    assert names_of(lock) == {"numpy", *PLAIN}


def test_the_image_is_pinned_and_runs_as_nobody_in_particular() -> None:
    lines = (PLUGIN / "serve/Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM ${IMAGE}@${IMAGE_DIGEST} AS packages",
        "FROM ${IMAGE}@${IMAGE_DIGEST}",
    ]
    assert "ARG IMAGE_DIGEST" in lines  # without a default it cannot be forgotten
    assert "USER 10001:10001" in lines
    assert lines.index("USER 10001:10001") > lines.index("COPY model /app/model")
