"""A workbook of small chapters, for tests that run several."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent


def make(folder: Path, chapters: dict[str, str], seconds: dict[str, float] | None = None) -> None:
    """Write chapters, their code by name, each in one cell.

    Args:
        seconds: what the run took that a chapter's notebook holds.
    """
    (folder / "notebooks").mkdir(parents=True)
    for name in ("papers", "data"):
        (folder / name).symlink_to(ROOT / name)
    for name, code in chapters.items():
        about = {"kdnb": {"papers": []}}
        if seconds and name in seconds:
            about["kdnb_run"] = {"seconds": seconds[name]}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(
            cells=[new_code_cell("seeds = 1"), new_code_cell(code)],
            metadata={**about, "kernelspec": kernel},
        )
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")


def printed(runs: Path, name: str, profile: str = "quick") -> list[str]:
    """The lines that a chapter's run printed."""
    notebook = nbformat.read(runs / name / profile / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs).splitlines()
