"""Brings code and inputs of a step to folders, and its outputs to storage and the registry."""

import re
from pathlib import Path

from operation.tests.azure.graph import Graph
from operation.tests.azure.kinds import Body
from operation.tests.azure.places import Places
from operation.tests.azure.resources import Resources
from operation.tests.azure.runs import Output, Run, Runs
from operation.tests.azure.steps import Step, StepError

_OUTPUT = "azureml://datastores/workspaceblobstore/paths/azureml/{name}/{output_name}/"
# The service writes them with a dollar sign and two braces.
_PLACEHOLDER = re.compile(r"\$?\{+(name|output_name)\}+")
_ARTIFACT = "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run}/{name}"


class Wiring:
    """The folders and blobs of one job's steps."""

    def __init__(
        self, id: str, graph: Graph, run: Run, folder: Path, parts: tuple[Resources, Places, Runs]
    ) -> None:
        self._workspace = id.rpartition("/jobs/")[0]
        self._graph, self._run, self._folder = graph, run, folder
        self._resources, self._places, self._runs = parts

    def prepare(self, step: Step) -> None:
        """Make fresh folders with the code and the inputs, and empty ones for the outputs.

        Raises
        ------
        StepError
            If an input is not there.
        """
        step.folder = self._folder / step.name / "code"
        step.folder.mkdir(parents=True)
        if step.code:
            self._fetch(step.code, step.folder)
        _, component = self._graph.nodes[step.name]
        for name in component.get("inputs") or {}:
            self._bring(step, name)
        for name, output in (component.get("outputs") or {}).items():
            path = self._folder / step.name / "outputs" / name
            folder = path.parent if output["type"] == "uri_file" else path
            folder.mkdir(parents=True, exist_ok=True)
            step.outputs[name] = str(path)
        step.variables |= self._variables(step)

    def keep(self, step: Step, run: Run) -> None:
        """Store the outputs where the job wants them, and register those that have a name.

        Raises
        ------
        StepError
            If the job wants one in a datastore that is not there.
        """
        for name, path in step.outputs.items():
            target = self._graph.target(step.name, name)
            uri = _filled(target.uri or _OUTPUT, run.id, name)
            uri = uri.rstrip("/") if target.type == "uri_file" else uri
            self._store(path, uri)
            run.outputs[name] = Output(target.type, uri)
            if target.parent:
                self._run.outputs[target.parent] = run.outputs[name]
                # The client looks here for outputs that run history does not tell of: models.
                usual = _filled(_OUTPUT, self._run.id, target.parent)
                self._store(path, usual)
            if target.asset:
                self._register(target.asset, run.outputs[name])

    def write(self, run: Run, name: str, text: str) -> None:
        """Append to a log of a run."""
        uri = _ARTIFACT.format(run=run.id, name=name)
        self._places.append(self._workspace, uri, text)
        run.logs[name] = self._places.url(self._workspace, uri)

    def _bring(self, step: Step, name: str) -> None:
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

    def _register(self, asset: tuple[str, str], output: Output) -> None:
        is_model = output.type.endswith("_model")
        kind, collection = ("model", "models") if is_model else ("data", "data")
        properties: Body = {f"{kind}Type": output.type, f"{kind}Uri": output.uri}
        properties |= {"jobName": self._run.id, "tags": {}, "properties": {}}
        id = f"{self._workspace}/{collection}/{asset[0]}/versions/{asset[1]}"
        self._resources.put(id, {"properties": properties})

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
