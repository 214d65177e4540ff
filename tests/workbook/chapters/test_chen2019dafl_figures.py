"""Chapter 5-6's figures and tables: what they show of made-up banks and papers."""

import importlib
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from kdnb import papers
from kdnb.methods import data_free
from kdnb.methods.data_free import Bank
from kdnb.nets import build
from kdnb.reproductions import chen2019dafl as dafl
from kdnb.workbook.chapters import chen2019dafl_beliefs as beliefs
from kdnb.workbook.chapters import chen2019dafl_figures as pictures
from kdnb.workbook.chapters import chen2019dafl_gallery as gallery

SOURCE = SimpleNamespace(classes=tuple("0123456789"), mean=(0.5,), sd=(0.25,))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bank(labels, sure=10.0):
    labels = torch.tensor(labels)
    return Bank(noise(len(labels), 1, 8, 8), sure * nn.functional.one_hot(labels, 10).float())


@pytest.fixture
def table():
    """Accuracies of 60, 61, ...; the last ten a point lower; seeds half a point apart."""
    metrics = {"accuracy": 0, "last_ten_accuracy": -1, "last_ten_accuracy_sd": None,
               "class_balance": None, "diversity": None, "confidence": None,
               "collapse_warnings": None, "best_accuracy": 2,
               **{f"accuracy_after_{part}": part - 100 for part in dafl.COURSE}}  # fmt: skip
    columns = pd.MultiIndex.from_product([list(pictures.ARMS), metrics], names=["arm", "metric"])
    rows = [
        [0.25 if metrics[m] is None else 60 + list(pictures.ARMS).index(arm) + metrics[m] + seed / 2
         for arm, m in columns]
        for seed in range(6)
    ]  # fmt: skip
    whole = pd.DataFrame(rows, columns=columns)
    detected = ["class_balance", "diversity", "confidence", "collapse_warnings"]
    return whole.drop(columns=[("noise", metric) for metric in detected])  # without a generator


def test_pixels_are_black_and_white_at_the_bounds():
    low, high = data_free.pixel_bounds(SOURCE.mean, SOURCE.sd)
    images = torch.stack([low, high, low - 1, high + 1, torch.zeros(1, 1, 1)])
    assert gallery.pixels(images, SOURCE).flatten().tolist() == [0, 255, 0, 255, 128]


def test_a_sheet_shows_each_class_and_the_histogram():
    banks = {"whole": bank(list(range(10))), "with a long name": bank([3] * 3 + [7])}
    figure = gallery.sheet(banks, SOURCE)
    (first, _), (second, bars) = np.array(figure.axes).reshape(2, 2)
    assert [drawn(first, k) for k in range(10)] == ["square"] * 10
    assert [drawn(second, k) for k in range(10)] == [
        "square" if k in (3, 7) else "cross" for k in range(10)
    ]
    heights = [bar.get_height() for bar in bars.patches]
    assert heights == pytest.approx([0, 0, 0, 75, 0, 0, 0, 25, 0, 0])
    meant = gallery.sheet(banks, SOURCE, {"whole": torch.arange(10).flip(0)})
    for k in range(10):
        whole = gallery.pixels(banks["whole"].images, SOURCE)
        assert np.array_equal(cell(first, k), whole[k, 0])
        assert np.array_equal(cell(meant.axes[0], k), whole[9 - k, 0])
    few = gallery.pixels(banks["with a long name"].images, SOURCE)
    assert np.array_equal(cell(second, 3), few[0, 0])
    assert np.array_equal(cell(second, 7), few[3, 0])
    assert not cell(second, 0).any()  # white


def cell(axes, label):
    """The 8x8 pixels that a row of a sheet shows around a class's number."""
    (image,) = axes.images
    left, right, _, _ = image.get_extent()
    pixels = image.get_array()
    wide = pixels.shape[1] / (right - left)
    start = round((label - 0.5 - left) * wide) + 1
    return np.asarray(pixels[1:-1, start : start + 8])


def drawn(axes, label):
    """What is drawn around a class's number: a closed square, or the two lines of a cross."""
    (lines,) = axes.collections
    near = [line for line in lines.get_segments() if np.abs(line[:, 0] - label).max() < 0.5]
    shapes = {(1, 5): "square", (2, 2): "cross"}
    return shapes[len(near), len(near[0])]


