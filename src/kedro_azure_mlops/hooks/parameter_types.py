"""Check the names and types of a run's parameters.

The type of a parameter comes from where it is used: the hint of a node's argument or, if the
catalog interpolates it, of the dataset's or the validator's constructor. A wrong one is refused
before anything is loaded, even if no pipeline of this run uses it.
"""

import inspect
import logging
import re
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import yaml
from kedro.config import MissingConfigException
from kedro.framework.project import pipelines
from kedro.io.core import parse_dataset_definition
from kedro.pipeline import Pipeline
from kedro.utils import load_obj
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json

from kedro_azure_mlops.config import config_errors, file_of, merged
from kedro_azure_mlops.errors import OperationError, first_line
from kedro_azure_mlops.hooks.parameters import flat
from kedro_azure_mlops.parameters import explain

Use = tuple[str, Any]  # the dotted name of a parameter, and the type expected where it is used

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
# ${runtime_params:unit,${globals:unit}} as a whole value
_INTERPOLATED = re.compile(r"\$\{\s*(?:runtime_params|globals)\s*:\s*([\w.-]+)\s*(?:,.*)?\}", re.S)
_MISSING = object()


def refuse_wrong_parameters(context: Any) -> None:
    """Refuse parameters of the wrong type, and runtime parameters that are in no file.

    Raises
    ------
    OperationError
        Naming each parameter, the source of its value, the expected type and the value.
    """
    logging.getLogger("kedro.validation.type_extractor").addFilter(_is_not_about_unions)
    loader = context.config_loader
    runtime = dict(getattr(loader, "runtime_params", None) or {})
    uses = uses_of_parameters(loader)
    try:
        if runtime:
            _refuse_unknown(runtime, _parameters_of_files(loader), uses)
        with config_errors("parameters.yml"):
            parameters = loader["parameters"]
    except MissingConfigException:  # Kedro warns about it
        return
    if found := wrong_parameters(parameters, uses):
        lines = []
        for name, why in found.items():
            origin = _origin(name, runtime, context)
            is_quoted = origin == "--params" and why.startswith("must be text (it is")
            hint = f"; put quotes around it: {name}='...'" if is_quoted else ""
            lines.append(f"{origin}: {name}: {why}{hint}")
        raise OperationError("\n".join(lines))


def _parameters_of_files(loader: Any) -> Mapping[str, Any]:
    """Return the parameters from the files alone, unresolved if one needs a value of the run."""
    runtime, loader.runtime_params = loader.runtime_params, {}
    try:
        with config_errors("parameters.yml"):
            found: Mapping[str, Any] = loader["parameters"]
        return found
    except OperationError as error:
        if not isinstance(error.__cause__, InterpolationResolutionError):
            raise
        return reduce(merged, _as_written(loader, "parameters"), {})
    finally:
        loader.runtime_params = runtime


def wrong_parameters(parameters: Mapping[str, Any], uses: Iterable[Use]) -> dict[str, str]:
    """Describe each parameter of the wrong type: what it must be and what it is.

    Parameters
    ----------
    parameters
        As ``parameters.yml`` nests them.
    uses
        See ``uses_of_parameters``; unknown names are skipped, as Kedro reports them.
    """
    found: dict[str, str] = {}
    for name, hint in uses:
        value = _value_of(parameters, name)
        for keys, sentence in [] if value is _MISSING else _faults(hint, value):
            found.setdefault(".".join([name, *keys]), sentence)
    return found


def _refuse_unknown(
    runtime: Mapping[str, Any], written: Mapping[str, Any], uses: list[Use]
) -> None:
    known = dict(_with_dotted_names(written))
    for name, _ in flat(runtime):
        if name in known or any(_accepts_any_name(hint, used, name) for used, hint in uses):
            continue
        keys = name.split(".")
        outer = [".".join(keys[:length]) for length in range(1, len(keys))]
        if whole := [one for one in outer if not isinstance(known.get(one, {}), Mapping)]:
            raise OperationError(
                f"--params: there is no parameter {name}: {whole[0]} has no keys, it is "
                f"{'a list' if isinstance(known[whole[0]], list) else 'one value'}. "
                f"Change {whole[0]} as a whole, in parameters.yml."
            )
        values = sorted(one for one, value in known.items() if not isinstance(value, Mapping))
        close = get_close_matches(name, values, n=1)
        hint = (
            f" Did you mean {close[0]}?" if close else f" The parameters are: {', '.join(values)}."
        )
        raise OperationError(f"--params: there is no parameter {name}.{hint}")


