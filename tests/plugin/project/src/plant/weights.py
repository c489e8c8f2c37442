import json
from pathlib import Path
from typing import Any


def read_weights(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))
