"""The ways out of Azure: their pages are executed, and native tools check the results."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.testing.databricks import TOKEN, Databricks, serving
from tests.helpers import ROOT, USERS_ENVIRONMENT, InstalledProject, clean_environment, tool
from tests.pages import execute_page, read_blocks
from tests.plugin.unit.test_snapshot import read_by_docker

PAGES = ROOT / "docs" / "how-to" / "leave-azure"
LEAVE = ROOT / ".venv-leave" / "bin"  # Airflow, kedro-airflow, kedro-databricks

READ_DAGS = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("dags")
tasks = {dag_id: {task.task_id: [sorted(task.upstream_task_ids), task.bash_command.split()]
                  for task in dag.tasks} for dag_id, dag in bag.dags.items()}
print(json.dumps([bag.import_errors, tasks]))
"""
READ_JOB = """
import json, sys
from databricks.bundles.jobs import Job
try:
    print(json.dumps(Job.from_dict(json.load(sys.stdin)).as_dict()))
except ValueError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module")
def project(install: Callable[..., InstalledProject]) -> InstalledProject:
    """One render for all pages: each uses its own configuration environment."""
    return install()


@pytest.fixture(scope="module")
def image(project: InstalledProject, tmp_path_factory: pytest.TempPathFactory) -> InstalledProject:
    """The image's working folder, with its copied files and data, after its command has run."""
    execute_page(PAGES / "docker.md", project.path)
    app = tmp_path_factory.mktemp("image") / "app"
    for name in read_by_docker(project.path, project.read(".dockerignore")):
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project.path / name, app / name)
    shutil.copytree(project.path / "data" / "raw", app / "data" / "raw")  # mounted
    (app / ".venv").symlink_to(project.path / ".venv")  # the packages of the image
    trained = InstalledProject(app)
    entry, command = (
        json.loads(line)
        for line in re.findall(r"(?m)^(?:ENTRYPOINT|CMD) (.*)$", dockerfile(project))
    )
    process = trained.run(*[f".venv/bin/{entry[0]}", *entry[1:], *command])
    assert process.returncode == 0, process.stdout + process.stderr
    return trained


@pytest.fixture(scope="module")
def path() -> str:
    """PATH with the tools that write DAGs and bundles; skip the test if they are missing."""
    if not (LEAVE / "airflow").exists():
        reason = "Airflow is missing in .venv-leave, which `make setup` creates"
        assert "REQUIRE_LEAVE" not in os.environ, reason
        pytest.skip(reason)
    return os.pathsep.join(map(str, (LEAVE, tool("x").parent, os.environ["PATH"])))


@pytest.fixture(scope="module")
def on_airflow(project: InstalledProject, path: str) -> InstalledProject:
    """The project after its DAG was written and executed completely."""
    execute_page(PAGES / "airflow.md", project.path, seconds=600, PATH=path)
    return project


@pytest.fixture(scope="module")
def job(project: InstalledProject, path: str) -> dict[str, Any]:
    """The job in the target of the asset bundle."""
    execute_page(PAGES / "databricks-jobs.md", project.path, PATH=path)
    (file,) = (project.path / "resources").iterdir()
    jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["targets"]["databricks"]["resources"]
    (definition,) = jobs["jobs"].values()
    return dict(definition)


def dockerfile(project: InstalledProject) -> str:
    return project.read("Dockerfile")


def model_of(folder: Path) -> str:
    return digest(folder / "data" / "processed" / "model")


