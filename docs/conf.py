"""The site: `make site` builds it from what is committed, without a connection.

The extension `kdnb_site` (in `_ext/`) lays the sources out under `_build/source`: the executed
notebooks, these pages, and those that it writes from the claims, the records and the package.
"""

import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import kdnb

CITATION = yaml.safe_load((HERE.parent / "CITATION.cff").read_text(encoding="utf-8"))
REPOSITORY = CITATION.get("repository-code", "").rstrip("/")

project = "kdnb"
author = CITATION["authors"][0]["name"]
copyright = author
version = release = kdnb.__version__
language = "en"
exclude_patterns = ["**.ipynb_checkpoints"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "kdnb_site",
    "kdnb_site.launch",
]

# Chapters: as they were executed; nothing runs here.
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_merge_streams = True
nb_ipywidgets_js = {}  # explorers hold their frames: no page needs a kernel or a widget manager
myst_enable_extensions = ["dollarmath", "amsmath", "attrs_inline"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Docstrings.
default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Departures", "notes"), ("Recalled", "notes")]

html_title = "kdnb"
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [
    "vendor/sortable/sortable.min.js",
    "vendor/sortable/sortable.a11y.min.js",
    "site.js",
]
html_favicon = "_static/kdnb.svg"
html_copy_source = True
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search field is in the sidebar
    "collapse_navbar": True,
    "show_toc_level": 2,
    "use_fullscreen_button": False,
    "search_bar_text": "Search the workbook",
}
if REPOSITORY:  # of a public copy: readers can start the workbook there
    html_theme_options |= {
        "repository_url": REPOSITORY,
        "repository_branch": "main",
        "use_repository_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        },
    }

# One file holds MathJax with its fonts.
mathjax_path = "vendor/mathjax/tex-svg.js"
mathjax3_config = {
    "options": {"enableMenu": False},  # a menu would load more files, and be a stop of each Tab
    "svg": {"mtextInheritFont": True},
}
