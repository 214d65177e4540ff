"""Showing a figure in a notebook and saving it: numbered, captioned, with alt text."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

from kdnb import paths
from kdnb.commit import code

_numbers: dict[str, int] = {}


def save(
    figure: Figure, name: str, *, alt: str, caption: str = "", source: str | None = None
) -> None:
    """Display a figure with its caption; save it as a PNG too if the runner requests it.

    The runner sets the folder in `KDNB_FIGURES`, so readers who play with a notebook, and tests
    that execute it, do not change the workbook's figures. A figure with a caption is numbered by
    the order in which names first appear, so that a cell that is run again keeps its number.

    Args:
        name: the file's name without extension, such as `2-1-temperature`.
        alt: what a reader who cannot see the figure must know: the result, in a sentence or two,
            not a description of the axes.
        caption: the finding, in a sentence; Markdown and $mathematics$ are supported.
        source: what made the figure; by default the commit of this checkout.

    Raises:
        ValueError: without alt text, or for a name that is not a plain file name.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(
            f"{name!r} is no file name: letters, digits, '-', '_' and '.' are allowed."
        )
    if not alt.strip():
        raise ValueError(f"figure {name!r} needs an alt text that says what came out.")
    about = {"Title": name, "Description": alt, "Source": source or _source(), "Software": None}
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=about)
    plt.close(figure)
    keep(name, buffer.getvalue())
    display_png(buffer.getvalue(), alt)
    display_caption(name, caption)


def show(figure: Figure, name: str, alt: str) -> None:
    """`save` without a caption."""
    save(figure, name, alt=alt)


def number(name: str) -> int:
    """The number of a figure in this notebook, from 1."""
    return _numbers.setdefault(name, len(_numbers) + 1)


def keep(name: str, png: bytes) -> None:
    """Write a PNG into the runner's folder, if it set one."""
    if folder := os.environ.get("KDNB_FIGURES"):
        paths.atomic_write(Path(folder) / f"{name}.png", png)


def display_png(png: bytes, alt: str) -> None:
    """Display a PNG with its alt text; nothing outside a notebook."""
    if get_ipython() is not None:
        metadata = {"image/png": {"alt": alt}}
        display({"image/png": png, "text/plain": alt}, metadata=metadata, raw=True)


def display_caption(name: str, caption: str) -> None:
    """Display `Figure 3. caption`; nothing outside a notebook or without a caption."""
    if caption.strip() and get_ipython() is not None:
        head = f"Figure {number(name)}."
        bundle = {"text/markdown": f"**{head}** {caption}", "text/plain": f"{head} {caption}"}
        display(bundle, raw=True)


def _source() -> str:
    made_by = code()
    return f"kdnb commit {made_by['commit']}{' with changes' if made_by['dirty'] else ''}"
