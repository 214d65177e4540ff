"""Figures are shown with a text alternative, numbered by name, and kept where the runner says."""

from __future__ import annotations

import base64

import matplotlib.pyplot as plt
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from kdnb import figures

CELLS = [
    'import matplotlib\nmatplotlib.use("agg")\nimport matplotlib.pyplot as plt\nfrom kdnb import figures',
    'figures.save(plt.figure(), "x-a", alt="Nothing to see", caption="The *finding*.")',
    'figures.save(plt.figure(), "x-b", alt="Nothing either", caption="Another.")',
    'figures.save(plt.figure(), "x-a", alt="Nothing to see", caption="Again.")',
    'figures.show(plt.figure(), "x-c", "No caption")',
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDNB_FIGURES", str(folder))
        NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return [cell.outputs for cell in notebook.cells[1:]], folder


def test_a_figure_is_numbered_by_its_name_and_captioned(saved):
    (first, second, again, plain), _ = saved
    captions = [outputs[1].data["text/plain"] for outputs in (first, second, again)]
    assert captions == ["Figure 1. The *finding*.", "Figure 2. Another.", "Figure 1. Again."]
    assert first[1].data["text/markdown"] == "**Figure 1.** The *finding*."
    assert len(plain) == 1


def test_its_alt_text_goes_along(saved):
    (first, *_), folder = saved
    assert first[0].metadata["image/png"]["alt"] == first[0].data["text/plain"] == "Nothing to see"
    with Image.open(folder / "x-a.png") as kept:
        assert kept.info["Description"] == "Nothing to see" and kept.info["Title"] == "x-a"
        assert kept.info["Source"].startswith("kdnb commit ")


def test_it_is_kept_where_the_runner_says(saved):
    (first, *_), folder = saved
    assert {path.name for path in folder.iterdir()} == {"x-a.png", "x-b.png", "x-c.png"}
    shown = Image.open(folder / "x-a.png").size
    assert len(base64.b64decode(first[0].data["image/png"])) > 0 and shown[0] > 100


def test_nothing_is_kept_for_a_reader(tmp_path, monkeypatch):
    monkeypatch.delenv("KDNB_FIGURES", raising=False)
    monkeypatch.chdir(tmp_path)
    figure = plt.figure()
    figures.save(figure, "x-a", alt="Nothing to see", source="a test")
    assert not list(tmp_path.iterdir()) and not plt.fignum_exists(figure.number)


def test_alt_text_is_required_and_names_are_file_names():
    with pytest.raises(TypeError, match="alt"):
        figures.save(plt.figure(), "x-a")
    with pytest.raises(ValueError, match="needs an alt text"):
        figures.save(plt.figure(), "x-a", alt="  ")
    with pytest.raises(ValueError, match="is no file name"):
        figures.save(plt.figure(), "../x", alt="Nothing")
    plt.close("all")
