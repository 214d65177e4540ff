"""The notebooks for one's own work, executed unattended on data and networks that they have never seen."""

import json
import os

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kdnb import paths
from kdnb.workbook import runner

OWN = """
from torch import nn

class Own(nn.Sequential):
    def __init__(self, num_classes, in_channels):
        super().__init__(
            nn.Conv2d(in_channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 15 * 15, num_classes),
        )
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The committed notebooks, with runs and modules of our own."""
    (tmp_path / "my_nets.py").write_text(OWN)
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{paths.PACKAGE.parent}")
    return tmp_path


def executed(name, **values):
    """How the run ended, and all that its cells printed."""
    item = runner.chapter(name)
    done = runner.run(item, item.checked(values))
    folder = paths.runs() / name / done.profile
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return done, "".join(one.text for one in outputs if one.output_type == "stream")


def test_a_folder_of_images_and_a_network_of_ones_own(place):
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        (place / "photos" / name).mkdir(parents=True)
        for number in range(15):
            pixels = np.clip(rng.normal(80 + 90 * label, 40, (40, 36, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "photos" / name / f"{number}.jpg")
    done, said = executed(
        "your-own", source=str(place / "photos"), image_size=32, images=0, student="my_nets:Own",
        teacher="timm:resnet10t", teacher_weights="", options=["temperature", 2], epochs=4, seeds=2,
        folder=str(place / "out"),
    )  # fmt: skip
    assert (done.outcome, done.profile) == ("ok", "custom"), done.message
    assert "24 training and 6 held-out images of 3 x 32 x 32, 2 classes" in said
    for form in ("state_dict", "torch_export", "torchscript", "int8"):
        assert f"{form}: as good as the network: yes" in said
    assert {path.suffix for path in (place / "out").iterdir()} == {".safetensors", ".pt2", ".ts"}
    about = json.loads((place / "runs" / "your-own" / "custom" / "run.json").read_text())
    assert about["parameters"]["student"] == "my_nets:Own"


def test_text_in_a_table(place):
    rng = np.random.default_rng(0)
    words = {"sport": ["ball", "goal", "team", "race"], "food": ["salt", "oven", "bread", "soup"]}
    rows = [
        {"number": n, "topic": topic, "body": " ".join(rng.choice([*own, "the", "a", "of"], 6))}
        for n in range(60)
        for topic, own in words.items()
    ]
    pd.DataFrame(rows).to_csv(place / "mails.csv", index=False)
    done, said = executed(
        "your-table", table=str(place / "mails.csv"), label="topic", text="body", rows=0, seeds=2,
        leave_out=["number"], epochs=3, teacher_epochs=3, folder=str(place / "out"),
    )  # fmt: skip
    assert done.outcome == "ok", done.message
    assert "1024 inputs, 2 classes" in said and "food, sport" in said
    assert said.count("as good as the network: yes") == 4


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("your-own", {"source": "nowhere"}, "DataError: nowhere is neither a folder nor an .npz"),
        ("your-own", {"images": 3}, "UsageError: images must be 0 or at least 10, one for each"),
        ("your-own", {"student": "lenet6"}, "ValueError: there is no network 'lenet6'"),
        (
            "your-own",
            {"options": ["temperature"]},
            "UsageError: options are names and values in turn",
        ),
        ("your-own", {"method": "crdd", "options": []}, "UsageError: there is no method 'crdd'"),
        ("your-table", {"label": "votes"}, "UsageError: the table has no column 'votes'"),
    ],
)
def test_what_is_wrong_stops_before_anything_is_trained(place, name, values, words):
    done, said = executed(name, **values)
    assert done.outcome == "failed cell" and done.message.startswith(words)
    assert "student is" not in said and not (paths.runs() / name / "student.safetensors").exists()
