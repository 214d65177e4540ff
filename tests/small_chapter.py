"""A small chapter in a workbook of its own, for tests that run it: the fixture `chapter` makes it."""

import types

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from pydantic import BaseModel, ConfigDict, Field

from kdnb.workbook import runner


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    temperature: float = Field(4.0, gt=0, le=100)
    seeds: int = Field(1, ge=1)
    deep: bool = False


PROFILES = {"quick": Parameters(), "laptop": Parameters(temperature=20.0, seeds=6)}
EXPERIMENT = "kdnb.reproductions.small_experiment"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = """temperature = 4.0
seeds = 1
deep = False"""
DECLARED = """from kdnb import workbook
workbook.check(globals(), temperature=(0.1, 100.0), seeds=(1, 9), deep=bool)
print(temperature * seeds)"""


def maker(tmp_path, monkeypatch):
    """A workbook in a folder, and `make(code)`, which gives its one chapter a last cell."""
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    for folder in ("papers", "notebooks"):
        (tmp_path / folder).mkdir()
    module = types.ModuleType(EXPERIMENT)
    module.Parameters, module.PROFILES = Parameters, PROFILES
    monkeypatch.setitem(__import__("sys").modules, EXPERIMENT, module)

    def make(code="print(temperature * seeds)", about=None):
        tagged = new_code_cell(CELLS, metadata={"tags": ["parameters"]})
        about = about or {"experiment": EXPERIMENT, "papers": []}
        notebook = new_notebook(
            cells=[tagged, new_code_cell(code)], metadata={"kdnb": about, "kernelspec": KERNEL}
        )
        nbformat.write(notebook, tmp_path / "notebooks" / "9-9-small.ipynb")
        return runner.chapter("9-9")

    return make


def outputs(folder, result):
    notebook = nbformat.read(folder / result.notebook, as_version=4)
    return "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
