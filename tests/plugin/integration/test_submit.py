"""The unmodified client submits a job, which runs from the uploaded files and is reported."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.azure.follow import run_job
from kedro_azure_mlops.azure.submission import cancel_job, submit_job
from kedro_azure_mlops.errors import OperationError, RefusedError
from tests.plugin.sender import Sender, sender_in, sha256

THREE = {
    "prepare": {"pipelines": ["prepare"]},
    "train": {"pipelines": ["train"]},
    "judge": {"pipelines": ["evaluate"]},
}
SUBMIT = ("submit", "--env", "dev")


@pytest.fixture
def cloud(tmp_path: Path, database: Path) -> Iterator[Sender]:
    """A stand-in that accepts jobs but does not run them."""
    with sender_in(tmp_path, database) as cloud, cloud.azure.hold():
        yield cloud


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Sender]:
    """A project whose job has three steps."""
    with sender_in(tmp_path_factory.mktemp("three"), database) as cloud:
        cloud.configure(steps=THREE)
        yield cloud


@pytest.fixture(scope="module")
def local_scores(three_steps: Sender) -> str:
    """The digest of the scores of a local run."""
    three_steps.project.run(env="dev")
    return sha256(three_steps.project.processed("predictions.csv"))


def test_three_steps_make_the_same_scores_as_a_local_run(
    three_steps: Sender, local_scores: str
) -> None:
    cloud = three_steps
    cloud.azure.reports_models = True
    status, out, err = cloud.mlops(*SUBMIT, "--download", "outputs")
    assert status == 0, err
    lines = out.splitlines()
    assert lines.index("prepare: Completed") < lines.index("train: Running")
    assert any(line.startswith("judge | ") and "decide" in line for line in lines)
    outputs = cloud.project.path / "outputs"
    assert (outputs / "prepare" / "train" / "train.parquet").is_file()
    assert (outputs / "train" / "model" / "MLmodel").is_file()
    assert "Running node" in (outputs / "judge.log").read_text()
    assert sha256(outputs / "train" / "predictions" / "predictions.csv") == local_scores


def test_one_step_makes_the_same_scores(three_steps: Sender, local_scores: str) -> None:
    cloud = three_steps
    cloud.configure()
    status, out, err = cloud.mlops(*SUBMIT, "--wait")
    assert status == 0, err
    assert out.endswith(f"submit: the job {cloud.job()} is done\n")
    cloud.mlops(*SUBMIT, "--job", cloud.job(), "--download", "later")
    later = cloud.project.path / "later" / "pipeline"
    names = {folder.name for folder in later.iterdir()}
    assert names == set(cloud.azure.steps["pipeline"].outputs)
    assert sha256(later / "predictions/predictions.csv") == local_scores


def test_the_submitted_job_is_reported(cloud: Sender) -> None:
    status, out, _ = cloud.mlops(*SUBMIT)
    assert status == 0
    name = cloud.job()
    assert (
        f"submit: submitted the job {name}\n  see it     https://ml.azure.com/runs/{name}?" in out
    )
    for line in (
        f"submit --env dev --job {name}\n",
        f"submit --env dev --job {name} --download DIR\n",
        f"reproduce --env dev --job {name}\n",
    ):
        assert f"kedro mlops {line}" in out


def test_a_second_submit_uploads_nothing(cloud: Sender) -> None:
    cloud.configure(steps=THREE)
    cloud.mlops(*SUBMIT)
    uploaded = {Path(key).name for key in cloud.azure.uploads}
    assert {"hours.csv", "Dockerfile", "pipeline_registry.py"} <= uploaded
    cloud.azure.forget()
    status, out, _ = cloud.mlops(*SUBMIT)
    assert status == 0
    assert cloud.azure.uploads == []
    assert cloud.changed_kinds() == {"components", "jobs"}
    assert out.count(" exists") == 2
    first, second = cloud.resources("jobs").values()
    assert first["jobs"] == second["jobs"]


def test_only_changed_files_are_uploaded(cloud: Sender) -> None:
    cloud.mlops(*SUBMIT)
    cloud.azure.forget()
    (cloud.project.path / "data/raw/hours.csv").write_text("load,pressure,energy\n")
    _, out, _ = cloud.mlops(*SUBMIT)
    assert [Path(key).name for key in cloud.azure.uploads] == ["hours.csv"]
    assert "uploading data/raw/hours.csv (21 bytes) as raw_hours:" in out
    assert len([key for key in cloud.resources("data") if key.startswith("raw_hours/")]) == 2
    cloud.azure.forget()
    (cloud.project.path / "src" / "new.py").touch()
    cloud.mlops(*SUBMIT)
    names = {Path(key).name for key in cloud.azure.uploads}
    assert {"new.py", "pyproject.toml"} <= names
    assert not {"hours.csv", "Dockerfile"} & names


def test_private_files_are_not_uploaded_and_no_copy_is_left(
    cloud: Sender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (cloud.project.path / ".env").write_text("PASSWORD=1")
    cloud.mlops(*SUBMIT)
    gc.collect()
    assert not [key for key in cloud.azure.uploads if key.endswith(".env")]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_link_that_leaves_the_project_is_refused(cloud: Sender, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").touch()
    link = cloud.project.path / "src" / "secret.txt"
    link.symlink_to(tmp_path / "secret.txt")
    status, _, err = cloud.mlops(*SUBMIT)
    assert status == 2
    assert "src/secret.txt is a link that points out of the project" in err
    assert cloud.azure.requests == []
    link.unlink()
    assert cloud.mlops(*SUBMIT)[0] == 0


def test_tags_record_the_origin_of_the_job(cloud: Sender) -> None:
    commit = cloud.commit()
    cloud.mlops(*SUBMIT, "--params", "model.arguments.alpha=3.5,train_fraction=0.5")
    job = cloud.resources("jobs")[cloud.job()]
    raw = sha256(cloud.project.path / "data/raw/hours.csv")
    tags = job["tags"]
    assert tags["git.commit"] == commit
    assert tags["git.dirty"] == "false"
    assert tags["env"] == "dev"
    assert tags["params"] == "model.arguments.alpha=3.5,train_fraction=0.5"
    assert tags["data.raw_hours"] == f"raw_hours:{raw[:20]}"
    assert tags["data.digest.raw_hours"] == raw
    assert job["inputs"]["model__arguments__alpha"]["value"] == "3.5"
    assert job["inputs"]["raw_hours"]["uri"].endswith(f"/data/raw_hours/versions/{raw[:20]}")
    (cloud.project.path / "src" / "new.py").touch()
    cloud.mlops(*SUBMIT)
    tags = cloud.resources("jobs")[cloud.job()]["tags"]
    assert tags["git.dirty"] == "true"
    assert "params" not in tags


def test_without_git_the_tags_name_no_commit(cloud: Sender) -> None:
    cloud.mlops(*SUBMIT)
    tags = cloud.resources("jobs")[cloud.job()]["tags"]
    assert "git.commit" not in tags
    assert tags["env"] == "dev"


def test_a_data_asset_replaces_local_data(cloud: Sender) -> None:
    cloud.mlops(*SUBMIT)
    known = cloud.resources("jobs")[cloud.job()]["tags"]
    raw = cloud.project.path / "data" / "raw"
    (raw / "hours.csv").unlink()
    status, _, err = cloud.mlops(*SUBMIT)
    assert (status, "There is no data/raw/hours.csv to upload" in err) == (2, True)
    option = ("--input", "raw_hours=azureml:raw_hours@latest")
    assert cloud.mlops(*SUBMIT, *option)[0] == 0
    tags = cloud.resources("jobs")[cloud.job()]["tags"]
    for tag in ("data.raw_hours", "data.digest.raw_hours"):
        assert tags[tag] == known[tag]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("raw_hours=data/raw/hours.csv", "write NAME=azureml:ASSET:VERSION"),
        ("hours=azureml:hours:1", "it has: raw_hours."),
        ("raw_hours=azureml:hours:1", "has no data asset hours:1"),
        (
            "raw_hours=azureml:folder:1",
            "is a uri_file, but the data asset folder:1 is a uri_folder",
        ),
    ],
)
def test_invalid_data_is_refused(cloud: Sender, value: str, message: str) -> None:
    from azure.ai.ml.entities import Data

    from kedro_azure_mlops.azure.workspace import workspace

    (cloud.project.path / "folder").mkdir()
    (cloud.project.path / "folder" / "a.csv").touch()
    folder = Data(name="folder", version="1", type="uri_folder", path="folder")
    workspace("dev").data.create_or_update(folder)
    status, _, err = cloud.mlops(*SUBMIT, "--input", value)
    assert status == 2
    assert message in err
    assert cloud.resources("jobs") == {}


def test_a_url_is_passed_on_without_its_signature_in_the_tags(cloud: Sender) -> None:
    signed = "https://cold.blob.core.windows.net/raw/t.csv?sv=1&sig=abc"
    cloud.configure(inputs={"raw_hours": {"path": signed}})
    status, _, err = cloud.mlops(*SUBMIT)
    assert status == 0, err
    job = cloud.resources("jobs")[cloud.job()]
    assert job["inputs"]["raw_hours"]["uri"] == signed
    assert job["tags"]["data.raw_hours"] == signed.split("?", maxsplit=1)[0]
    assert "data.digest.raw_hours" not in job["tags"]


def test_a_path_in_a_datastore_is_passed_on(cloud: Sender) -> None:
    address = "azureml://datastores/workspaceblobstore/paths/hours.csv"
    cloud.configure(inputs={"raw_hours": {"path": address}})
    status, _, err = cloud.mlops(*SUBMIT)
    assert status == 0, err
    tags = cloud.resources("jobs")[cloud.job()]["tags"]
    assert tags["data.raw_hours"] == address
    assert "data.digest.raw_hours" not in tags
    assert not [key for key in cloud.azure.uploads if key.endswith(".csv")]


def test_code_in_an_image_is_not_uploaded(cloud: Sender) -> None:
    image = "cold.azurecr.io/store:1"
    cloud.configure(code=None, image=image, working_directory="/app")
    status, _, err = cloud.mlops(*SUBMIT)
    assert status == 0, err
    names = sorted(Path(key).name for key in cloud.azure.uploads)
    assert names == ["hours.csv"]
    assert cloud.resources("codes") == {}
    assert [e["image"] for e in cloud.resources("environments").values() if "image" in e] == [image]
    (component,) = cloud.resources("components").values()
    assert component["componentSpec"]["command"].startswith("cd /app && env BIND__")


def test_all_steps_share_one_upload_of_the_code(cloud: Sender) -> None:
    entry = "from kedro_azure_mlops.job.spark_entry import main\n\nmain(__file__)\n"
    (cloud.project.path / "src" / "spark_entry.py").write_text(entry, encoding="utf-8")
    cloud.configure(
        steps=THREE | {"train": {"pipelines": ["train"], "spark": {"entry": "src/spark_entry.py"}}}
    )
    status, _, err = cloud.mlops(*SUBMIT)
    assert status == 0, err
    (code,) = cloud.resources("codes")
    specs = [component["componentSpec"] for component in cloud.resources("components").values()]
    assert {spec["type"] for spec in specs} == {"command", "spark"}
    assert {spec["code"].rsplit("/codes/")[1] for spec in specs} == {code}
    status, _, err = cloud.mlops("local", "--env", "dev", "--job", cloud.job())
    assert status == 2
    assert f"The job {cloud.job()} is Running: no step has failed yet" in err


def test_a_missing_cluster_is_reported_before_anything_is_uploaded(cloud: Sender) -> None:
    cloud.configure(steps=THREE | {"train": THREE["train"] | {"compute": "gpu"}})
    status, _, err = cloud.mlops(*SUBMIT)
    assert status == 2
    assert "has no compute gpu" in err
    assert "provision --env dev" in err
    assert cloud.azure.uploads == []


def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C after the command has read the status of the job for the first time."""
    ctrl_c = SimpleNamespace(sleep=lambda _: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr("kedro_azure_mlops.azure.follow.time", ctrl_c)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Answer questions as a user at a terminal; return the questions."""
    questions: list[str] = []

    def reply(question: str) -> str:
        questions.append(question)
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", reply)
    return questions


def test_after_ctrl_c_only_a_yes_cancels_the_job(
    cloud: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch)
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked without a terminal"))
    status, out, _ = cloud.mlops(*SUBMIT, "--wait")
    job = ("--job", cloud.job())
    assert status == 130
    assert f"the job {cloud.job()} keeps running" in out
    for answer in ("", "n", "what?", EOFError(), KeyboardInterrupt()):
        questions = answering(monkeypatch, answer)
        status, out, _ = cloud.mlops(*SUBMIT, *job)
        assert (status, len(questions)) == (130, 1)
        assert "\nCancel the cloud job too? [y/N] " in out
        assert f"the job {cloud.job()} keeps running" in out
        assert cloud.resources("jobs")[cloud.job()]["status"] == "Running"
    answering(monkeypatch, "y")
    status, out, _ = cloud.mlops(*SUBMIT, *job)
    assert status == 130
    assert f"the job {cloud.job()} is being cancelled" in out
    assert cloud.resources("jobs")[cloud.job()]["status"] == "Canceled"
    status, _, err = cloud.mlops(*SUBMIT, *job)
    assert status == 1
    assert f"the job {cloud.job()} is Canceled" in err


def test_ctrl_c_before_the_job_is_submitted_submits_none(
    cloud: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("kedro_azure_mlops.azure.submission.ensure_environment", stop)
    status, _, err = cloud.mlops(*SUBMIT)
    assert status == 130
    assert "submit: interrupted; no job was submitted unless it is named above" in err
    assert cloud.resources("jobs") == {}
    assert cloud.mlops(*SUBMIT, "--job", "a", "--params", "b=1")[0] == 2


def test_a_script_gets_an_error_if_its_job_does_not_complete(
    cloud: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    cancels = SimpleNamespace(sleep=lambda _: cancelled.append(cancel_job("dev", cloud.job())))
    monkeypatch.setattr("kedro_azure_mlops.azure.follow.time", cancels)
    shown: list[str] = []
    with pytest.raises(RefusedError, match=r"the job \S+ is Canceled, see https://ml\.azure\.com"):
        run_job("dev", {"train_fraction": "0.6"}, root=cloud.project.path, show=shown.append)
    assert cancelled == [f"the job {cloud.job()} is being cancelled"]
    assert any("uploading data/raw/hours.csv" in line for line in shown)
    assert cloud.resources("jobs")[cloud.job()]["tags"]["params"] == "train_fraction=0.6"


class TestDataOfAnotherEnvironment:
    """``data_of``: parameters that the update policy names come from the environment it watches."""

    @pytest.fixture
    def watching(self, cloud: Sender) -> Sender:
        policy = {"watch": "prod", "parameters": ["raw_file", "new_file"]}
        config = {"tracking": {"enabled": False}, "update_policy": policy}
        cloud.project.configure("dev", "mlops.yml", yaml.safe_dump(config))
        return cloud

    def test_parameters_are_passed_to_the_job_by_reference(self, watching: Sender) -> None:
        url = "abfs://raw@stplantprod.dfs.core.windows.net/hours.csv"
        watching.project.configure("prod", "parameters.yml", f"raw_file: {url}\n")

        submit_job("dev", data_of="prod", say=(messages := []).append)

        (job,) = watching.resources("jobs").values()
        assert job["inputs"]["raw_file"]["value"] == url
        assert "raw_hours" not in job["inputs"]  # nothing is uploaded: the step opens the address
        assert not watching.resources("data")
        assert job["tags"]["params"] == f"raw_file={url}"
        (step,) = watching.resources("components").values()
        assert "raw_file=${{inputs.raw_file}}" in step["componentSpec"]["command"]
        assert "taken from prod: raw_file" in messages

    def test_equal_parameters_change_nothing(self, watching: Sender) -> None:
        submit_job("dev", data_of="prod")
        (job,) = watching.resources("jobs").values()
        assert "raw_file" not in job["inputs"]
        assert "params" not in job["tags"]

    def test_an_environment_that_is_not_watched_is_refused(self, watching: Sender) -> None:
        with pytest.raises(OperationError, match="update_policy of dev watches prod, not stage"):
            submit_job("dev", data_of="stage")
        assert not watching.resources("jobs")

    def test_without_parameters_the_job_uses_its_own_data(self, watching: Sender) -> None:
        watching.project.configure(
            "dev", "mlops.yml", "tracking: {enabled: false}\nupdate_policy: {watch: prod}\n"
        )
        submit_job("dev", data_of="prod", say=(messages := []).append)
        assert (
            "update_policy.parameters is empty: the job trains on the data of dev itself"
            in messages
        )
