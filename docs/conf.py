"""The site: Sphinx, MyST and furo. It needs no network and no browser."""

import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import kedro_azure_mlops

sys.path.insert(0, str(Path(__file__).parent))  # for config_keys

project = "kedro-azure-mlops"
author = "the authors of cookiecutter-azure-mlops"
release = kedro_azure_mlops.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "config_keys",
]
exclude_patterns = ["pypi.md", "examples/*/README.md"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
smartquotes = False  # commands would lose their double hyphens
html_theme = "furo"
html_title = "kedro-azure-mlops"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
nitpicky = False


def setup(app: Sphinx) -> None:
    """Connect ``make_accessible``, which helps people who use a keyboard or a screen reader."""
    app.connect("html-page-context", make_accessible, priority=900)  # after the theme's own


def make_accessible(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: object
) -> None:
    """Add the attributes that axe-core requires to the HTML that Sphinx and furo write."""
    captions = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = captions.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )
    for tag in ("<pre>", '<div class="table-wrapper docutils container">'):
        body = context.get("body", "")
        context["body"] = body.replace(tag, f'{tag[:-1]} tabindex="0">')
