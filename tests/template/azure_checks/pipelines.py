"""Check the Azure pipelines that the template renders.

Each file is read, expanded with its templates for each choice of parameters, and checked against
the schema and for faults that no schema detects.
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

_PIPELINE_KEYS = ("trigger", "pr", "schedules", "resources", "extends")
_TEMPLATE_KEYS = ("stages", "jobs", "steps", "variables")


class CannotCheckError(Exception):
    """The files cannot be checked; the message says why."""


def check(folder: Path, root: Path | None = None) -> list[Fault]:
    """Return the faults in the files below a folder, sorted by location.

    Parameters
    ----------
    root
        The project whose commands the pipelines call; by default the parent of the folder.

    Raises
    ------
    CannotCheckError
        If the folder is missing or contains no YAML file, or a file cannot be read.
    """
    if not folder.is_dir():
        raise CannotCheckError(f"the folder {folder} does not exist")
    names = sorted(p.as_posix() for p in folder.rglob("*") if p.suffix in (".yml", ".yaml"))
    if not names:
        raise CannotCheckError(f"no YAML file in {folder}")
    faults: set[Fault] = set()
    documents: dict[str, Mapping] = {}
    for name in names:
        try:
            documents[name] = read(Path(name), name)
        except FaultError as error:
            faults.add(error.fault)
        except (OSError, UnicodeDecodeError) as error:
            raise CannotCheckError(f"{name} cannot be read: {error}") from error
    for document in documents.values():
        faults.update(_file_faults(document))
    used = _check_pipelines(documents, faults, root or folder.resolve().parent)
    for name, document in list(documents.items()):
        if name in used or not _is_pipeline(document):
            faults.update(_template_faults(document, documents))
    return sorted(faults)


def _file_faults(document: Mapping) -> Iterator[Fault]:
    parameters, faults = declared(document)
    yield from faults
    yield from marks.faults_of(document, set(parameters))
    yield from policies.faults_of(document)


def _is_pipeline(document: Mapping) -> bool:
    return any(key in document for key in _PIPELINE_KEYS)


def _check_pipelines(documents: dict[str, Mapping], faults: set[Fault], root: Path) -> set[str]:
    """Check each expansion of the pipelines; return the templates they use."""
    used: set[str] = set()
    commands, named = Commands(root), {}
    pipelines = {name: body for name, body in documents.items() if _is_pipeline(body)}
    for file, document in pipelines.items():
        names = named.setdefault(Path(file).stem, set())
        for parameters in choices(declared(document)[0]):
            for expansion, pipeline in _expansions(document, parameters, documents):
                stages = graph.stages_of(pipeline)
                names |= triggers.names_of(stages)
                for job in (job for stage in stages for job in stage.jobs):
                    job.reported |= commands.reported_outputs(job)
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


def _expansions(
    document: Mapping, parameters: dict[str, Any], documents: dict[str, Mapping]
) -> Iterator[tuple[Expansion, Mapping]]:
    """Expand a file; twice if a condition is known only in a run."""
    for assumed in (True, False):
        expansion = Expansion(Path(), documents, assumed)
        yield expansion, expansion.expand(document, parameters)
        if not expansion.guessed:
            return


def _template_faults(document: Mapping, documents: dict[str, Mapping]) -> Iterator[Fault]:
    """Check a template alone, so that unused branches are checked, too."""
    parameters, _ = declared(document)
    if not any(key in document for key in _TEMPLATE_KEYS):
        expected = ", ".join(_TEMPLATE_KEYS)
        text = "this is neither a pipeline nor a template"
        yield Fault(document.location, f"{text}: it has none of {expected}")
        return
    defaults = {name.lower(): p.convert(p.default) for name, p in parameters.items()}
    for expansion, body in _expansions(document, defaults, documents):
        steps = {"steps": []} if set(body) <= {"variables"} else {}
        yield from expansion.faults
        yield from schema.faults_of(Mapping(body | steps, body.location))
        yield from values.faults_of(body)
