"""Verbs: one a file, each with an ``execute``.

``python -m operation.execution VERB --env dev`` runs one; its exit status is 0 for yes, 1 if the
answer is no, 2 if it could not be tried.
"""

import importlib.util
import logging
import sys

if importlib.util.find_spec("kedro") is None:
    print("This Python has no kedro. Type: source .venv/bin/activate", file=sys.stderr)
    sys.exit(2)

# Kedro says at every start where its logging is configured: no part of a verb's answer.
logging.getLogger("kedro.framework.project").addFilter(
    lambda record: "logging conf" not in record.msg
)