def _with_dotted_names(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value and each group with its dotted name."""
    for name, value in nested.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from _with_dotted_names(value, f"{prefix}{name}.")


def _accepts_any_name(hint: Any, used: str, name: str) -> bool:
    """Return whether a parameter's type has a ``dict`` there, which accepts any key."""
    if not name.startswith(f"{used}."):
        return False
    keys = name.removeprefix(f"{used}.").split(".")
    return any(_accepts(kind, keys) for kind in _kinds(hint) if _is_model(kind))


def _accepts(kind: Any, keys: list[str]) -> bool:
    if not _is_model(kind):
        return bool(keys) and (get_origin(kind) or kind) in (dict, Mapping)
    if not keys or keys[0] not in kind.model_fields:
        return bool(keys) and kind.model_config.get("extra") == "allow"
    return any(_accepts(one, keys[1:]) for one in _kinds(kind.model_fields[keys[0]].annotation))


def _kinds(hint: Any) -> list[Any]:
    """Return the members of a union, without None."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) not in (Union, types.UnionType):
        return [hint]
    return [kind for one in get_args(hint) if one is not type(None) for kind in _kinds(one)]


def uses_of_parameters(loader: Any) -> list[Use]:
    """List how parameters are used by the nodes of all pipelines and in the catalog."""
    every = [*_uses_of_nodes(), *_uses_of_catalog(loader)]
    return list({(name, repr(hint)): (name, hint) for name, hint in every}.values())


def _uses_of_nodes() -> Iterator[Use]:
    for node in {node for pipeline in _registered().values() for node in pipeline.nodes}:
        inputs = node._inputs  # Kedro's `inputs` does not map them to arguments
        args, named = ([inputs], {}) if isinstance(inputs, str) else (inputs or [], {})
        if isinstance(inputs, dict):
            args, named = [], inputs
        try:
            signature = inspect.signature(node.func, follow_wrapped=False)
            arguments = signature.bind(*args, **named).arguments
        except (TypeError, ValueError):  # a function written in C
            continue
        hints = _hints(node.func)
        for argument, name in arguments.items():
            if argument in hints and str(name).startswith("params:"):
                yield str(name).removeprefix("params:"), hints[argument]


def _registered() -> Mapping[str, Pipeline]:
    """Return all pipelines or, if one of them cannot be imported, the requested ones."""
    requested = getattr(pipelines, "_requested_pipelines", None)
    every = _pipelines_of(None)
    return (_pipelines_of(requested) or {}) if every is None else every


def _pipelines_of(names: list[str] | None) -> Mapping[str, Pipeline] | None:
    selects = hasattr(pipelines, "set_requested")  # since Kedro 1.2
    requested = getattr(pipelines, "_requested_pipelines", None)
    try:
        with warnings.catch_warnings(action="ignore"):  # Kedro's, about pipelines that are not run
            if selects:
                pipelines.set_requested(names)
            return dict(pipelines)
    except Exception:  # noqa: BLE001, from the project's code: Kedro reports it if needed
        return None
    finally:
        if selects:
            pipelines.set_requested(requested)


def _uses_of_catalog(loader: Any) -> Iterator[Use]:
    written: dict[Any, Any] = reduce(or_, _as_written(loader, "catalog"), {})
    for entry in written.values():
        if not isinstance(entry, Mapping):
            continue
        yield from _interpolated(entry, partial(_dataset_class, entry.get("type")))
        validator = entry.get("validator")
        if isinstance(validator, Mapping) and isinstance(validator.get("options"), Mapping):
            yield from _interpolated(validator["options"], partial(load_obj, validator["class"]))


def _as_written(loader: Any, kind: str) -> Iterator[dict[Any, Any]]:
    """Yield the content of the files of a kind, base first, as written, with their ``${...}``."""
    source = Path(str(loader.conf_source))
    patterns = (getattr(loader, "config_patterns", None) or {}).get(kind, [])
    envs = [getattr(loader, "base_env", ""), loader.env or getattr(loader, "default_run_env", "")]
    for folder in [source / env for env in envs if env]:
        for file in sorted({file for pattern in patterns for file in folder.glob(pattern)}):
            if file.suffix not in (".yml", ".yaml", ".json"):
                continue
            with suppress(OmegaConfBaseException, yaml.YAMLError, OSError, ValueError):
                content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
                if isinstance(content, dict):  # Kedro reports anything else
                    yield content


def _interpolated(options: Mapping[str, Any], load: Callable[[], Any]) -> Iterator[Use]:
    """Yield the constructor options whose whole value is one parameter."""
    names = {
        option: match[1]
        for option, value in options.items()
        if isinstance(value, str) and (match := _INTERPOLATED.fullmatch(value.strip()))
    }
    if not names:
        return
    try:
        hints = _constructor_hints(load())
    except Exception:  # noqa: BLE001, the class cannot be loaded; Kedro reports it if needed
        return
    for option, name in names.items():
        if option in hints:
            yield name, hints[option]


def _dataset_class(path: Any) -> Any:
    return parse_dataset_definition({"type": path})[0]


def _constructor_hints(constructor: Any) -> dict[str, Any]:
    """Return a class's hints, including those of its bases if it passes ``**options`` on."""
    found: dict[str, Any] = {}
    for one in constructor.__mro__ if isinstance(constructor, type) else ():
        init = vars(one).get("__init__")
        if init is None:
            continue
        signature = inspect.signature(init)
        hints = _hints(inspect.unwrap(init))
        found = {name: hints[name] for name in signature.parameters if name in hints} | found
        kinds = [parameter.kind for parameter in signature.parameters.values()]
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return found


def _hints(function: Any) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError):  # hints that cannot be resolved
        return {}


