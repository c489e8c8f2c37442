"""One step of a job: its folders, variables, MLflow run and command."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.testing.resources import Body, Resources
from kedro_azure_mlops.testing.runs import Output, Run, Runs
from kedro_azure_mlops.testing.storage import Places

if TYPE_CHECKING:
    from kedro_azure_mlops.testing.jobs import Graph

_REFERENCE = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}")
# Settings of the test process: its access to the stand-in, identity, Kedro and tracking.
_NOT_INHERITED = re.compile(r"(AZURE|KEDRO|MLFLOW|MSI|PYTEST)|.*_PROXY$|.*_CA_BUNDLE$|SSL_", re.I)


class StepError(Exception):
    """The step failed; its run reports the message."""


@dataclass
class Step:
    """A step: its definition, its folder and its result."""

    name: str
    run_id: str
    type: str
    command: str
    code: str | None
    environment: str | None
    compute: str | None
    is_deterministic: bool
    resources: Body
    distribution: Body
    limits: Body
    identity: Body
    conf: Body
    environment_variables: dict[str, str]
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()
    status: str = "Queued"
    log: str = ""
    _process: "subprocess.Popen[str] | None" = None
    _killed: bool = False

    @classmethod
    def of(cls, name: str, run_id: str, node: Body, component: Body) -> "Step":
        """Merge a pipeline's node with its component; the node takes precedence."""
        merged = component | {key: value for key, value in node.items() if value is not None}
        keys = ("resources", "distribution", "limits", "identity", "conf", "environment_variables")
        more: dict[str, Any] = {key: merged.get(key) or {} for key in keys}
        return cls(
            name=name,
            run_id=run_id,
            type=merged["type"],
            command=_command(merged),
            code=merged.get("code"),
            environment=merged.get("environment"),
            compute=merged.get("computeId"),
            is_deterministic=component.get("is_deterministic", True),
            **more,
        )

    def line(self) -> str:
        """Return the command with its inputs and outputs filled in.

        Raises
        ------
        StepError
            If the command names an input or output that the step lacks.
        """
        known = {f"inputs.{name}": value for name, value in self.inputs.items()}
        known |= {f"outputs.{name}": value for name, value in self.outputs.items()}
        unknown = set(_REFERENCE.findall(self.command)) - set(known)
        if unknown:
            raise StepError(f"The command names unknown ports: {', '.join(sorted(unknown))}")
        return _REFERENCE.sub(lambda match: known[match[1]], self.command)

    def run(self, write: Callable[[str], None]) -> None:
        """Run the command and write its output as it arrives.

        Raises
        ------
        StepError
            If it exits with a status other than 0 or exceeds its time limit.
        """
        expired = threading.Event()
        with subprocess.Popen(
            ["bash", "-c", self.line()],
            cwd=self.folder,
            env=self._environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as self._process:
            if self._killed:  # during start-up
                self.kill()
            limit = threading.Timer(_seconds(self.limits.get("timeout")), self._expire, [expired])
            limit.start()
            for line in self._process.stdout or ():
                self.log += line
                write(line)
            limit.cancel()
            limit.join()
        self._raise_on_failure(self._process.returncode, expired.is_set())

    def kill(self) -> None:
        """Kill the command and all processes that it started."""
        self._killed = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self.kill()

    def _raise_on_failure(self, status: int, expired: bool) -> None:
        if expired:
            raise StepError(f"The step exceeded its limit of {self.limits['timeout']}.")
        if status:
            raise StepError(
                f"Execution failed. User process '/bin/bash' exited with status code {status}. "
                "Please check log file 'user_logs/std_log.txt' for error details. "
                f"Error: {self.log[-2000:]}"
            )

    def _environ(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not _NOT_INHERITED.match(k)}
        own = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
        return inherited | own | self.variables | self.environment_variables


def _command(merged: Body) -> str:
    if merged["type"] == "spark":
        return f"python {merged['entry']['file']} {merged.get('args') or ''}".rstrip()
    return str(merged["command"])


def _seconds(timeout: str | None) -> float:
    from isodate import parse_duration

    return parse_duration(timeout).total_seconds() if timeout else threading.TIMEOUT_MAX


_MLFLOW_STATUS = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}


@dataclass
class Tracked:
    """An open MLflow run."""

    client: Any
    run: Any
    uri: str
    experiment: str

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables that Azure ML sets for a step."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_RUN_ID": self.run.info.run_id,
            "MLFLOW_EXPERIMENT_ID": self.run.info.experiment_id,
            "MLFLOW_EXPERIMENT_NAME": self.experiment,
        }

    def nested(self, name: str) -> "Tracked":
        """Open the run of a step, nested in the job's run."""
        tags = {"mlflow.parentRunId": self.run.info.run_id}
        run = self.client.create_run(self.run.info.experiment_id, tags=tags, run_name=name)
        return Tracked(self.client, run, self.uri, self.experiment)

    def end(self, status: str) -> None:
        """End the run."""
        self.client.set_terminated(self.run.info.run_id, _MLFLOW_STATUS[status])


