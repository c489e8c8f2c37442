"""A job is sent by the unchanged client, runs from what was uploaded, and is told of."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operation.tests.sender import Sender, sender_in, sha256

THREE = {
    "prepare": {"pipelines": ["pre_processing", "data_engineering"]},
    "train": {"pipelines": ["data_science"]},
    "judge": {"pipelines": ["metrics"]},
}
SUBMIT = ("submit", "--env", "dev")


@pytest.fixture
def cloud(tmp_path: Path, database: Path) -> Iterator[Sender]:
    """Jobs that are sent are not run."""
    with sender_in(tmp_path, database) as cloud, cloud.azure.hold():
        yield cloud


@pytest.fixture(scope="module")
def cut_in_three(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Sender]:
    """A project whose job has three steps and was run; its outputs are in ``outputs``."""
    with sender_in(tmp_path_factory.mktemp("three"), database) as cloud:
        cloud.configure(steps=THREE)
        yield cloud


@pytest.fixture(scope="module")
def local_scores(cut_in_three: Sender) -> str:
    """The digest of what a run makes here."""
    cut_in_three.project.run(env="dev")
    return sha256(cut_in_three.project.processed("scores.csv"))


def test_three_steps_make_what_a_local_run_makes(cut_in_three: Sender, local_scores: str) -> None:
    cloud = cut_in_three
    cloud.azure.reports_models = True
    status, out, err = cloud.verb(*SUBMIT, "--download", "outputs")
    assert status == 0, err
    lines = out.splitlines()
    assert lines.index("prepare: Completed") < lines.index("train: Running")
    assert "judge | Gate: PASSED" in out or "judge | Gate: REFUSED" in out
    outputs = cloud.project.path / "outputs"
    assert (outputs / "prepare" / "train" / "train.parquet").is_file()
    assert (outputs / "train" / "detector" / "MLmodel").is_file()
    assert "Running node" in (outputs / "judge.log").read_text()
    assert sha256(outputs / "train" / "scores" / "scores.csv") == local_scores


def test_one_step_makes_the_same(cut_in_three: Sender, local_scores: str) -> None:
    cloud = cut_in_three
    cloud.configure()
    status, out, err = cloud.verb(*SUBMIT, "--wait")
    assert status == 0, err
    assert out.endswith(f"submit: the job {cloud.job()} is done\n")
    cloud.verb(*SUBMIT, "--job", cloud.job(), "--download", "later")
    later = cloud.project.path / "later" / "pipeline"
    names = {folder.name for folder in later.iterdir()}
    assert names == set(cloud.azure.steps["pipeline"].outputs)
    assert sha256(later / "scores/scores.csv") == local_scores


def test_what_was_sent_is_told(cloud: Sender) -> None:
    status, out, _ = cloud.verb(*SUBMIT)
    assert status == 0
    name = cloud.job()
    assert f"submit: sent the job {name}\n  see it     https://ml.azure.com/runs/{name}?" in out
    for line in (
        f"submit --env dev --job {name}\n",
        f"submit --env dev --job {name} --download DIR\n",
        f"reproduce --env dev --job {name}\n",
    ):
        assert f"python -m operation.execution {line}" in out


def test_a_second_submit_uploads_nothing(cloud: Sender) -> None:
    cloud.configure(steps=THREE)
    cloud.verb(*SUBMIT)
    uploaded = {Path(key).name for key in cloud.azure.uploads}
    assert {"temperatures.csv", "labels.csv", "Dockerfile", "pipeline_registry.py"} <= uploaded
    cloud.azure.forget()
    status, out, _ = cloud.verb(*SUBMIT)
    assert status == 0
    assert cloud.azure.uploads == []
    assert cloud.changed() == {"components", "jobs"}
    assert out.count("is there") == 3
    first, second = cloud.found("jobs").values()
    assert first["jobs"] == second["jobs"]


def test_only_what_has_changed_is_uploaded(cloud: Sender) -> None:
    cloud.verb(*SUBMIT)
    cloud.azure.forget()
    (cloud.project.path / "data/raw/labels.csv").write_text("sensor_id,start,end\n")
    _, out, _ = cloud.verb(*SUBMIT)
    assert [Path(key).name for key in cloud.azure.uploads] == ["labels.csv"]
    assert "uploading data/raw/labels.csv (20 bytes) as labels:" in out
    assert len([key for key in cloud.found("data") if key.startswith("labels/")]) == 2
    cloud.azure.forget()
    (cloud.project.path / "src" / "new.py").touch()
    cloud.verb(*SUBMIT)
    # the code has a Dockerfile too, besides that of the environment
    names = {Path(key).name for key in cloud.azure.uploads if "/serving/" not in key}
    assert {"new.py", "pyproject.toml"} <= names
    assert not {"labels.csv", "temperatures.csv", "Dockerfile"} & names


def test_nothing_private_and_no_copy_is_left_or_uploaded(
    cloud: Sender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (cloud.project.path / ".env").write_text("PASSWORD=1")
    cloud.verb(*SUBMIT)
    gc.collect()
    assert not [key for key in cloud.azure.uploads if key.endswith(".env")]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_link_that_leaves_the_project_is_refused(cloud: Sender, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").touch()
    link = cloud.project.path / "src" / "secret.txt"
    link.symlink_to(tmp_path / "secret.txt")
    status, _, err = cloud.verb(*SUBMIT)
    assert status == 2
    assert "src/secret.txt is a link that leads out of the project" in err
    assert cloud.azure.requests == []
    link.unlink()
    assert cloud.verb(*SUBMIT)[0] == 0


def test_tags_say_what_the_job_is_made_of(cloud: Sender) -> None:
    commit = cloud.commit()
    cloud.verb(*SUBMIT, "--params", "detector.seed=3,train_fraction=0.5")
    job = cloud.found("jobs")[cloud.job()]
    labels = sha256(cloud.project.path / "data/raw/labels.csv")
    tags = job["tags"]
    assert tags["git.commit"] == commit
    assert tags["git.dirty"] == "false"
    assert tags["env"] == "dev"
    assert tags["params"] == "detector.seed=3,train_fraction=0.5"
    assert tags["data.labels"] == f"labels:{labels[:20]}"
    assert tags["data.digest.labels"] == labels
    assert job["inputs"]["detector__seed"]["value"] == "3"
    assert job["inputs"]["labels"]["uri"].endswith(f"/data/labels/versions/{labels[:20]}")
    (cloud.project.path / "src" / "new.py").touch()
    cloud.verb(*SUBMIT)
    tags = cloud.found("jobs")[cloud.job()]["tags"]
    assert tags["git.dirty"] == "true"
    assert "params" not in tags


def test_without_git_the_tags_name_no_commit(cloud: Sender) -> None:
    cloud.verb(*SUBMIT)
    tags = cloud.found("jobs")[cloud.job()]["tags"]
    assert "git.commit" not in tags
    assert tags["env"] == "dev"


def test_a_data_asset_takes_the_place_of_local_data(cloud: Sender) -> None:
    cloud.verb(*SUBMIT)
    known = cloud.found("jobs")[cloud.job()]["tags"]
    raw = cloud.project.path / "data" / "raw"
    (raw / "temperatures.csv").unlink()
    status, _, err = cloud.verb(*SUBMIT)
    assert (status, "There is no data/raw/temperatures.csv to upload" in err) == (2, True)
    given = ("--input", "raw_temperatures=azureml:raw_temperatures@latest")
    assert cloud.verb(*SUBMIT, *given)[0] == 0
    tags = cloud.found("jobs")[cloud.job()]["tags"]
    for tag in ("data.raw_temperatures", "data.digest.raw_temperatures"):
        assert tags[tag] == known[tag]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("labels=data/raw/labels.csv", "write NAME=azureml:ASSET:VERSION"),
        ("label=azureml:labels:1", "it is given: labels, raw_temperatures."),
        ("labels=azureml:labels:1", "has no data asset labels:1"),
        ("labels=azureml:folder:1", "is a uri_file, but the data asset folder:1 is a uri_folder"),
    ],
)
def test_wrong_data_is_refused(cloud: Sender, given: str, message: str) -> None:
    from azure.ai.ml.entities import Data

    from operation.azureml.utils import workspace

    (cloud.project.path / "folder").mkdir()
    (cloud.project.path / "folder" / "a.csv").touch()
    folder = Data(name="folder", version="1", type="uri_folder", path="folder")
    workspace("dev").data.create_or_update(folder)
    status, _, err = cloud.verb(*SUBMIT, "--input", given)
    assert status == 2
    assert message in err
    assert cloud.found("jobs") == {}


def test_an_address_is_handed_on_without_its_signature_in_the_tags(cloud: Sender) -> None:
    address = "azureml://datastores/workspaceblobstore/paths/labels.csv"
    signed = "https://cold.blob.core.windows.net/raw/t.csv?sv=1&sig=abc"
    inputs = {"labels": {"path": address}, "raw_temperatures": {"path": signed}}
    cloud.configure(inputs=inputs)
    status, _, err = cloud.verb(*SUBMIT)
    assert status == 0, err
    job = cloud.found("jobs")[cloud.job()]
    assert job["inputs"]["raw_temperatures"]["uri"] == signed
    assert job["tags"]["data.raw_temperatures"] == signed.split("?", maxsplit=1)[0]
    assert job["tags"]["data.labels"] == address.removeprefix("azureml:")
    assert "data.digest.labels" not in job["tags"]


def test_code_in_an_image_is_not_uploaded(cloud: Sender) -> None:
    image = "cold.azurecr.io/store:1"
    cloud.configure(code=None, image=image, working_directory="/app")
    status, _, err = cloud.verb(*SUBMIT)
    assert status == 0, err
    names = sorted(Path(key).name for key in cloud.azure.uploads)
    assert names == ["labels.csv", "temperatures.csv"]
    assert cloud.found("codes") == {}
    assert [e["image"] for e in cloud.found("environments").values() if "image" in e] == [image]
    (component,) = cloud.found("components").values()
    assert component["componentSpec"]["command"].startswith("cd /app && env BIND__")


def test_all_steps_share_one_upload_of_the_code(cloud: Sender) -> None:
    cloud.configure(steps=THREE | {"train": {"pipelines": ["data_science"], "spark": {}}})
    status, _, err = cloud.verb(*SUBMIT)
    assert status == 0, err
    (code,) = cloud.found("codes")
    specs = [component["componentSpec"] for component in cloud.found("components").values()]
    assert {spec["type"] for spec in specs} == {"command", "spark"}
    assert {spec["code"].rsplit("/codes/")[1] for spec in specs} == {code}
    status, _, err = cloud.verb("local", "--env", "dev", "--job", cloud.job())
    assert status == 2
    assert f"The job {cloud.job()} is Running: no step has failed yet" in err


def test_a_missing_cluster_is_told_before_anything_is_uploaded(cloud: Sender) -> None:
    cloud.configure(steps=THREE | {"train": THREE["train"] | {"compute": "gpu"}})
    status, _, err = cloud.verb(*SUBMIT)
    assert status == 2
    assert "has no compute gpu" in err
    assert "provision --env dev" in err
    assert cloud.azure.uploads == []


def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C when the verb has looked at the job for the first time."""
    ctrl_c = SimpleNamespace(sleep=lambda _: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr("operation.azureml.cloud.follow.time", ctrl_c)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Sit at a terminal."""
    asked: list[str] = []

    def reply(question: str) -> str:
        asked.append(question)
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", reply)
    return asked


def test_after_ctrl_c_only_a_yes_cancels_the_job(
    cloud: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch)
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked without a terminal"))
    status, out, _ = cloud.verb(*SUBMIT, "--wait")
    job = ("--job", cloud.job())
    assert status == 130
    assert f"the job {cloud.job()} goes on" in out
    for answer in ("", "n", "what?", EOFError(), KeyboardInterrupt()):
        asked = answering(monkeypatch, answer)
        status, out, _ = cloud.verb(*SUBMIT, *job)
        assert (status, asked) == (130, ["\nCancel the cloud job too? [y/N] "])
        assert f"the job {cloud.job()} goes on" in out
        assert cloud.found("jobs")[cloud.job()]["status"] == "Running"
    answering(monkeypatch, "y")
    status, out, _ = cloud.verb(*SUBMIT, *job)
    assert status == 130
    assert f"the job {cloud.job()} is being cancelled" in out
    assert cloud.found("jobs")[cloud.job()]["status"] == "Canceled"
    status, _, err = cloud.verb(*SUBMIT, *job)
    assert status == 1
    assert f"the job {cloud.job()} is Canceled" in err


def test_ctrl_c_before_the_job_is_sent_sends_none(
    cloud: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("operation.azureml.cloud.submission.ensure_environment", stop)
    status, _, err = cloud.verb(*SUBMIT)
    assert status == 130
    assert "submit: interrupted; a job that was not named was not sent" in err
    assert cloud.found("jobs") == {}
    assert cloud.verb(*SUBMIT, "--job", "a", "--params", "b=1")[0] == 2
