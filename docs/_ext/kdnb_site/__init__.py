"""The Sphinx extension of kdnb's site: lays out its sources, and mends what themes leave to us."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from kdnb_site import docstrings, staging


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", lay_out)
    app.connect("autodoc-process-docstring", docstrings.mend, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", docstrings.shorten)
    app.add_post_transform(docstrings.NearestName)
    app.connect("doctree-read", number_equations)
    app.connect("build-finished", offer_the_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def lay_out(app: Sphinx) -> None:
    """Write the sources that are not as they should be; Sphinx reads those that changed."""
    staging.lay_out(Path(app.srcdir))


def number_equations(app: Sphinx, doctree: nodes.document) -> None:
    """Number the displayed equations of a chapter, so that a reader can point at one."""
    if not app.env.docname.startswith("notebooks/"):
        return
    domain = app.env.get_domain("math")
    for place, node in enumerate(doctree.findall(nodes.math_block), 1):
        if not node.get("number"):
            label = f"{Path(app.env.docname).name}-{place}"
            node["ids"].append(nodes.make_id(f"equation-{label}"))
            node["docname"], node["label"] = app.env.docname, label
            domain.note_equation(app.env.docname, label, location=node)
            node["number"] = domain.get_equation_number_for(label)


def offer_the_notebooks(app: Sphinx, error: Exception | None) -> None:
    """The download button gives a chapter as it is committed, not as it was laid out."""
    if error is None and app.builder.format == "html":
        for path in sorted((staging.ROOT / "notebooks").glob("*.ipynb")):
            for copy in (Path(app.outdir) / "_sources/notebooks").glob(f"{path.name}*"):
                shutil.copyfile(path, copy)
