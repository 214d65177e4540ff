"""Chapter 5-1's short runs, figures and tables: each method runs, and what is drawn is so."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from kdnb import data as datasets
from kdnb import papers
from kdnb.data import ImageData, Images
from kdnb.methods import adversarial
from kdnb.papers.claims import judge_all
from kdnb.reproductions import wang2018kdgan as kdgan
from kdnb.runs import trials
from kdnb.runs.task import network_of
from kdnb.workbook.chapters import wang2018kdgan_figures as pictures
from kdnb.workbook.chapters import wang2018kdgan_live as live
from kdnb.workbook.chapters import wang2018kdgan_methods as methods

COUNT = 20  # test images that are looked at


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A drawn stand-in for MNIST, and every illustration run on it for one epoch."""
    draw = torch.Generator().manual_seed(0)

    def images(count):
        pixels = torch.randint(0, 256, (count, 1, 28, 28), generator=draw, dtype=torch.uint8)
        return Images(pixels, torch.arange(count) % 10)

    train = images(64)
    source = ImageData(
        name="mnist", card=datasets.card("mnist"), train_all=train, train=train,
        validation=images(20), test=images(2 * COUNT), classes=tuple("0123456789"),
        mean=(0.5,), sd=(0.3,),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda name: source)
        patch.setattr(live, "SEEN", COUNT)
        patch.setattr(methods, "SEEN", COUNT)
        patch.setenv("KDNB_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield source, trials.run_all(live.described(images=32, epochs=1, teacher_images=64))


def test_every_method_runs_and_has_a_row(world):
    _, found = world
    for name in live.METHODS:
        assert 0 <= found[name].metrics["test_errors"] <= COUNT
        assert found[name].metrics["train_images"] == 32
    shown = {method.shown for method in methods.METHODS if method.shown}
    assert shown == set(live.METHODS) - {"labels", "soft targets"}
    assert len(methods.live_table(found)) == 3 + len(shown)


def test_students_start_alike_and_learn_otherwise(world):
    """The same student everywhere, and no two methods end at the same weights."""
    _, found = world
    ends = []
    for name in live.METHODS:
        tensors = found[name].tensors()
        ends.append(torch.cat([tensors[k].flatten() for k in sorted(tensors) if "weight" in k]))
    for i, one in enumerate(ends):
        assert not any(torch.equal(one, other) for other in ends[:i])
    networks = [found[name].description["arguments"]["network"] for name in live.METHODS]
    assert all(network == live.STUDENT for network in networks)


def test_generators_come_back_and_the_taught_one_hears_the_same_noise(world):
    source, found = world
    for name in methods.GENERATORS:
        drawn = adversarial.draw_images(live.maker_of(found[name]), live.SEEN)[:10]
        expected = found[name].tensors()["images"]
        torch.testing.assert_close(live.pixels(source, drawn), expected)
    assert found["GAN"].metrics["parameters"] > 3 * found["small GAN"].metrics["parameters"]
    table = methods.generators(found, source)
    assert list(table.index) == ["other real images", *methods.GENERATORS.values()]
    assert "judging" not in found["small, pixels"].series
    assert "judging" in found["small, joint"].series


def test_the_adapted_student_comes_from_the_teacher(world):
    source, found = world
    teacher = network_of(found["teacher"], source)
    images = live.normalised(source, source.test.select(slice(COUNT)))
    with torch.no_grad():
        answers = teacher(adversarial.shifted(images)).argmax(1)
    wrong = int((answers != source.test.labels[:COUNT]).sum())
    accuracies = methods.adaptation(found)
    assert accuracies.loc["teacher", "shifted digits"] == pytest.approx(100 * (1 - wrong / COUNT))
    start = found["teacher"].tensors()["network.head.weight"]
    end = found["domains, plain"].tensors()["network.head.weight"]
    assert 0 < (start - end).abs().max() < 0.1


def record():
    """Every arm's accuracy is its place in the list, a little more for each seed."""
    rows = {}
    for place, arm in enumerate(kdgan.arms(kdgan.PROFILES["laptop"])):
        rows[arm, "accuracy"] = [60 + place + 0.1 * seed for seed in range(6)]
        if arm.endswith(("nagan", "kdgan")):
            rows[arm, "epochs_needed"] = [100 - 10 * place + seed for seed in range(6)]
    frame = pd.DataFrame(rows)
    frame.columns.names = ["arm", "metric"]
    return frame


def test_every_method_has_a_verdict_or_says_that_it_has_none():
    verdicts = judge_all(papers.claims_of("wang2018kdgan"), record())
    table = methods.table(verdicts)
    words = {verdict.claim.id: verdict.word for verdict in verdicts}
    assert f"fewer-epochs: {words['fewer-epochs']}" in table.loc["NaGAN", "verdict"]
    judged = {claim for method in methods.METHODS for claim in method.claims}
    assert judged == set(words)
    assert all(table["verdict"])
    assert list(methods.choice().columns) == [
        "what you need", "what it buys", "when to choose it",
    ]  # fmt: skip


def test_rows_of_arms():
    rows = pictures.arm_rows(record(), {"kdgan": "KDGAN"}, "accuracy")
    assert rows.loc["KDGAN", "mean"] == pytest.approx(65.25)
    assert rows.loc["KDGAN", "low"] < 65.25 < rows.loc["KDGAN", "high"]
    assert np.isnan(rows.loc["KDGAN", "published"])


def test_the_shares_of_the_colours_do_not_depend_on_the_temperature():
    figure = pictures.simplex(torch.tensor([1.0, 0.0, -0.5]), (0.1, 5))
    colours = [axes.collections[0].get_facecolors() for axes in figure.axes]
    assert np.array_equal(*colours)
    corner = [np.abs(axes.collections[0].get_offsets() - [0.5, 0.29]).max() for axes in figure.axes]
    assert corner[0] > corner[1]  # samples of a low temperature go to the corners
    plt.close(figure)


def test_sureness_counts_images_below_each_bound():
    images = {"a": torch.rand(2, 1, 4, 4), "b": torch.rand(2, 1, 4, 4), "c": torch.rand(2, 1, 4, 4)}
    sure = {"a": torch.tensor([0.4, 0.8, 0.95, 1.0])} | {k: torch.ones(4) for k in "bc"}
    figure = pictures.sureness(images, sure)
    heights = [bar.get_height() for bar in figure.axes[-1].containers[0]]
    assert heights == [25, 50, 75]
    plt.close(figure)
