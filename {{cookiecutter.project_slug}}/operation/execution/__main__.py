"""Command line of the verbs: ``python -m operation.execution VERB --env ENV``."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from kedro.config import MissingConfigException
from yaml import YAMLError

from {{ cookiecutter.package_name }}.errors import ProjectError
from {{ cookiecutter.package_name }}.output import protect_output

from operation import execution
from operation.errors import OperationError, RefusedError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb that is asked for and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m operation.execution")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in _verbs():
        module = importlib.import_module(f"{execution.__name__}.{name}")
        summary = str(module.__doc__).splitlines()[0]
        verb = verbs.add_parser(name, help=summary, description=module.__doc__)
        default = getattr(module, "DEFAULT_ENV", "dev")
        known = f"local, dev, stage or prod (default: {default})"
        verb.add_argument("--env", default=default, help=known)
        getattr(module, "add_arguments", lambda _: None)(verb)
        verb.set_defaults(execute=module.execute)
    parsed = parser.parse_args(arguments)
    try:
        return parsed.execute(parsed)
    except MissingConfigException as error:
        print(f"{parsed.verb}: {_no_environment(parsed.env) or error}", file=sys.stderr)
        return 2
    except RefusedError as error:
        print(f"{parsed.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except (OperationError, ProjectError, YAMLError) as error:
        print(f"{parsed.verb}: {error}", file=sys.stderr)
        return 2


def _no_environment(env: str) -> str | None:
    folders = Path("operation/configuration").glob("*/")
    known = sorted(folder.name for folder in folders if folder.name != "base")
    if env in known:
        return None
    return f"there is no environment {env} in operation/configuration: there are {', '.join(known)}"


def _verbs() -> list[str]:
    """Find the verbs: the modules of this folder that do not begin with an underscore."""
    modules = pkgutil.iter_modules(execution.__path__)
    return [module.name for module in modules if not module.name.startswith("_")]


if __name__ == "__main__":
    protect_output()
    sys.exit(main())
