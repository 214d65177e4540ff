"""Launch buttons: the theme has Binder and Colab, this adds GitHub Codespaces.

They appear where `CITATION.cff` names a repository.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

GITHUB = "https://github.com/"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", add_codespaces, priority=900)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_codespaces(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """One more button beside those of Binder and Colab."""
    repository = app.config.html_theme_options.get("repository_url", "")
    for group in context.get("header_buttons", ()):
        if group.get("label") == "launch-buttons" and repository.startswith(GITHUB):
            group["buttons"].append(
                {
                    "type": "link",
                    "text": "Codespaces",
                    "tooltip": "Launch on GitHub Codespaces",
                    "icon": "fab fa-github",
                    "url": f"https://codespaces.new/{repository.removeprefix(GITHUB)}?quickstart=1",
                }
            )