def test_the_collapse_table_names_the_limits_that_are_crossed():
    banks = {"healthy": bank(list(range(10))), "one class": bank([2, 2, 2]),
             "unsure": bank(list(range(10)), sure=0.1)}  # fmt: skip
    found = gallery.collapse_table(banks, {"healthy": 81.4})
    assert found["warning"].tolist() == ["none", "class_balance < 0.7", "confidence < 0.5"]
    assert found["class balance"].tolist() == [1, 0, 1]
    assert found["images"].tolist() == [10, 3, 10]
    assert found["student, % right"].tolist() == ["81", "", ""]
    assert "student, % right" not in gallery.collapse_table(banks)


def test_a_shelf_shows_the_surest_first_and_the_explorer_draws_anew():
    one = bank([4, 4, 1])
    one.logits[1, 4] = 20.0
    figure = gallery.shelf(one, 4, SOURCE)
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 2
    assert np.array_equal(drawn[0].images[0].get_array(), gallery.pixels(one.images, SOURCE)[1, 0])
    widget = gallery.explorer({"a": one, "b": bank([0])}, SOURCE)
    (name, label), picture = widget.children[0].children, widget.children[1]
    first = picture.value
    label.value = 4
    second = picture.value
    name.value = "b"
    assert len({first, second, picture.value}) == 3


def test_rows_name_calls_and_claims_that_exist():
    for method in gallery.METHODS:
        for call in method.call.split(", "):
            assert call.split("(")[0] in data_free.__all__
    keys = {method.key for method in gallery.METHODS} - {""}
    assert keys == {"chen2019dafl", "nayak2019zskd", "micaelli2019zskt", "yin2020deepinversion",
                    "wang2018dd"}  # fmt: skip
    judged = {"chen2019dafl": [SimpleNamespace(word=w) for w in ("reproduced", "no", "reproduced")]}
    words = gallery.method_table(judged)["claims"]
    assert words["DAFL"] == "2 reproduced; 1 no"
    assert (words.drop("DAFL") == gallery.NOT_JUDGED).all()
    assert set(gallery.choice().index) >= {method.title for method in gallery.METHODS} - {
        "DeepInversion, adaptive"
    }


def test_every_arm_has_a_name_and_a_published_value():
    arms = set(dafl.arms(dafl.PROFILES["laptop"]))
    assert set(pictures.ARMS) == arms - {"dafl_natural"}
    published = {name for claim in papers.claims_of("chen2019dafl") for name in claim.published}
    assert set(pictures.COMPARED) == set(pictures.ARMS) & published
    frame = pd.DataFrame({"quantity": ["dafl", "noise"], "ours": [1.0, 2.0], "low": 0.0,
                          "high": 3.0, "published": 4.0})  # fmt: skip
    rows = pictures.recorded_arms(frame, ["noise", "dafl"])
    assert rows["mean"].to_dict() == {pictures.ARMS["noise"]: 2.0, pictures.ARMS["dafl"]: 1.0}


def test_the_other_papers_arms_have_names_and_published_values_of_the_same_data_alone():
    for key, names in pictures.OTHER_ARMS.items():
        reproduction = importlib.import_module(f"kdnb.reproductions.{key}")
        assert set(names) == set(reproduction.arms(dafl.PROFILES["laptop"])) - {"beliefs"}
        columns = pd.MultiIndex.from_product([list(names), ["accuracy"]])
        table = pd.DataFrame([[60.0] * len(names), [62.0] * len(names)], columns=columns)
        first, second, *_ = names
        frame = pd.DataFrame({"quantity": [first, second], "published": [99.0, np.nan]})
        rows = pictures.other_arms(key, table, frame)
        assert list(rows.index) == list(names.values()) and (rows["mean"] == 61).all()
        same = key in pictures.ON_MNIST
        assert rows["published"].count() == same
        assert not same or rows["published"].iloc[0] == 99
        assert (rows["low"] < 61).all() and (rows["high"] > 61).all()


def test_the_last_iteration_stands_beside_the_mean_of_the_last_ten(table):
    found = pictures.last_or_mean(table)
    assert set(found.index) == {pictures.ARMS[arm] for arm in pictures.WITHOUT_DATA}
    means = found.xs("mean", axis=1, level=1)
    assert (means["last iteration"] - means["mean of the last ten"] == 1).all()
    spread = np.std([s / 2 for s in range(6)], ddof=1)
    assert found["last iteration", "sd over seeds"].tolist() == pytest.approx(
        [spread] * len(pictures.WITHOUT_DATA), abs=0.01
    )
    assert (found["within a run", "swing"] == 0.25).all()
    assert (found["best of all evaluations", "above the last"] == 2).all()
    axes = pictures.stability(table).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(found.index)[::-1]
    marks = [line.get_xdata() for line in axes.lines if line.get_marker() == "D"]
    assert marks[-1] == pytest.approx(table["dafl", "accuracy"])
    makers = [arm for arm in pictures.WITHOUT_DATA if arm != "noise"]
    collapse = gallery.recorded_collapse(table, makers)
    assert list(collapse.index) == makers
    assert collapse.loc["dafl", "class balance"] == "0.25 ± 0.00"


