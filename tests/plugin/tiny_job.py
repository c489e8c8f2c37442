"""Jobs of a few shell commands, for tests of running a compiled job locally."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kedro_azure_mlops.local.report import Verdict
from kedro_azure_mlops.local.run import run_job

FOLDER = {"type": "uri_folder", "mode": "upload"}


@dataclass
class TinyJob:
    """A project with one file, and a job next to it."""

    folder: Path
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.project.mkdir(parents=True)
        (self.project / "code.txt").write_text("code", encoding="utf-8")

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def step(
        self, name: str, command: str, outputs: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        self.steps[name] = {
            "type": "command",
            "code": "../project",
            "environment": "azureml:some:1",
            "command": command,
            "outputs": dict(outputs or {}),
        } | more

    def write(self) -> Path:
        job = {
            "type": "pipeline",
            "display_name": "tiny",
            "experiment_name": "tiny-dev",
            "settings": self.settings,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "jobs": self.steps,
        }
        file = self.folder / "jobs" / "job.yml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
        return file

    def run(self, **options: Any) -> Verdict:
        self.lines.clear()
        return run_job(
            self.write(), self.work, **{"say": self.lines.append, "root": self.project} | options
        )

    def data(self, name: str, text: str) -> str:
        """Write a file and return its path relative to the job file."""
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "data" / name).write_text(text, encoding="utf-8")
        return f"../data/{name}"

    def output(self, step: str, port: str, file: str = "") -> str:
        path = self.work / step / "outputs" / port / file
        return path.read_text(encoding="utf-8").strip()

    def log(self, step: str, name: str = "log.txt") -> str:
        return (self.work / step / name).read_text(encoding="utf-8")

    def statuses(self, verdict: Verdict) -> dict[str, str]:
        return {name: step.status for name, step in verdict.steps.items()}

    def printed(self) -> str:
        return "\n".join(self.lines)


def two_step_job(folder: Path) -> TinyJob:
    """Make a job of two steps, each of which appends a letter to its input."""
    job = TinyJob(folder)
    job.inputs = {
        "raw": {"type": "uri_file", "path": job.data("raw.txt", "a")},
        "letter": "b",
        "unused": 1,
    }
    job.outputs = {"word": FOLDER}
    job.step(
        "first",
        'echo "$(cat ${{inputs.raw}})${{inputs.letter}}" > ${{outputs.half}}/half.txt',
        {"half": FOLDER},
        inputs={"raw": "${{parent.inputs.raw}}", "letter": "${{parent.inputs.letter}}"},
    )
    job.step(
        "second",
        'echo "$(cat ${{inputs.half}}/half.txt)c" > ${{outputs.word}}/word.txt',
        {"word": "${{parent.outputs.word}}"},
        inputs={"half": {"type": "uri_folder", "path": "${{parent.jobs.first.outputs.half}}"}},
    )
    return job