def ask(code: str, folder: Path, text: str = "") -> Any:
    """Run code in the environment of Airflow and Databricks, and return its JSON output."""
    process = subprocess.run(
        [LEAVE / "python", "-c", code],
        cwd=folder,
        env=clean_environment(AIRFLOW_HOME=str(folder / "build" / "airflow")),
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_the_image_trains_with_its_copied_files(image: InstalledProject) -> None:
    assert image.tracked().models == {"temperature-anomalies": {"champion": 1}}


def test_the_docker_context_is_enough_to_build_the_image(
    project: InstalledProject, image: InstalledProject, tmp_path: Path
) -> None:
    assert project.run(tool("hadolint"), "Dockerfile").returncode == 0
    copied = re.findall(r"(?m)^COPY (\S+) ", dockerfile(project))
    assert copied == ["wheels", "requirements/run.txt", "."]
    assert all((image.path / name).exists() for name in copied)
    (options,) = re.findall(r"(?m)^RUN python -m pip install (.*)$", dockerfile(project))
    uv = ["sh", str(ROOT / "tools" / "uv.sh")]
    subprocess.run([*uv, "venv", "--quiet", str(tmp_path)], check=True)
    arguments = options.replace("--no-cache-dir", "--dry-run").split()
    process = subprocess.run(
        [*uv, "pip", "install", *arguments],
        cwd=image.path,
        env=USERS_ENVIRONMENT | {"VIRTUAL_ENV": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert " + kedro-azure-mlops==" in process.stderr


def test_airflow_runs_nodes_that_share_memory_in_one_task(
    on_airflow: InstalledProject,
) -> None:
    errors, dags = ask(READ_DAGS, on_airflow.path)
    assert errors == {}
    (tasks,) = dags.values()
    assert {name: above for name, (above, _) in tasks.items()} == {
        "clean": [],
        "engineer_features": ["clean"],
        "split_by_time": ["clean", "engineer_features"],
        "collect_metrics": ["split_by_time"],
    }
    nodes = tasks["split_by_time"][1][-1].split(",")
    assert {"compare_detectors", "decide", "choose_model"} < set(nodes)


def test_airflow_tasks_train_the_model_of_a_single_run(
    on_airflow: InstalledProject, image: InstalledProject
) -> None:
    assert model_of(on_airflow.path) == model_of(image.path)
    (tags, runs), (usual, _) = map(champion_and_runs, (on_airflow, image))
    lost = {name for name in usual.keys() - tags.keys() if not name.startswith("champion.since")}
    assert lost == {"data.file.raw_temperatures", "data.path.raw_temperatures"}, "of the first step"
    (job,) = (name for name, (_, is_step) in runs.items() if not is_step)
    assert runs.keys() - {job} == {"clean", "engineer_features", "split_by_time", "collect_metrics"}
    assert {status for status, _ in runs.values()} == {"FINISHED"}


def champion_and_runs(
    project: InstalledProject,
) -> tuple[dict[str, str], dict[str, tuple[str, bool]]]:
    """Return the champion's tags, and each run's status by name and whether it is a step."""
    client = project.client()
    (model,) = client.search_registered_models()
    version = client.get_model_version_by_alias(model.name, "champion")
    runs = client.search_runs([client.get_run(version.run_id).info.experiment_id])
    return version.tags, {
        run.info.run_name.split("+")[0]: (run.info.status, "mlflow.parentRunId" in run.data.tags)
        for run in runs
    }


def test_databricks_classes_accept_the_job(job: dict[str, Any], project: InstalledProject) -> None:
    read = ask(READ_JOB, project.path, json.dumps(job))
    (task,) = read["tasks"]
    assert task["environment_key"] == "default"
    assert read["schedule"]["timezone_id"] == "UTC"
    task["python_wheel_task"]["entrypoint"] = "misspelt"
    assert "Unexpected field 'entrypoint'" in ask(READ_JOB, project.path, json.dumps(read))


def test_databricks_classes_accept_the_cluster_of_the_spark_page(
    job: dict[str, Any], project: InstalledProject
) -> None:
    page = (PAGES.parent / "spark-databricks.md").read_text(encoding="utf-8")
    (text,) = (one.text for one in read_blocks(page) if one.file.endswith("databricks.yml"))
    added = yaml.safe_load(text)["resources"]["jobs"]["default"]
    read = ask(READ_JOB, project.path, json.dumps({"name": job["name"]} | added))
    assert read["job_clusters"][0]["new_cluster"]["num_workers"] == 4
    assert read["tasks"][0]["libraries"] == [{"whl": "../dist/*.whl"}, {"whl": "../wheels/*.whl"}]


def test_the_job_command_trains_in_an_empty_folder(
    job: dict[str, Any], project: InstalledProject, image: InstalledProject, tmp_path: Path
) -> None:
    (task,) = job["tasks"]
    wheel = task["python_wheel_task"]
    assert project.toml("pyproject.toml")["project"]["scripts"] == {
        wheel["entry_point"]: f"{wheel['package_name']}.__main__:main"
    }
    values = {"workspace.file_path": str(project.path), "var.environment": "databricks"}
    arguments = [
        re.sub(r"\$\{(.+?)\}", lambda match: values[match[1]], one) for one in wheel["parameters"]
    ]
    raw = project.path / "data" / "raw"  # represents the volume
    data = f"raw_file={raw / 'temperatures.csv'},labels_file={raw / 'labels.csv'}"
    with serving(Databricks()) as workspace:
        process = subprocess.run(
            [tool("python"), "-m", wheel["package_name"], *arguments, "--params", data],
            cwd=tmp_path,
            env=clean_environment(
                PYTHONPATH=str(project.path / "src"),
                DATABRICKS_HOST=workspace.uri,
                DATABRICKS_TOKEN=TOKEN,
                DATABRICKS_CONFIG_FILE="/nowhere/databrickscfg",
            ),
            capture_output=True,
            text=True,
            check=False,
        )
    output = " ".join((process.stdout + process.stderr).split())
    assert process.returncode == 0, output
    assert workspace.refused == []
    assert "main.models.temperature_anomalies version 1 is now champion" in output
    assert model_of(tmp_path) == model_of(image.path)
