"""Ports of steps: the datasets that enter or leave a step as folders or files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from kedro_azure_mlops.config import Input, Output
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import base_of, entry_of, is_in_memory, place_of, port_of
from kedro_azure_mlops.job.cut import Cut
from kedro_azure_mlops.job.project import Project

# Characters that a shell would interpret.
_UNSAFE = re.compile(r"""[\s$"'`\\;&|<>()*?\[\]{}!#~]""")
_LEGAL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A port of these types is the dataset itself; a port of another type is a folder with the dataset.
_DATASET_TYPES = ("uri_file", "mlflow_model", "custom_model", "mltable")


@dataclass(frozen=True)
class Port:
    """A dataset that enters or leaves a step."""

    dataset: str
    type: str
    file: str  # its path below the port; empty if the port is the dataset itself

    def __post_init__(self) -> None:
        """Refuse a name that Azure ML does not accept."""
        refuse_illegal_port(f"The dataset {self.dataset}", self.name)

    @property
    def name(self) -> str:
        """The port's name: Latin letters, digits and underscores."""
        return port_of(self.dataset)

    def place(self, side: str) -> str:
        """Return the path of the dataset, as a reference that Azure ML fills in."""
        folder = reference_to(side, self.name)
        return f"{folder}/{self.file}" if self.file else folder