def _faults(hint: Any, value: Any) -> list[tuple[list[str], str]]:
    """Return the faults of a value, each as a path of keys and a sentence."""
    hint = _without_mapping(hint)
    is_model, has_fields = _is_model(hint), is_dataclass(hint) or is_typeddict(hint)
    try:
        adapter = TypeAdapter(hint, config=None if is_model or has_fields else _STRICT)
    except Exception:  # noqa: BLE001, a type that pydantic does not support
        return []
    try:
        if is_model:
            adapter.validate_python(value)  # as Kedro will
        else:  # from JSON a list may become a tuple, and text a path
            adapter.validate_json(to_json(value, fallback=str), strict=has_fields or None)
    except ValidationError as error:
        return explain(error, value)
    except Exception as error:  # noqa: BLE001, from a validator of the project
        return [([], f"{type(error).__name__}: {first_line(error)}")]
    return []


def _without_mapping(hint: Any) -> Any:
    """Return the model of ``Model | Mapping``, which defines the keys."""
    if not any(_is_model(kind) for kind in _kinds(hint)):
        return hint
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kept = tuple(
        member for member in members if (get_origin(member) or member) not in (dict, Mapping)
    )
    return Union[kept]  # noqa: UP007, of a single type this is the type itself


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


def _value_of(parameters: Mapping[str, Any], name: str) -> Any:
    if name in parameters:  # such as a parameter of a namespace
        return parameters[name]
    value: Any = parameters
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _origin(name: str, runtime: Mapping[str, Any], context: Any) -> str:
    """Return the source of a value: the command line, or a file."""
    for one, _ in flat(runtime):
        if f"{name}.".startswith(f"{one}.") or one.startswith(f"{name}."):
            return "--params"
    loader, root = context.config_loader, Path(context.project_path)
    source = Path(str(loader.conf_source))
    inside = source.is_relative_to(root)
    folder = source.relative_to(root) if inside else source
    env = str(context.env or getattr(loader, "default_run_env", None) or "base")
    return f"{folder.as_posix()}/{file_of(source, env, 'parameters', name.split('.'))}"


def _is_not_about_unions(record: logging.LogRecord) -> bool:
    """Drop Kedro's remark that it does not check unions: they are checked here."""
    return not str(record.msg).startswith("Union type hint")
