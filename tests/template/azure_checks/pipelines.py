"""Check the Azure pipelines that the template renders.

Each file is read, put together with its templates for each choice of parameters, and checked
against the schema and for what no schema sees.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.template.azure_checks import (
    graph,
    macros,
    marks,
    outputs,
    policies,
    schema,
    triggers,
    values,
)
from tests.template.azure_checks.commands import Commands
from tests.template.azure_checks.document import Fault, FaultError, Mapping, read
from tests.template.azure_checks.parameters import choices, declared
from tests.template.azure_checks.templates import Expansion

_OF_RUN = ("trigger", "pr", "schedules", "resources", "extends")
_OF_TEMPLATE = ("stages", "jobs", "steps", "variables")


class LookError(Exception):
    """The check could not look; the message says why."""


def check(folder: Path, root: Path | None = None) -> list[Fault]:
    """Return what is wrong with the files below a folder, sorted by place.

    Parameters
    ----------
    root
        The project whose commands the pipelines call; else what the folder is in.

    Raises
    ------
    LookError
        If there is no such folder, no file in it, or one cannot be read.
    """
    if not folder.is_dir():
        raise LookError(f"there is no folder {folder}")
    names = sorted(p.as_posix() for p in folder.rglob("*") if p.suffix in (".yml", ".yaml"))
    if not names:
        raise LookError(f"there is no YAML file in {folder}")
    faults: set[Fault] = set()
    documents: dict[str, Mapping] = {}
    for name in names:
        try:
            documents[name] = read(Path(name), name)
        except FaultError as error:
            faults.add(error.fault)
        except (OSError, UnicodeDecodeError) as error:
            raise LookError(f"{name} cannot be read: {error}") from error
    for document in documents.values():
        faults.update(_of_file(document))
    used = _of_pipelines(documents, faults, root or folder.resolve().parent)
    for name, document in list(documents.items()):
        if name in used or not _is_pipeline(document):
            faults.update(_of_template(document, documents))
    return sorted(faults)


def _of_file(document: Mapping) -> Iterator[Fault]:
    parameters, faults = declared(document)
    yield from faults
    yield from marks.faults_of(document, set(parameters))
    yield from policies.faults_of(document)


def _is_pipeline(document: Mapping) -> bool:
    return any(key in document for key in _OF_RUN)


def _of_pipelines(documents: dict[str, Mapping], faults: set[Fault], root: Path) -> set[str]:
    """Check the pipelines in each way they can be read; return the templates they use."""
    used: set[str] = set()
    commands, named = Commands(root), {}
    pipelines = {name: body for name, body in documents.items() if _is_pipeline(body)}
    for file, document in pipelines.items():
        names = named.setdefault(Path(file).stem, set())
        for parameters in choices(declared(document)[0]):
            for expansion, pipeline in _readings(document, parameters, documents):
                stages = graph.stages_of(pipeline)
                names |= triggers.names_of(stages)
                for job in (job for stage in stages for job in stage.jobs):
                    job.reported |= commands.told_in(job)
                faults.update(expansion.faults)
                faults.update(schema.faults_of(pipeline))
                faults.update(marks.faults_of_run(pipeline))
                faults.update(graph.faults_of(stages))
                faults.update(outputs.faults_of(stages))
                faults.update(values.faults_of(pipeline))
                faults.update(macros.faults_of(pipeline, stages))
                faults.update(commands.faults_of(stages))
                used |= expansion.used
    prefix = triggers.prefix_of(root)
    for document in pipelines.values():
        faults.update(triggers.faults_of(document, prefix, named))
    return used


def _readings(
    document: Mapping, parameters: dict[str, Any], documents: dict[str, Mapping]
) -> Iterator[tuple[Expansion, Mapping]]:
    """Put a file together; twice where a condition is known only in a run."""
    for yes in (True, False):
        expansion = Expansion(Path(), documents, yes)
        yield expansion, expansion.of(document, parameters)
        if not expansion.guessed:
            return


def _of_template(document: Mapping, documents: dict[str, Mapping]) -> Iterator[Fault]:
    """Check a template alone, so that branches that are never taken are seen too."""
    parameters, _ = declared(document)
    if not any(key in document for key in _OF_TEMPLATE):
        wanted = ", ".join(_OF_TEMPLATE)
        text = "this is neither a pipeline nor a template"
        yield Fault(document.place, f"{text}: it has none of {wanted}")
        return
    defaults = {name.lower(): p.convert(p.default) for name, p in parameters.items()}
    for expansion, body in _readings(document, defaults, documents):
        steps = {"steps": []} if set(body) <= {"variables"} else {}
        yield from expansion.faults
        yield from schema.faults_of(Mapping(body | steps, body.place))
        yield from values.faults_of(body)
