"""Jobs of a few shell commands, for tests of what runs a compiled job here."""

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
    """A project with one file, and a job that is written beside it."""

    folder: Path
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

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
        self.said.clear()
        return run_job(
            self.write(), self.work, **{"say": self.said.append, "root": self.project} | options
        )

    def data(self, name: str, text: str) -> str:
        """Write a file and return its path as a job file names it."""
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "data" / name).write_text(text, encoding="utf-8")
        return f"../data/{name}"

    def made(self, step: str, port: str, file: str = "") -> str:
        place = self.work / step / "outputs" / port / file
        return place.read_text(encoding="utf-8").strip()

    def log(self, step: str, name: str = "log.txt") -> str:
        return (self.work / step / name).read_text(encoding="utf-8")

    def statuses(self, verdict: Verdict) -> dict[str, str]:
        return {name: step.status for name, step in verdict.steps.items()}

    def printed(self) -> str:
        return "\n".join(self.said)


def in_a_row(folder: Path) -> TinyJob:
    """Two steps: the first adds a letter to what it is given, the second another one."""
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