class Ports:
    """The ports of a cut pipeline.

    Raises
    ------
    OperationError
        If a dataset cannot cross from one step to another, or is missing from ``inputs``.
    """

    def __init__(self, project: Project, cuts: list[Cut]) -> None:
        self._project = project
        self._cuts = cuts
        self._makers = {base_of(name): part.name for part in cuts for name in part.outputs}
        self._readers = {
            base_of(name): part.name
            for part in cuts
            for name in part.inputs
            if self._makers.get(base_of(name), part.name) != part.name
        }
        self._refuse_unknown_names()
        self._refuse_shared_names()

    def datasets(self) -> set[str]:
        """Return all datasets that nodes read or write, without transcoding suffixes."""
        return {name for part in self._cuts for name in self._datasets_of(part)}

    def maker(self, dataset: str) -> str | None:
        """Return the step that produces a dataset; None if no step does."""
        return self._makers.get(dataset)

    def given(self, part: Cut) -> list[Port]:
        """Return the ports of a step that are bound to inputs of the job."""
        free = sorted({base_of(name) for name in part.inputs} - set(self._makers))
        ports = (self._input_port(part, name) for name in free)
        return [port for port in ports if port is not None]

    def linked(self, part: Cut) -> list[Port]:
        """Return the ports of a step that are bound to outputs of other steps."""
        names = {base_of(name) for name in part.inputs} & set(self._readers)
        return [self._output_port(name) for name in sorted(names)]

    def made(self, part: Cut) -> list[Port]:
        """Return the output ports of a step: for later steps, or as outputs of the job."""
        names = {base_of(name) for name in part.outputs}
        job_outputs = self._project.config.outputs
        ported = {n for n in names if n in self._readers or (n in job_outputs and self._is_kept(n))}
        return [self._output_port(name) for name in sorted(ported)]

    def path(self, dataset: str) -> str:
        """Return the path of a job input: the configured one, else the catalog's."""
        configured = self._input(dataset).path
        return configured or str(place_of(self._entries[dataset]))

    def overruled(self, dataset: str) -> str | None:
        """Return the catalog's path of an input that ``azureml.yml`` overrides; else None."""
        return place_of(self._entries[dataset]) if self._input(dataset).path else None

    def carried(self) -> dict[str, tuple[str, str | None]]:
        """Return the datasets carried without a catalog entry, each with its maker and a reader.

        A dataset that is only an output of the job has no reader.
        """
        ports = {port.dataset for part in self._cuts for port in self.made(part)}
        return {
            name: (self._makers[name], self._readers.get(name))
            for name in sorted(ports)
            if self._is_carried(name)
        }

    def read_outside(self, part: Cut) -> list[str]:
        """Return the external data that a step reads without a port, which may change anytime."""
        ported = {port.dataset for port in (*self.given(part), *self.linked(part))}
        free = {base_of(name) for name in part.inputs} - ported
        return sorted(name for name in free if self._is_external(name))

    def _input_port(self, part: Cut, name: str) -> Port | None:
        entry, job_inputs = self._entries.get(name), self._project.config.inputs
        if entry is None:
            raise OperationError(
                f"step {part.name} reads {name}, which no step produces and no catalog entry "
                "defines."
            )
        path = place_of(entry)
        if name in job_inputs and (self._input(name).path or _is_local(path)):
            self._refuse_wrong_type(name, entry)
            kind = self._input(name).type
            return Port(name, kind, file_in_folder(entry) if kind == "uri_folder" else "")
        if _is_local(path) and not self._is_uploaded(str(path)):
            raise OperationError(
                f"step {part.name} reads {name} from {path}, which is not uploaded with the code: "
                f"add {name} to inputs in azureml.yml."
            )
        return None

    def _refuse_wrong_type(self, name: str, entry: Mapping[str, Any]) -> None:
        """Refuse an input of the wrong type, or with several paths, before the job is submitted."""
        configured, path = self._input(name), self.path(name)
        paths = {place_of(stored) for stored in self._stored(name).values()}
        if len(paths) > 1:
            raise OperationError(
                f"The input {name} is read from several paths, {', '.join(map(str, paths))}, "
                "but a job input has one path. Use datasets with different names."
            )
        if entry.get("versioned") and not (configured.type == "uri_folder" and configured.path):
            raise OperationError(
                f"The input {name} is versioned, so it is a folder of versions. In azureml.yml, "
                f"under inputs, set its path to the folder that holds it, "
                f"{PurePosixPath(path).parent}, and type: uri_folder."
            )
        if ":" in path:  # a URI or an asset: Azure ML knows its type
            return
        local = self._project.root / path
        wrong = {"uri_file": local.is_dir(), "uri_folder": local.is_file()}
        if wrong.get(configured.type):
            raise OperationError(
                f"The input {name} is {configured.type} in azureml.yml, but {path} is a "
                f"{'folder' if local.is_dir() else 'file'}: change its type."
            )
        _refuse_unsafe(name, path)

    def _output_port(self, name: str) -> Port:
        """Return the port of a dataset that a step produces."""
        output = self._project.config.outputs.get(name) or Output()
        crosses = f"{name} crosses from step {self._makers[name]} to {self._readers.get(name)}"
        if name not in self._readers:
            crosses = f"{name} is an output of the job"
        if self._is_carried(name):
            return self._carried_port(name, output, crosses)
        entries = self._stored(name)
        if len(entries) < len(self._names(name)):
            raise OperationError(
                f"{crosses}, but has no catalog entry that stores it in a file: add one, or set "
                "carry: true in azureml.yml."
            )
        paths = {place_of(entry) for entry in entries.values()}
        if None in paths:
            raise OperationError(
                f"{crosses}, but its catalog entry has no filepath or path: it cannot be passed on "
                "as a file. Store it in one, or keep its nodes in one step."
            )
        if not all(map(_is_local, paths)) and name not in self._project.config.outputs:
            raise OperationError(
                f"{crosses}, but is stored outside of the job at {', '.join(map(str, paths))}: "
                "give it a local path, or list it in outputs in azureml.yml."
            )
        files = {_file_name(str(path)) for path in paths}
        if len(files) > 1:
            raise OperationError(
                f"{crosses}, but {' and '.join(sorted(entries))} are stored under different names: "
                f"{', '.join(sorted(files))}."
            )
        _refuse_unsafe(name, *files)
        return Port(name, output.type, "" if output.type in _DATASET_TYPES else files.pop())

    def _carried_port(self, name: str, output: Output, crosses: str) -> Port:
        """Return the port of a dataset without a catalog entry, see ``job.carried``."""
        if output.type != "uri_folder":
            raise OperationError(
                f"{crosses}, of type {output.type} in azureml.yml, but has no catalog entry that "
                "stores it that way: add one, or leave out the type."
            )
        if any(part.step.spark for part in self._cuts if name in self._datasets_of(part)):
            raise OperationError(
                f"{crosses}, but has no catalog entry, and a Spark step gets URIs, not folders: "
                "add an entry that opens URIs."
            )
        return Port(name, output.type, "")

    def _is_carried(self, name: str) -> bool:
        """Return whether a dataset has no catalog entries, or only in-memory ones."""
        stored = self._stored(name)
        is_uniform = not stored or len(stored) == len(self._names(name))
        return self._project.config.carry and is_uniform and all(map(is_in_memory, stored.values()))

    def _datasets_of(self, part: Cut) -> set[str]:
        return {base_of(name) for name in part.inputs | part.outputs}

    def _is_kept(self, name: str) -> bool:
        """Return whether the job must store a dataset, as its node does not write to the cloud."""
        paths = {place_of(entry) for entry in self._stored(name).values()}
        return not paths or not all(path and not _is_local(path) for path in paths)

    def _stored(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the catalog entries of a dataset, by transcoded name."""
        found = ((each, entry_of(self._project.catalog, each)) for each in self._names(name))
        return {each: entry for each, entry in found if entry}

    def _names(self, base: str) -> list[str]:
        """Return the names that nodes use for a dataset, with transcoding suffixes."""
        used = {name for part in self._cuts for name in part.inputs | part.outputs}
        return sorted(name for name in used if base_of(name) == base)

    @cached_property
    def _entries(self) -> dict[str, Mapping[str, Any]]:
        free = {name for part in self._cuts for name in part.inputs}
        found = ((name, entry_of(self._project.catalog, name)) for name in sorted(free))
        return {base_of(name): entry for name, entry in found if entry is not None}

    def _input(self, name: str) -> Input:
        return self._project.config.inputs.get(name) or Input()

    def _is_external(self, name: str) -> bool:
        """Return whether data may change between runs, unlike a file uploaded with the code."""
        entry = self._entries[name]
        path = place_of(entry)
        return not _has_path_key(entry) or (path is not None and not _is_local(path))

    def _is_uploaded(self, path: str) -> bool:
        from kedro_azure_mlops.azure.snapshot import files_to_upload

        source = self._project.root / path
        files = files_to_upload(self._project.root)
        uploaded = [file if file.is_absolute() else self._project.root / file for file in files]
        return any(file == source or source in file.parents for file in uploaded)

    def _refuse_unknown_names(self) -> None:
        config = self._project.config
        free = {base_of(name) for part in self._cuts for name in part.inputs} - set(self._makers)
        for kind, configured, known in (
            ("inputs", config.inputs, free),
            ("outputs", config.outputs, set(self._makers)),
        ):
            for name in configured:
                if name not in known:
                    raise OperationError(
                        f"{kind}.{name} in azureml.yml: the pipeline has no such "
                        f"{kind.removesuffix('s')}; it has: {', '.join(sorted(known))}."
                    )

    def _refuse_shared_names(self) -> None:
        seen: dict[str, str] = {}
        for name in sorted(self.datasets()):
            other = seen.setdefault(port_of(name).lower(), name)
            if other != name:
                raise OperationError(
                    f"{other} and {name} would share the port {port_of(name)}: rename one of them."
                )


def reference_to(scope: str, name: str) -> str:
    """Return an Azure ML reference: scope and name in double braces after a dollar sign."""
    return f"${'{' * 2}{scope}.{name}{'}' * 2}"


def refuse_illegal_port(what: str, port: str) -> None:
    """Refuse the name of an input or output that Azure ML does not accept.

    Raises
    ------
    OperationError
        If it has other characters than Latin letters, digits and underscores, or a digit first.
    """
    if not _LEGAL.fullmatch(port):
        raise OperationError(
            f"{what} would be the input or output {port} of a step. Azure ML allows Latin letters, "
            "digits and underscores, and no digit first: rename it."
        )


def file_in_folder(entry: Mapping[str, Any]) -> str:
    """Return the file of a catalog entry in a folder; empty if the entry is the folder itself."""
    path = str(place_of(entry))
    return "" if _is_folder(entry, path) else _file_name(path)


def _refuse_unsafe(name: str, *paths: str) -> None:
    """Refuse file names that the shell of a step would split or interpret."""
    for path in paths:
        if found := _UNSAFE.search(PurePosixPath(path).name):
            raise OperationError(
                f"{name} is stored as {path}: a step cannot use a file with {found[0]!r} in "
                "its name. Rename it."
            )


def _file_name(path: str) -> str:
    return PurePosixPath(path).name


def _is_local(path: str | None) -> bool:
    return path is not None and "://" not in path


def _has_path_key(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry, or one that it wraps, has a path key, even with no value."""
    inner = entry.get("dataset")
    has_path = "filepath" in entry or "path" in entry
    return has_path or (isinstance(inner, Mapping) and _has_path_key(inner))


def _is_folder(entry: Mapping[str, Any], path: str) -> bool:
    """Return whether an entry is a folder of files, as a partitioned dataset is."""
    return "path" in entry or not Path(path).suffix
