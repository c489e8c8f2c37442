"""Local runs of a job behave as in Azure ML: order, ports, copies of the code, failures."""

import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.running import claim
from tests.plugin.tiny_job import FOLDER, TinyJob, two_step_job


@pytest.fixture
def job(tmp_path: Path) -> TinyJob:
    return TinyJob(tmp_path)


def test_steps_pass_on_their_outputs(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    verdict = job.run()
    assert verdict.succeeded
    assert job.statuses(verdict) == {"first": "finished", "second": "finished"}
    assert (verdict.outputs["word"] / "word.txt").read_text() == "abc\n"


def test_steps_may_be_written_in_any_order(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    job.steps = dict(reversed(job.steps.items()))
    assert job.run().succeeded
    assert job.output("second", "word", "word.txt") == "abc"


def test_independent_steps_run_in_parallel(job: TinyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    pipe = job.folder / "pipe"
    os.mkfifo(pipe)  # opening it blocks until the other step opens it
    job.step("left", f"echo met > {pipe}", limits={"timeout": 60})
    job.step("right", f"cat {pipe}", limits={"timeout": 60})
    assert job.run().succeeded
    assert "right | met" in job.lines


def test_parallel_steps_are_limited_to_the_number_of_processors(
    job: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    list_ = job.folder / "list"
    for name in ("a", "b", "c"):
        job.step(name, f"echo begin >> {list_}; echo end >> {list_}")
    assert job.run().succeeded
    assert list_.read_text().split() == ["begin", "end"] * 3


def test_each_step_has_a_log_that_begins_with_its_command(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    job.steps["first"]["command"] += "; echo to stdout; echo to stderr >&2"
    job.run()
    first, *lines = job.log("first").splitlines()
    assert first.startswith('$ echo "$(cat ')
    assert "${{" not in first
    assert sorted(lines) == ["to stderr", "to stdout"]
    assert {"first | to stdout", "first | to stderr"} <= set(job.lines)


def test_progress_is_reported(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    job.run()
    printed = job.printed()
    assert "first: started, it has no result yet" in printed
    assert "first: finished in " in printed
    assert "(1 of 2)" in printed
    assert "(2 of 2)" in printed
    assert f"output word: {job.work / 'second/outputs/word'}" in printed
    assert "finished first, second" in job.lines[-1]


def test_a_step_runs_in_a_fresh_copy_of_the_uploaded_code(job: TinyJob) -> None:
    (job.project / ".amlignore").write_text(".amlignore\n*.secret\n", encoding="utf-8")
    (job.project / "my.secret").write_text("secret", encoding="utf-8")
    (job.project / "empty").mkdir()
    job.step("a", "ls -A; echo changed > code.txt; touch left_over")
    job.step("b", "ls -A; cat code.txt")
    job.run(force=True)
    job.run(force=True)
    assert job.log("a").splitlines()[1:] == ["code.txt"]
    assert job.log("b").splitlines()[1:] == ["code.txt", "code"]
    assert (job.project / "code.txt").read_text() == "code"


def test_a_link_out_of_the_project_is_rejected_before_any_step_runs(job: TinyJob) -> None:
    job.step("a", "cat linked.txt")
    (job.folder / "outside.txt").write_text("outside", encoding="utf-8")
    link = job.project / "linked.txt"
    link.symlink_to("../outside.txt")
    with pytest.raises(OperationError, match=r"linked\.txt is a link that points out"):
        job.run()
    assert not (job.work / "a").exists()
    link.unlink()
    link.symlink_to("code.txt")
    assert job.run().succeeded


@pytest.mark.parametrize("kind", ["uri_folder", "mlflow_model", "custom_model", "mltable"])
def test_an_output_is_an_empty_folder(job: TinyJob, kind: str) -> None:
    job.step("a", "ls -A ${{outputs.it}}; echo x > ${{outputs.it}}/x", {"it": {"type": kind}})
    assert job.run().succeeded
    assert job.run(force=True).succeeded
    assert job.log("a").splitlines()[1:] == []


def test_an_output_may_be_a_file(job: TinyJob) -> None:
    job.step("a", "echo x > ${{outputs.it}}", {"it": {"type": "uri_file"}})
    job.step("b", "cat ${{inputs.it}}", inputs={"it": "${{parent.jobs.a.outputs.it}}"})
    assert job.run().succeeded
    assert job.log("b").endswith("\nx\n")


def test_a_missing_output_file_fails_the_step(job: TinyJob) -> None:
    job.step("a", "true", {"it": {"type": "uri_file"}})
    assert not job.run().succeeded
    assert "it did not produce its output it" in job.printed()


@pytest.mark.parametrize("name", ["with blank", "it's", 'quo"te', "dollar$HOME", "back\\slash"])
@pytest.mark.parametrize("quotes", ["", "'", '"'])
def test_paths_may_contain_shell_metacharacters(tmp_path: Path, name: str, quotes: str) -> None:
    job = TinyJob(tmp_path / name)
    job.inputs = {"raw": {"path": job.data("the raw.txt", "a")}}
    command = (
        "X='y' BIND__it=?${{outputs.it}}/x.txt? bash -c "
        '\'cat "$1" > "$BIND__it"\' - ?${{inputs.raw}}?'
    )
    job.step(
        "a",
        command.replace("?", quotes),
        {"it": FOLDER},
        inputs={"raw": "${{parent.inputs.raw}}"},
    )
    assert job.run().succeeded, job.printed()
    assert job.output("a", "it", "x.txt") == "a"


def test_a_failed_step_shows_the_end_of_its_log_and_how_to_repeat_it(job: TinyJob) -> None:
    job.step("bad", "seq 1 30; echo it went wrong >&2; exit 3")
    job.step("after", "true", inputs={"x": "${{parent.jobs.bad.outputs.x}}"})
    job.steps["bad"]["outputs"] = {"x": FOLDER}
    verdict = job.run(command="kedro mlops local --env dev")
    assert not verdict.succeeded
    assert job.statuses(verdict) == {"bad": "failed", "after": "not started"}
    assert verdict.outputs == {}
    printed = job.printed()
    assert "its command ended with exit status 3" in printed
    assert "bad ! it went wrong" in printed
    assert "bad ! 30" in printed
    assert "bad ! 10" not in printed
    assert str(job.work / "bad/log.txt") in printed
    assert "kedro mlops local --env dev --step bad" in printed
    assert "failed bad; not started after" in job.lines[-1]


def test_after_a_failure_running_steps_finish_and_no_step_starts(
    job: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    begun, go = job.folder / "begun", job.folder / "go"
    os.mkfifo(begun)  # opening it blocks until the other step opens it
    os.mkfifo(go)
    job.step("bad", f"cat {begun}; exit 1")
    job.step("slow", f"echo > {begun}; cat {go}", {"x": FOLDER})
    job.step("after_slow", "true", inputs={"x": "${{parent.jobs.slow.outputs.x}}"})

    def say(line: str) -> None:
        job.lines.append(line)
        if line.startswith("bad: failed"):
            go.write_text("the other step has failed", encoding="utf-8")

    verdict = job.run(say=say)
    assert job.statuses(verdict) == {
        "bad": "failed", "slow": "finished", "after_slow": "not started",
    }  # fmt: skip
    assert "slow | the other step has failed" in job.lines


def test_a_job_may_continue_with_other_steps_after_a_failure(job: TinyJob) -> None:
    job.settings = {"continue_on_step_failure": True}
    job.step("bad", "exit 1", {"x": FOLDER})
    job.step("after_bad", "true", inputs={"x": "${{parent.jobs.bad.outputs.x}}"})
    job.step("good", "true", {"x": FOLDER})
    job.step("after_good", "true", inputs={"x": "${{parent.jobs.good.outputs.x}}"})
    verdict = job.run()
    assert not verdict.succeeded
    assert job.statuses(verdict) == {
        "bad": "failed", "good": "finished", "after_good": "finished", "after_bad": "not started",
    }  # fmt: skip


def test_one_step_runs_with_the_existing_outputs_of_others(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    job.run()
    job.steps["second"]["command"] = "cat ${{inputs.half}}/half.txt; touch ${{outputs.word}}/x"
    verdict = job.run(only="second")
    assert job.statuses(verdict) == {"second": "finished"}
    assert job.log("second").endswith("\nab\n")
    assert job.statuses(job.run(only="second")) == {"second": "finished"}, (
        "a requested step is not reused"
    )


def test_one_step_needs_the_outputs_of_others(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    with pytest.raises(OperationError, match=r"output half of step first is needed.*--step first"):
        job.run(only="second")
    assert job.run(only="first").succeeded
    assert job.run(only="second").succeeded


def test_the_outputs_of_a_failed_step_are_not_read(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    good = job.steps["first"]["command"]
    job.steps["first"]["command"] = f"{good}; exit 1"
    assert not job.run().succeeded
    with pytest.raises(OperationError, match="first has not run here"):
        job.run(only="second")
    job.steps["first"]["command"] = "ls -A ${{outputs.half}}; " + good
    assert job.run().succeeded
    assert job.log("first").splitlines()[1:] == [], "the next run starts with an empty folder"


def test_an_unknown_step_is_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="no step third; the steps are: first, second"):
        two_step_job(tmp_path).run(only="third")


def test_one_step_runs_with_fetched_outputs(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    fetched = tmp_path / "fetched"
    with pytest.raises(OperationError, match=r"half of step first is needed, .* Fetch outputs"):
        job.run(only="second", from_outputs=fetched)
    (fetched / "first/half").mkdir(parents=True)
    (fetched / "first/half/half.txt").write_text("cloud", encoding="utf-8")
    assert job.run(only="second", from_outputs=fetched).succeeded
    assert job.output("second", "word", "word.txt") == "cloudc"


def test_a_fetched_file_is_read_from_its_folder(job: TinyJob) -> None:
    job.step("a", "true", {"it": {"type": "uri_file"}})
    job.step("b", "cat ${{inputs.it}}", inputs={"it": "${{parent.jobs.a.outputs.it}}"})
    folder = job.folder / "fetched/a/it"
    folder.mkdir(parents=True)
    (folder / "anything.csv").write_text("cloud", encoding="utf-8")
    assert job.run(only="b", from_outputs=job.folder / "fetched").succeeded
    assert job.log("b").endswith("cloud")


def test_parameters_and_data_of_the_job_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = two_step_job(tmp_path)
    job.data("other.txt", "z")
    monkeypatch.chdir(tmp_path / "data")
    assert job.run(parameters={"letter": "y"}, inputs={"raw": "other.txt"}).succeeded
    assert job.output("second", "word", "word.txt") == "zyc"


def test_a_dotted_parameter_sets_the_input_of_its_port(job: TinyJob) -> None:
    job.inputs = {"model__seed": 0}
    job.step("a", "echo ${{inputs.s}}", inputs={"s": "${{parent.inputs.model__seed}}"})
    job.run(parameters={"model.seed": "7"})
    assert "a | 7" in job.lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameters": {"other": "1"}}, "--params other: .* it has: letter, unused"),
        ({"parameters": {"raw": "1"}}, "--params raw: that is set with --input"),
        ({"inputs": {"other": "x"}}, "--input other: .* it has: raw"),
        ({"inputs": {"letter": "x"}}, "--input letter: that is set with --params"),
        ({"inputs": {"raw": "gone.txt"}}, "raw is read from .*gone.txt, which does not exist"),
    ],
)
def test_unknown_inputs_and_parameters_are_rejected(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    job = two_step_job(tmp_path)
    with pytest.raises(OperationError, match=message):
        job.run(**options)
    assert not job.work.exists()


@pytest.mark.parametrize(
    "path", ["azureml:data:1", "azureml://datastores/x/paths/y", "https://host/file.csv"]
)
def test_remote_data_needs_a_local_copy(tmp_path: Path, path: str) -> None:
    job = two_step_job(tmp_path)
    job.inputs["raw"] = {"type": "uri_file", "path": path}
    with pytest.raises(OperationError, match=r"cannot be read on this machine.*--input raw=PATH"):
        job.run()
    assert job.run(inputs={"raw": str(tmp_path / "data/raw.txt")}).succeeded
    assert job.run(only="second").succeeded, "this step does not read it"


def test_a_spark_step_runs_its_entry_file(job: TinyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check for Spark is disabled; tests/plugin/spark/test_local_step.py runs with Spark."""
    monkeypatch.setattr("kedro_azure_mlops.engine.session.refuse_missing_spark", lambda: None)
    entry = job.project / "entry.py"
    entry.write_text("import os, sys; print(sys.argv[1:], os.environ['X'])", encoding="utf-8")
    job.inputs = {"n": 3}
    job.steps["a"] = {
        "type": "spark",
        "code": "../project",
        "entry": {"file": "entry.py"},
        "args": 'BIND__x=${{outputs.x}}/x run --params "n=${{inputs.n}}"',
        "conf": {"spark.driver.cores": 1, "spark.yarn.appMasterEnv.X": "told"},
        "inputs": {"n": "${{parent.inputs.n}}"},
        "outputs": {"x": {"type": "uri_folder", "mode": "direct"}},
    }
    assert job.run().succeeded
    bound = f"BIND__x={job.work / 'a/outputs/x/x'}"
    assert f"a | {[bound, 'run', '--params', 'n=3']} told" in job.lines


@pytest.mark.parametrize("folder", ["/app", "'/my app'", "'/it'\"'\"'s mine'", r"/my\ app"])
def test_a_step_with_its_own_image_runs_in_the_project(job: TinyJob, folder: str) -> None:
    job.step("a", f"cd {folder} && cat code.txt", environment={"image": "registry/app:1"})
    del job.steps["a"]["code"]
    assert job.run().succeeded
    assert "a | code" in job.lines
    assert "a: the image itself is not started" in job.printed()


def test_a_step_that_takes_too_long_fails(job: TinyJob) -> None:
    job.step("a", "echo begun; sleep 600", limits={"timeout": 0.2})
    assert not job.run().succeeded
    assert "ran longer than its limit of 0.2 s" in job.printed()


def test_two_runs_cannot_share_a_folder(job: TinyJob) -> None:
    job.step("a", "true")
    with (
        claim(job.project, writes=[str(job.work)], records=job.work / ".runs"),
        pytest.raises(OperationError, match=r"Another run is using the same paths: .* It writes"),
    ):
        job.run()
    assert job.run().succeeded


def test_the_snapshot_of_the_code_is_removed_after_the_run(job: TinyJob) -> None:
    job.step("a", "true")
    job.run()
    assert sorted(path.name for path in job.work.iterdir()) == ["a"]


def test_the_logged_command_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    job = two_step_job(tmp_path / "a folder")
    job.run()
    command = job.log("first").splitlines()[0].removeprefix("$ ")
    assert str(job.work / "first/outputs/half/half.txt") in shlex.split(command)
