"""Write the bill of materials of the run set: python -m tools.sbom [FILE] (make sbom).

CycloneDX JSON of every package that requirements/run.txt pins, with version, address and hashes;
the same bytes for the same lock. It needs no network.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

LOCK, PROJECT = Path("requirements/run.txt"), Path("pyproject.toml")
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def main() -> int:
    """Write the file and say what is in it."""
    parser = argparse.ArgumentParser(prog="make sbom", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("build/sbom.json"))
    file = parser.parse_args().file
    print(f"sbom: reading {LOCK}", flush=True)
    process = subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK)),
            *("--pyproject", str(PROJECT), "--output-reproducible"),
            *("--no-validate", "--of", "JSON"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        print(f"sbom: {LOCK} cannot be read: {process.stderr.strip()}", file=sys.stderr)
        return 2
    bill = finished(json.loads(process.stdout), version())
    text = json.dumps(bill, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if fault := fault_of(text):
        print(f"sbom: what was made is no CycloneDX: {fault}", file=sys.stderr)
        return 2
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    print(f"sbom: {len(bill['components'])} packages are in {file}")
    return 0


def version() -> str:
    """Read the project's version where pyproject.toml says that it is."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    if stated := project["project"].get("version"):
        return stated
    package = project["tool"]["kedro"]["package_name"]
    source = Path(project["tool"]["kedro"]["source_dir"]) / package / "__init__.py"
    return _VERSION.findall(source.read_text(encoding="utf-8"))[0]


def finished(bill: dict[str, Any], version: str) -> dict[str, Any]:
    """Give the project its version, and name each package by its address, not by its line."""
    described = bill["metadata"]["component"]
    described["version"] = version
    addresses = {one["bom-ref"]: one["purl"] for one in bill["components"]}
    for component in bill["components"]:
        component["bom-ref"] = addresses[component["bom-ref"]]
        component.pop("description", None)  # the lines of the lock, hashes and all
    once = {component["bom-ref"]: component for component in bill["components"]}
    bill["components"] = [once[address] for address in sorted(once)]
    bill["dependencies"] = [
        {"ref": described["bom-ref"], "dependsOn": sorted(once)},
        *({"ref": address} for address in sorted(once)),
    ]
    return bill


def fault_of(text: str) -> str | None:
    """Say what CycloneDX's own schema finds wrong; None if it is right."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return None if fault is None else str(fault)


if __name__ == "__main__":
    sys.exit(main())