def open_run(
    uri: str, artifacts: Path, experiment: str, name: str, tags: dict[str, str]
) -> Tracked:
    """Open the run of a job in its experiment, and create the experiment if it does not exist."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    # A server stores artifacts itself; a database would put them into the current folder.
    place = None if uri.startswith("http") else (artifacts / experiment).as_uri()
    id = found.experiment_id if found else client.create_experiment(experiment, place)
    return Tracked(client, client.create_run(id, tags=tags, run_name=name), uri, experiment)


_OUTPUT = "azureml://datastores/workspaceblobstore/paths/azureml/{name}/{output_name}/"
# The service writes placeholders with a dollar sign and two braces.
_PLACEHOLDER = re.compile(r"\$?\{+(name|output_name)\}+")
_ARTIFACT = "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run}/{name}"


class Wiring:
    """The folders and blobs of one job's steps."""

    def __init__(
        self, id: str, graph: "Graph", run: Run, folder: Path, parts: tuple[Resources, Places, Runs]
    ) -> None:
        self._workspace = id.rpartition("/jobs/")[0]
        self._graph, self._run, self._folder = graph, run, folder
        self._resources, self._places, self._runs = parts

    def prepare(self, step: Step) -> None:
        """Create folders with the code and the inputs, and empty ones for the outputs.

        Raises
        ------
        StepError
            If an input does not exist.
        """
        step.folder = self._folder / step.name / "code"
        step.folder.mkdir(parents=True)
        if step.code:
            self._fetch(step.code, step.folder)
        _, component = self._graph.nodes[step.name]
        for name in component.get("inputs") or {}:
            self._fetch_input(step, name)
        for name, output in (component.get("outputs") or {}).items():
            path = self._folder / step.name / "outputs" / name
            folder = path.parent if output["type"] == "uri_file" else path
            folder.mkdir(parents=True, exist_ok=True)
            step.outputs[name] = str(path)
        step.variables |= self._variables(step)

    def keep(self, step: Step, run: Run) -> None:
        """Store the outputs at their targets, and register named ones as assets.

        Raises
        ------
        StepError
            If the datastore of a target does not exist.
        """
        for name, path in step.outputs.items():
            target = self._graph.target(step.name, name)
            uri = _filled(target.uri or _OUTPUT, run.id, name)
            uri = uri.rstrip("/") if target.type == "uri_file" else uri
            self._store(path, uri)
            run.outputs[name] = Output(target.type, uri)
            if target.parent:
                self._run.outputs[target.parent] = run.outputs[name]
                # The client looks here for outputs that run history does not list: models.
                default_uri = _filled(_OUTPUT, self._run.id, target.parent)
                self._store(path, default_uri)
            if target.asset:
                self._register(target.asset, run.outputs[name])

    def write(self, run: Run, name: str, text: str) -> None:
        """Append to a log of a run."""
        uri = _ARTIFACT.format(run=run.id, name=name)
        self._places.append(self._workspace, uri, text)
        run.logs[name] = self._places.url(self._workspace, uri)

    def _fetch_input(self, step: Step, name: str) -> None:
        source = self._graph.source(step.name, name)
        if source is None:
            return
        if source.literal is not None:
            step.inputs[name] = source.literal
            return
        uri = source.uri
        if source.step:
            uri = self._runs.all[f"{self._run.id}_{source.step}"].outputs[source.output].uri
        folder = self._folder / step.name / "inputs" / name
        step.inputs[name] = str(self._fetch(uri, folder))

    def _fetch(self, uri: str, folder: Path) -> Path:
        try:
            return self._places.fetch(self._workspace, uri, folder)
        except FileNotFoundError as error:
            raise StepError(f"ScriptExecution.StreamAccess.NotFound: {error}") from error

    def _store(self, path: str, uri: str) -> None:
        try:
            self._places.store(self._workspace, Path(path), uri)
        except FileNotFoundError as error:
            raise StepError(f"ScriptExecution.StreamAccess.NotFound: {error}") from error

    def _register(self, asset: tuple[str, str | None], output: Output) -> None:
        is_model = output.type.endswith("_model")
        kind, collection = ("model", "models") if is_model else ("data", "data")
        properties: Body = {f"{kind}Type": output.type, f"{kind}Uri": output.uri}
        properties |= {"jobName": self._run.id, "tags": {}, "properties": {}}
        id = f"{self._workspace}/{collection}/{asset[0]}"
        version = asset[1] or self._resources.next_version(id)
        self._resources.put(f"{id}/versions/{version}", {"properties": properties})

    def _variables(self, step: Step) -> dict[str, str]:
        _, _, subscription, _, group, *_, workspace = self._workspace.split("/")
        return {
            "AZUREML_RUN_ID": step.run_id,
            "AZUREML_ROOT_RUN_ID": self._run.id,
            "AZUREML_ARM_SUBSCRIPTION": subscription,
            "AZUREML_ARM_RESOURCEGROUP": group,
            "AZUREML_ARM_WORKSPACE_NAME": workspace,
        }


def _filled(uri: str, run: str, output: str) -> str:
    return _PLACEHOLDER.sub(lambda match: run if match[1] == "name" else output, uri)
