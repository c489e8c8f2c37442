"""Messages and leftovers when Azure refuses, the connection breaks, or a step fails."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kedro_azure_mlops.azure.cloud_job import repetition_of
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.local.run import run_local
from kedro_azure_mlops.testing.stand_in import without_pauses
from tests.plugin.sender import Sender, sender_in

SUBMIT = ("submit", "--env", "dev")
TWO = {
    "prepare": {"pipelines": ["prepare"]},
    "train": {"pipelines": ["train", "evaluate"]},
}
ALWAYS = 1000
FILE = r"\.blob\..*/pipeline_registry\.py$"
DATA = r"\.blob\..*/hours\.csv$"
JOB = r"/jobs/[^/]+$"
CODE = r"/startPendingUpload$"
BUG = """
    if len(train) > 10:
        raise ArithmeticError(f"cannot fit {len(train)} rows, {model['arguments']['alpha']}")
"""


@pytest.fixture
def cloud(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    """A stand-in that accepts jobs but does not run them; retries do not wait."""
    with sender_in(tmp_path, database) as cloud, cloud.azure.hold():
        without_pauses(monkeypatch)
        yield cloud


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Sender]:
    """A project with a bug in its second step that only occurs with its data."""
    with sender_in(tmp_path_factory.mktemp("failed"), database) as cloud:
        cloud.configure(steps=TWO)
        nodes = cloud.project.path / "src/plant/nodes.py"
        code = nodes.read_text(encoding="utf-8")
        broken = re.sub(r"(def fit\(.*\n)", rf"\1{BUG}", code)
        assert broken != code
        nodes.write_text(broken, encoding="utf-8")
        cloud.commit()
        yield cloud


@pytest.mark.parametrize(
    ("method", "pattern", "status", "message"),
    [
        ("GET", r"/data/raw_hours/versions/", 401, "Azure does not accept the sign-in"),
        ("PUT", DATA, 403, "You do not have permission"),
        ("PUT", DATA, 500, "The fault is Azure's"),
        ("PUT", r"/environments/", 403, "You do not have permission"),
        ("POST", CODE, 429, "Azure still throttles requests"),
        ("PUT", FILE, 403, "You do not have permission"),
        ("PUT", FILE, None, "the connection broke"),
        ("PUT", JOB, 401, "Azure does not accept the sign-in"),
        ("PUT", JOB, 500, "The fault is Azure's"),
    ],
)
def test_a_lasting_fault_is_reported_and_leaves_no_job(
    cloud: Sender, method: str, pattern: str, status: int | None, message: str
) -> None:
    if status:
        cloud.azure.fail(method, pattern, status, times=ALWAYS)
    else:
        cloud.azure.drop(method, pattern, times=ALWAYS)
    verdict, _, err = cloud.mlops(*SUBMIT)
    assert verdict == 2
    assert message in err
    assert "sig=" not in err
    assert len(err.splitlines()[-1]) < 700
    assert cloud.resources("jobs") == {}


@pytest.mark.parametrize(
    ("method", "pattern", "status"),
    [
        ("GET", r"/data/raw_hours/versions/", 429),
        ("PUT", DATA, 500),
        ("PUT", FILE, None),
        ("PUT", JOB, 429),
    ],
)
def test_a_transient_error_goes_unnoticed(
    cloud: Sender, method: str, pattern: str, status: int | None
) -> None:
    if status:
        cloud.azure.fail(method, pattern, status, times=2)
    else:
        cloud.azure.drop(method, pattern, times=2)
    verdict, _, err = cloud.mlops(*SUBMIT)
    assert verdict == 0, err
    assert len(cloud.resources("jobs")) == 1
    source = cloud.project.path / "data/raw/hours.csv"
    (key,) = [key for key in cloud.azure.blobs if key.endswith("/hours.csv")]
    assert cloud.azure.blobs[key] == source.read_bytes()


@pytest.mark.parametrize(
    ("pattern", "uploaded_before"),
    [(DATA, set()), (FILE, {"hours.csv", "Dockerfile"})],
)
def test_a_broken_upload_is_resumed(cloud: Sender, pattern: str, uploaded_before: set[str]) -> None:
    tries = 4
    cloud.azure.drop("PUT", pattern, times=tries)
    assert cloud.mlops(*SUBMIT)[0] == 2
    assert cloud.resources("jobs") == {}
    cloud.azure.forget()
    assert cloud.mlops(*SUBMIT)[0] == 0
    sent = {Path(key).name for key in cloud.azure.uploads}
    assert not sent & uploaded_before
    assert "pipeline_registry.py" in sent
    assert len(cloud.resources("jobs")) == 1


def test_following_ends_when_azure_refuses_and_the_job_keeps_running(cloud: Sender) -> None:
    cloud.mlops(*SUBMIT)
    cloud.azure.fail("GET", r"/details$", 403, times=1)
    status, _, err = cloud.mlops(*SUBMIT, "--job", cloud.job())
    assert status == 2
    expected = f"following the job {cloud.job()}, which keeps running: You do not have permission"
    assert expected in err
    assert cloud.resources("jobs")[cloud.job()]["status"] == "Running"


def test_an_unknown_job_is_reported(cloud: Sender) -> None:
    status, _, err = cloud.mlops(*SUBMIT, "--job", "gone")
    assert status == 2
    assert "looking for the job gone: There is no job gone in the workspace" in err
    assert "keeps running" not in err
    status, _, err = cloud.mlops("local", "--env", "dev", "--job", "gone")
    assert status == 2
    assert "looking for the job gone" in err


def test_a_failed_step_is_reported_with_the_command_that_repeats_it_locally(
    failed: Sender,
) -> None:
    status, out, err = failed.mlops(
        *SUBMIT, "--params", "model.arguments.alpha=7.5", "--download", "build/made"
    )
    message = r"ArithmeticError: cannot fit \d+ rows, 7\.5"
    assert status == 1
    assert "train: Failed" in out
    assert "Step train failed: Execution failed." in err
    (reported,) = set(re.findall(message, err))
    command = err.splitlines()[-1].split()
    assert command[:2] == ["kedro", "mlops"]
    assert (failed.project.path / "build/made/prepare/train/train.parquet").is_file()
    assert not (failed.project.path / "build/made/train").exists()
    status, out, _ = failed.mlops(*command[2:])
    assert status == 1
    assert set(re.findall(message, out)) == {reported}
    assert "commit" not in out
    cloud_folder = failed.project.path / "build/cloud" / failed.job()
    assert (cloud_folder / "prepare/train/train.parquet").is_file()


def test_a_step_that_succeeded_can_be_repeated_too(failed: Sender) -> None:
    repeat = ("local", "--env", "dev", "--job", failed.job())
    # The step's inputs are downloaded, not taken from this folder.
    (failed.project.path / "data/raw/hours.csv").unlink()
    failed.azure.forget()
    status, out, err = failed.mlops(*repeat, "--step", "prepare")
    assert status == 0, err
    assert "local files differ from commit" in out
    assert failed.azure.uploads == []
    fetched = failed.project.path / "build/cloud" / failed.job() / "job-inputs"
    assert list(fetched.glob("raw_hours/*/hours.csv"))
    assert failed.mlops(*repeat, "--step", "none")[0] == 2
    assert failed.mlops("local", "--env", "stage", "--job", failed.job())[0] == 2


def test_an_input_that_cannot_be_downloaded_is_replaced_by_a_local_copy(
    failed: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat = ("local", "--env", "dev", "--job", failed.job(), "--step", "prepare")
    (copy,) = failed.project.path.glob("build/cloud/*/job-inputs/raw_hours/*/hours.csv")
    raw = failed.resources("jobs")[failed.job()]["inputs"]["raw_hours"]
    monkeypatch.setitem(raw, "uri", "https://cold.blob.core.windows.net/c/hours.csv?sig=abc")
    status, _, err = failed.mlops(*repeat)
    assert status == 2
    assert "is https://cold.blob.core.windows.net/c/hours.csv, which is not in a datastore" in err
    assert "use a local copy with --input raw_hours=PATH" in err
    with pytest.raises(OperationError) as refusal:
        run_local("dev", job=failed.job(), step="prepare", root=failed.project.path)
    assert "abc" not in str(refusal.value)
    status, _, err = failed.mlops(*repeat, "--input", f"raw_hours={copy}")
    assert status == 0, err


def test_local_code_that_differs_from_the_jobs_is_reported(failed: Sender) -> None:
    messages: list[str] = []
    root, job = failed.project.path, failed.job()
    job_commit = failed.resources("jobs")[job]["tags"]["git.commit"]
    (root / "src" / "other.py").touch()
    head = failed.commit()
    repetition = repetition_of("dev", job, None, root, messages.append)
    assert repetition.step == "train"
    assert repetition.parameters["model__arguments__alpha"] == "7.5"
    (line,) = messages
    assert line.startswith(f"the job was made from commit {job_commit}, the local one is {head}")
    assert line.endswith(f"git checkout {job_commit}")
