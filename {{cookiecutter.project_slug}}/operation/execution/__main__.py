"""Command line of the verbs: ``python -m operation.execution VERB --env ENV``."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from kedro.config import MissingConfigException

from operation import execution


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb that is asked for and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m operation.execution")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in _verbs():
        module = importlib.import_module(f"{execution.__name__}.{name}")
        verb = verbs.add_parser(name, help=module.__doc__, description=module.__doc__)
        verb.add_argument("--env", default="local", help="configuration to use: dev, stage, prod")
        verb.set_defaults(execute=module.execute)
    parsed = parser.parse_args(arguments)
    try:
        return parsed.execute(parsed.env)
    except MissingConfigException as error:
        print(f"{parsed.verb}: {error}", file=sys.stderr)
        return 2


def _verbs() -> list[str]:
    """Find the verbs: the modules of this folder that do not begin with an underscore."""
    modules = pkgutil.iter_modules(execution.__path__)
    return [module.name for module in modules if not module.name.startswith("_")]


if __name__ == "__main__":
    sys.exit(main())
