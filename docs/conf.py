"""Sphinx configuration: `make docs`. Nothing here needs the network."""

import sys
from importlib.metadata import version as _version
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parents[1])]

project = "jcevns"
author = "The jcevns developers"
copyright = "The jcevns developers, BSD-3-Clause"
version = release = _version("jcevns")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_click",
    "jcevns_site",
]
exclude_patterns = ["_build", "_ext", "**.ipynb_checkpoints"]
root_doc = "index"

# Reference: from docstrings in Google style; a name in single backticks is a link where it is one of ours.
default_role = "name"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the extension writes them
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # types stand in the signature
napoleon_use_rtype = False
maximum_signature_line_length = 90
add_module_names = True
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

# Every reference must resolve. Names of other libraries cannot, without their inventories, which are on the network;
# the extension leaves exactly the ones it lists as plain text.
nitpicky = True

# Markdown
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence", "fieldlist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
nb_execution_mode = "off"  # the test suite executes the notebooks
nb_render_markdown_format = "myst"

smartquotes_action = "qe"  # two dashes are those of an option
html_theme = "furo"
html_title = f"jcevns {release}"
html_static_path = ["_static"]
html_css_files = ["jcevns.css"]
html_show_sphinx = False
html_copy_source = False


def setup(app: Any) -> None:
    """Equations as SVG: Firefox refuses fonts to a page opened from disk. On every page: the menu has some."""
    app.config.mathjax_path = "mathjax/tex-svg.js"
    app.set_html_assets_policy("always")
