"""Update the manifests from the current template: python -m tests.template.write_manifest.

The git diff shows which files a change adds to every project or removes from it.
"""

import shutil
import tempfile
from pathlib import Path

from tests.helpers import PROJECT, ROOT, render

PACKAGE = "a_package"


def main() -> None:
    """Render each provider and sample, and write the sorted file names."""
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template"
        template.mkdir()
        shutil.copy(ROOT / "cookiecutter.json", template)
        junk = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", "*.egg-info")
        for name in ("hooks", PROJECT):
            shutil.copytree(ROOT / name, template / name, ignore=junk)
        variants = {
            "azure": {"ci_provider": "azure_pipelines"},
            "github": {"ci_provider": "github_actions"},
            "both": {"ci_provider": "both"},
            "none": {"sample": "none"},
        }
        azure, github, both, none = (
            render(template, Path(folder) / name, package_name=PACKAGE, **answers).files
            for name, answers in variants.items()
        )
    manifests = {
        "always": azure & github & both & none,
        "sample": (azure & github & both) - none,
        "no_sample": none - azure,
        "azure_pipelines": (azure & both) - github,
        "github_actions": (github & both) - azure,
        "github_actions_alone": github - azure - both,
    }
    for name, names in manifests.items():
        text = "".join(f"{one.replace(PACKAGE, '<package>')}\n" for one in sorted(names))
        path = ROOT / "tests" / "template" / "manifest" / f"{name}.txt"
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path.relative_to(ROOT)}: {len(names)}")


if __name__ == "__main__":
    main()
