"""A job that ran on Azure ML is reproduced locally from its commit, data and parameters."""

from collections.abc import Iterator

import pytest

from kedro_azure_mlops.reproduce.plan import Command
from tests.plugin.history import IGNORED, git
from tests.plugin.sender import Sender, sender_in

PARAMETERS = "model.arguments.alpha=2.5,train_fraction=0.5"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, database: object) -> Iterator[Sender]:
    """A committed project whose job ran in the cloud, and which has changed since."""
    with sender_in(tmp_path_factory.mktemp("sent"), database) as cloud:
        root = cloud.project.path
        (root / ".gitignore").write_text(IGNORED, encoding="utf-8")
        git(root, "init", "-q")
        git(root, "add", ".")
        git(root, "commit", "-q", "-m", "first")
        status, _, err = cloud.mlops("submit", "--env", "dev", "--wait", "--params", PARAMETERS)
        assert status == 0, err
        for nodes in root.glob("src/*/nodes.py"):
            nodes.write_text('raise RuntimeError("not the code of that job")\n', encoding="utf-8")
        git(root, "commit", "-q", "-a", "-m", "second")
        yield cloud


def test_the_same_scores_are_made_and_the_checkout_is_unchanged(sent: Sender) -> None:
    state = git(sent.project.path, "status", "--porcelain")
    status, out, err = sent.mlops("reproduce", "--env", "dev", "--job", sent.job(), "--go")
    assert status == 0, out + err
    assert "reproduce: the same scores as run" in out
    assert git(sent.project.path, "status", "--porcelain") == state


def test_data_that_changed_locally_comes_from_the_workspace(sent: Sender) -> None:
    raw = sent.project.path / "data/raw/hours.csv"
    original = raw.read_bytes()
    raw.write_bytes(original[: len(original) // 2])
    try:
        status, out, _ = sent.mlops("reproduce", "--env", "dev", "--job", sent.job())
    finally:
        raw.write_bytes(original)
    assert status == 0
    assert "-m kedro_azure_mlops.azure.fetch --env dev" in out
    assert "hours.csv" in out


def test_different_scores_are_a_failure(sent: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    # The commands have just been run, so only the changed file makes the scores differ.
    monkeypatch.setattr(Command, "run", lambda *_: None)
    path = f"{sent.job()}_pipeline/predictions/predictions.csv"
    (key,) = [k for k in sent.azure.blobs if k.endswith(path)]
    original = sent.azure.blobs[key]
    sent.azure.blobs[key] = original + b"\n"
    try:
        status, out, _ = sent.mlops("reproduce", "--env", "dev", "--job", sent.job(), "--go")
    finally:
        sent.azure.blobs[key] = original
    assert status == 1
    assert "reproduce: different scores from run" in out


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
    status, _, err = sent.mlops("reproduce", *arguments)
    assert status == 2
    assert message in err
