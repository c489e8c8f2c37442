"""Run a command without Kedro's command line: ``python -m kedro_azure_mlops COMMAND``.

Also the program ``kedro-azure-mlops``, for ``uvx --from 'kedro-azure-mlops[update]'``.
"""

import sys

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.safety import protect_output


def run() -> None:
    """Run the given command and exit with its status."""
    protect_output()
    sys.exit(main())


if __name__ == "__main__":
    run()
