"""Showing a figure in a notebook and keeping it: numbered, captioned, with a text alternative."""

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
    """Display a figure with its caption; where the runner asks for it, keep it as a PNG too.

    The runner names the folder in `KDNB_FIGURES`: a reader who plays with a notebook, and a test
    that executes it, leave the workbook's figures as they are. A figure with a caption is
    numbered: by the order in which the names first come, so that a cell that is run again keeps
    its number.

    Args:
        name: the file's name without its ending, such as `2-1-temperature`.
        alt: what a reader who cannot see the figure must know: what came out, in a sentence or
            two, and not what the axes are.
        caption: the finding, in a sentence; Markdown and $mathematics$ are understood.
        source: what made the figure; by default the commit of this checkout.

    Raises:
        ValueError: without an alt text, or for a name that is no plain file name.
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
    """Write a PNG into the folder that the runner named, if it named one."""
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
