"""Explorers: all frames stand in the page, without widget state; a kernel draws on demand."""

from __future__ import annotations

import base64
import io
import json
import re

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from kdnb import figures
from kdnb.figures import explorers

NOTEBOOK = """
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
from kdnb import figures

def draw(temperature, image):
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.bar(range(3), [temperature, 1, len(image)])
    return figure

figures.explorer(draw, name="x-explorer", alt="A bar grows", caption="It grows.", live={live},
                 temperature=[1, 2, 4.5], image=["cat", "<dog>"], start={{"temperature": 2}})
"""


def draw(temperature):
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.bar([0, 1], [temperature, 1])
    axes.set_ylim(0, 10)
    return figure


def executed(live: bool, tmp_path, monkeypatch, keep: bool = True):
    if keep:
        monkeypatch.setenv("KDNB_FIGURES", str(tmp_path))
    else:
        monkeypatch.delenv("KDNB_FIGURES", raising=False)
    notebook = new_notebook(cells=[new_code_cell(NOTEBOOK.format(live=live))])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return notebook


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        made = executed(True, folder, patch)  # the runner's folder is named: frames all the same
    return made, folder


def frames_of(page: str) -> list[str]:
    return json.loads(re.search(r"const frames = (\[.*?\])", page).group(1))


def test_a_notebook_holds_every_frame_and_no_widget(notebook):
    made, _ = notebook
    assert "widgets" not in made.metadata
    outputs = [output for output in made.cells[0].outputs if output.output_type == "display_data"]
    assert not any("widget" in mime for output in outputs for mime in output.data)
    (page,) = [output.data["text/html"] for output in outputs if "text/html" in output.data]
    frames = frames_of(page)
    assert len(frames) == 6 and len(set(frames)) == 6
    for frame in frames:
        Image.open(io.BytesIO(base64.b64decode(frame))).verify()
    assert "<dog>" not in page


def test_the_still_picture_is_the_starting_frame_and_says_so(notebook):
    made, folder = notebook
    still, page, caption = made.cells[0].outputs
    frames = frames_of(page.data["text/html"])
    assert still.data["image/png"].replace("\n", "") == frames[2]  # 2nd temperature, 1st image
    assert (folder / "x-explorer.png").read_bytes() == base64.b64decode(frames[2])
    assert still.metadata["image/png"]["alt"] == "A bar grows (temperature = 2, image = cat)"
    assert caption.data["text/plain"] == "Figure 1. It grows."


def test_exported_html_builds_the_controls_and_holds_all_frames(notebook):
    made, _ = notebook
    page, _ = HTMLExporter().from_notebook_node(made)
    markup = json.loads(re.search(r"root.innerHTML = (.*);", page).group(1))
    assert markup.count('type="range"') == 1 and 'min="0" max="2" step="1" value="1"' in markup
    assert markup.count('<select aria-label="image"') == 1 and "&lt;dog&gt;" in markup
    assert len(frames_of(page)) == 6


def test_a_page_without_scripts_shows_the_still_picture_alone(notebook):
    made, _ = notebook
    html = made.cells[0].outputs[1].data["text/html"]
    stripped = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert "<img" not in stripped and "The controls need scripts" in stripped


def test_a_live_explorer_uses_ipywidgets_and_only_then(tmp_path, monkeypatch):
    made = executed(True, tmp_path, monkeypatch, keep=False)
    mimes = {mime for output in made.cells[0].outputs for mime in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in mimes


def test_a_widget_draws_what_is_chosen():
    drawn = []

    def recorded(temperature):
        drawn.append(temperature)
        return draw(temperature)

    box = explorers.widget(recorded, {"temperature": [1, 2, 4]}, {"temperature": 2})
    slider, picture = box.children[0].children[0], box.children[1]
    assert isinstance(slider, ipywidgets.SelectionSlider) and drawn == [2]
    before = picture.value
    slider.value = 4
    assert drawn == [2, 4] and picture.value != before


def test_frames_are_drawn_in_order_and_small():
    open_before = plt.get_fignums()
    frames = explorers.frames(draw, {"temperature": [1, 2, 4]})
    heights = []
    for frame in frames:
        pixels = np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")).astype(int)
        blue = (pixels[..., 2] > pixels[..., 0] + 60) | (pixels[..., 0] > pixels[..., 2] + 60)
        heights.append(blue.sum())
        assert len(frame) < 15_000
    assert heights == sorted(heights) and len(set(heights)) == 3
    assert explorers.frames(draw, {"temperature": [1]}) == frames[:1]  # the same every time
    assert plt.get_fignums() == open_before


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({}, ValueError, "needs a control"),
        ({"temperature": []}, ValueError, "temperature needs a list of values"),
        ({"temperature": "abc"}, ValueError, "temperature needs a list of values"),
        ({"temperature": [1], "alt": " "}, ValueError, "needs an alt text"),
        ({"temperature": [1], "start": {"temperature": 3}}, ValueError, "start has temperature=3"),
        ({"temperature": list(range(41))}, ValueError, "would hold 41 frames"),
        ({"temperature": [1], "draw": lambda temperature: None}, TypeError, "must return a figure"),
    ],
)
def test_mistakes_are_named(more, error, message):
    with pytest.raises(error, match=message):
        figures.explorer(**{"draw": draw, "name": "x", "alt": "A bar grows"} | more)


def test_alt_is_required():
    with pytest.raises(TypeError, match="alt"):
        figures.explorer(draw, name="x", temperature=[1])
