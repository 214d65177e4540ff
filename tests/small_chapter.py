"""A small chapter in a workbook of its own, for tests that run it: the fixture `chapter` makes it."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from kdnb.workbook import runner

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = """temperature = 4.0
seeds = 1
deep = False"""
CHECK = """from kdnb import workbook
workbook.check(globals(), temperature=(0.1, 100.0), seeds=(1, 99), deep=bool)
"""


def maker(tmp_path, monkeypatch):
    """A workbook in a folder, and `make(code)`, which gives its one chapter a last cell."""
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    for folder in ("papers", "notebooks"):
        (tmp_path / folder).mkdir()

    def make(code="print(temperature * seeds)"):
        cells = [
            new_code_cell(CELLS, metadata={"tags": ["parameters"]}),
            new_code_cell(CHECK + code),
        ]
        about = {"kdnb": {"papers": []}, "kernelspec": KERNEL}
        notebook = new_notebook(cells=cells, metadata=about)
        nbformat.write(notebook, tmp_path / "notebooks" / "9-9-small.ipynb")
        return runner.chapter("9-9")

    return make


def outputs(folder, result):
    notebook = nbformat.read(folder / result.notebook, as_version=4)
    return "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
