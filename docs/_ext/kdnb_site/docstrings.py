"""Docstrings for Sphinx: what is a sentence in Python's help must not turn into markup."""

from __future__ import annotations

import inspect
import os
import re
from typing import Any

from pydantic import BaseModel
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

KEPT = re.compile(  # what is markup: formulas, examples, code, roles' texts and *emphasis*
    r"(?P<kept>^(?P<in>\ *)\.\.\ math::.*\n(?:(?P=in)\ +.*\n|\ *\n)*"
    r"|^::\n\n(?:\ {4}.*\n|\ *\n)*"
    r"|^\ *(?:>>>|\.\.\.\ ).*\n|``.*?``|`[^`]*`|\*\*\w[^*\n]*\w\*\*|\*\w[^*\n()]*\w\*(?!\w))",
    re.MULTILINE | re.VERBOSE,
)
SECTION = re.compile(r"^\w[\w ]*:$", re.MULTILINE)


def mend(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Let |a|, **options and `Path`s stand as they are, and indented examples be code."""
    lines[:] = mended("\n".join(lines)).split("\n")


def mended(text: str) -> str:
    """A docstring, of which napoleon and docutils make what its author meant."""
    start = found.start() if (found := SECTION.search(text)) else len(text)
    text = re.sub(r"(?<!:)\n\n(?=    \S)", "\n\n::\n\n", text[:start]) + text[start:]
    parts, end = [], 0
    for found in KEPT.finditer(text):
        parts += [_plain(text[end : found.start()]), found["kept"]]
        end = found.end()
        if found["kept"][0] == "`" and text[end : end + 1].isalnum():
            parts.append("\\ ")
    return "".join([*parts, _plain(text[end:])])


def _plain(text: str) -> str:
    return re.sub(r"(\||\*(?=\S)|(?<=\w)_(?!\w))", r"\\\1", text)


def shorten(app: Sphinx, what: str, name: str, thing: Any, *_: Any) -> tuple[str, None] | None:
    """No signature for a pydantic model: its fields follow, and their constraints are long."""
    model = inspect.isclass(thing) and issubclass(thing, BaseModel)
    return ("", None) if model else None


class NearestName(SphinxPostTransform):
    """An annotation that names a class of several modules links to the one of its own room."""

    default_priority = 5  # before references are resolved

    def run(self, **kwargs: Any) -> None:
        objects = self.env.get_domain("py").objects
        for node in self.document.findall(addnodes.pending_xref):
            target, here = node.get("reftarget", ""), node.get("py:module") or ""
            if node.get("refdomain") != "py" or "." in target:
                continue
            same = [name for name in objects if name.endswith(f".{target}")]
            if len(same) < 2:
                continue
            best = max(same, key=lambda name: len(os.path.commonprefix([name, here])))
            if best.split(".")[:2] == here.split(".")[:2]:
                node["reftarget"] = best
            node.attributes.pop("refspecific", None)  # it would match the name in any module
