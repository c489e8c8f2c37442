"""Parts of the serving lock: what a device and a container without Azure install of it.

In an image: ``python packages.py serve.txt >plain.txt``. Standard library only.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

# what each needs in turn is listed too; pip refuses to install what has no hash
DEVICE = ("flatbuffers", "numpy", "onnxruntime", "packaging", "protobuf")
PLAIN = (*DEVICE, "gunicorn", "prometheus-client")


def part_of_lock(lock: str, names: Iterable[str]) -> str:
    """Cut pins and their hashes out of a lock.

    Raises
    ------
    ValueError
        If it does not name one of them.
    """
    pins = {
        re.split(r"[=\s;]", pin, maxsplit=1)[0]: pin
        for pin in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
        if not pin.startswith("#")
    }
    if missing := sorted(set(names) - set(pins)):
        raise ValueError(f"the lock does not name {', '.join(missing)}: type make lock")
    return "".join(pins[name] for name in sorted(names))


if __name__ == "__main__":
    sys.stdout.write(part_of_lock(Path(sys.argv[1]).read_text(encoding="utf-8"), PLAIN))