def test_the_course_of_a_recorded_run_ends_with_its_accuracy(table):
    long = table.iloc[[0]] + 1
    axes = pictures.courses(table, long, 98.2).axes[0]
    assert set(axes.lines[0].get_ydata()) == {98.2}
    curves = [line for line in axes.lines[1:] if len(line.get_xdata()) == len(dafl.COURSE) + 1]
    dafls, *_, one = [line.get_ydata() for line in curves]
    assert dafls[-1] == pytest.approx(table["dafl", "accuracy"].mean())
    assert dafls[0] == pytest.approx(dafls[-1] - 80)
    assert one[-1] == pytest.approx(table["dafl", "accuracy"].iloc[0] + 1)
    assert {"DAFL: all three terms", "noise instead of a generator"} <= {
        text.get_text() for text in axes.figure.legends[0].get_texts()
    }


def test_courses_are_compared_in_one_unit():
    entropy = np.array([0.5, 1.0, 2.0])

    def result(base, weight):
        unit = 1.0 if base is None else np.log(base)
        arguments = {"weights": {"entropy": weight}} | ({} if base else {"entropy": "natural"})
        series = {"entropy": (-weight * entropy / unit).tolist(), "soft": [1.0, 1.0, 1.0]}
        return SimpleNamespace(description={"arguments": arguments}, series=series)

    left = pictures.conventions({"a": result(10, 5.0), "b": result(None, 2.0)}).axes[0]
    for line in left.lines:
        assert line.get_ydata() == pytest.approx(entropy / np.log(10))


def test_terms_are_drawn_from_the_losses_themselves():
    teacher = build("lenet5").eval()
    figure = pictures.term_demonstrations(teacher, {"noise": noise(20, 1, 28, 28)})
    left, middle, right = figure.axes
    assert left.lines[0].get_ydata()[-1] == pytest.approx(-np.log(0.999), abs=1e-5)
    ten, natural = (line.get_ydata() for line in middle.lines)
    assert ten[0] == pytest.approx(-1, abs=1e-3) and ten[-1] == pytest.approx(0, abs=1e-3)
    assert np.array(natural) == pytest.approx(np.array(ten) * np.log(10), abs=1e-5)
    assert "L_a" in right.get_legend().get_texts()[0].get_text()


def test_the_schematic_and_the_targets_are_drawn():
    assert len(pictures.schematic().axes[0].patches) >= 7
    figure = pictures.impressions(build("lenet5").head.weight, SOURCE.classes)
    matrix, one, tenth = (figure.axes[k] for k in range(3))
    cosines = np.array(matrix.collections[0].get_array())
    assert np.diag(cosines) == pytest.approx(np.ones(10), abs=1e-5)
    for axes in (one, tenth):
        bars = np.array([bar.get_height() for bar in axes.patches]).reshape(4, 10)
        assert bars.sum(1) == pytest.approx(np.full(4, 0.85), abs=1e-4)


def test_a_batch_with_the_stored_statistics_has_no_gap():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=1.0))
    images = noise(30, 1, 8, 8)
    network.train()(images)
    network.eval()
    count = 30 * 36
    network[1].running_var *= (count - 1) / count  # torch stores the unbiased variance
    axes = pictures.statistics_gaps(network, {"same": images, "other": 3 * images}).axes[0]
    same, other = (bar.get_height() for bar in axes.patches)
    assert same < 1e-4
    assert other > 0.1


def test_curves_and_the_plane_are_drawn():
    ours, theirs = torch.full((2, 9, 5), 0.25), torch.full((2, 9, 5), 0.75)
    figure = beliefs.transitions({"one": (ours, theirs), "same": (ours, ours)})
    assert "error 0.500" in figure.axes[0].get_title()
    assert "error 0.000" in figure.axes[1].get_title()
    field = torch.rand(61, 61)
    held = {"teacher": field, "before": field, "after": field, "pseudo": noise(50, 2),
            "points": noise(20, 2), "labels": torch.arange(20) % 2}  # fmt: skip
    series = {"adversarial": [-1.0, -0.5], "soft": [0.5, 0.2]}
    result = SimpleNamespace(tensors=lambda: held, series=series)
    axes = beliefs.plane(result).axes
    assert axes[3].lines[0].get_ydata().tolist() == [1.0, 0.5]
    assert len(axes[2].lines[0].get_xdata()) == 50
