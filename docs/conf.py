"""The site: Sphinx, MyST and furo."""

import kedro_azure_mlops

project = "kedro-azure-mlops"
author = "the authors of cookiecutter-azure-mlops"
release = kedro_azure_mlops.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
]
exclude_patterns = ["pypi.md", "examples/*/README.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "kedro-azure-mlops"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
nitpicky = False
