"""A job that ran on Azure ML is made again here, from its commit, its data and its parameters."""

import shutil
from collections.abc import Iterator

import pytest

from operation.tests.helpers import ROOT
from operation.tests.history import git
from operation.tests.sender import Sender, sender_in

PARAMETERS = "detector.n_estimators=12,train_fraction=0.5"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, database: object) -> Iterator[Sender]:
    """A committed project whose job ran in the cloud, and which has changed since."""
    with sender_in(tmp_path_factory.mktemp("sent"), database) as cloud:
        root = cloud.project.path
        shutil.copy(ROOT / ".gitignore", root)
        git(root, "init", "-q")
        git(root, "add", ".")
        git(root, "commit", "-q", "-m", "first")
        status, _, err = cloud.verb("submit", "--env", "dev", "--wait", "--params", PARAMETERS)
        assert status == 0, err
        for nodes in root.glob("src/*/pipelines/*/nodes.py"):
            nodes.write_text('raise RuntimeError("not the code of that job")\n', encoding="utf-8")
        git(root, "commit", "-q", "-a", "-m", "second")
        yield cloud


def test_the_same_scores_are_made_and_the_checkout_is_left_alone(sent: Sender) -> None:
    state = git(sent.project.path, "status", "--porcelain")
    status, out, err = sent.verb("reproduce", "--env", "dev", "--job", sent.job(), "--go")
    assert status == 0, out + err
    assert "reproduce: the same scores as run" in out
    assert git(sent.project.path, "status", "--porcelain") == state


def test_data_that_is_not_here_any_more_comes_from_the_workspace(sent: Sender) -> None:
    raw = sent.project.path / "data/raw/temperatures.csv"
    kept = raw.read_bytes()
    raw.write_bytes(kept[: len(kept) // 2])
    try:
        status, out, _ = sent.verb("reproduce", "--env", "dev", "--job", sent.job())
    finally:
        raw.write_bytes(kept)
    assert status == 0
    assert "-m operation.azureml.fetch --env dev" in out
    assert "temperatures.csv" in out


def test_other_scores_are_told_apart(sent: Sender) -> None:
    (key,) = [k for k in sent.azure.blobs if k.endswith(f"{sent.job()}_pipeline/scores/scores.csv")]
    kept = sent.azure.blobs[key]
    sent.azure.blobs[key] = kept + b"\n"
    try:
        status, out, _ = sent.verb("reproduce", "--env", "dev", "--job", sent.job(), "--go")
    finally:
        sent.azure.blobs[key] = kept
    assert status == 1
    assert "reproduce: other scores than run" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--env", "dev", "--job", "gone"), "gone"),
        (("--job", "any"), "--job NAME needs the environment of its workspace"),
    ],
    ids=["unknown", "local"],
)
def test_a_job_that_cannot_be_found_is_refused(
    sent: Sender, arguments: tuple[str, ...], message: str
) -> None:
    status, _, err = sent.verb("reproduce", *arguments)
    assert status == 2
    assert message in err
