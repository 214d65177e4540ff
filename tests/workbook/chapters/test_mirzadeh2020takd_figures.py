"""Chapter 4's figures and laboratory: what they show of a made-up record, what they build."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from torch import nn

from kdnb import papers
from kdnb.data import ImageData, Images
from kdnb.methods.architecture import Mimic, Pair, design
from kdnb.nets import features
from kdnb.reproductions import mirzadeh2020takd as takd
from kdnb.workbook.chapters import mirzadeh2020takd_figures as pictures
from kdnb.workbook.chapters import mirzadeh2020takd_live as live


@pytest.fixture
def table():
    """Every arm's test error is its place in the list, a little more for each seed."""
    arms = list(takd.arms(takd.PROFILES["laptop"]))
    columns = pd.MultiIndex.from_product([arms, ["test_error"]], names=["arm", "metric"])
    rows = [[20 + place + 0.1 * seed for place in range(len(arms))] for seed in range(6)]
    return pd.DataFrame(rows, columns=columns)


def test_ways_are_paired_savings_beside_the_published_ones(table):
    ways = pictures.ways(table)
    error = table.xs("test_error", axis=1, level="metric")
    for arm, name in pictures.WAYS.items():
        saved = error["taught_by_10"] - error[arm]  # the same in every seed of this table
        assert ways.loc[name, ["mean", "low", "high"]].tolist() == pytest.approx([saved.mean()] * 3)
    assert ways["published"].dropna().round(2).to_dict() == {
        "alone": -2.41, "10 → 8 → 2": 0.18, "10 → 6 → 2": 0.58, "10 → 4 → 2": 0.94,
    }  # fmt: skip


def test_the_sweep_is_drawn_by_size(table):
    figure = pictures.recorded_gap(table)
    _, right = figure.axes
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["4", "6", "8", "10"]
    means = [table[f"taught_by_{size}", "test_error"].mean() for size in takd.TEACHERS]
    assert right.lines[0].get_ydata() == pytest.approx(means)
    plt.close(figure)


def test_both_papers_stand_side_by_side(monkeypatch):
    def judged(key, profile):
        claims = papers.claims_of(key)
        return [SimpleNamespace(claim=claim, word=f"{key[:3]} {claim.id}") for claim in claims]

    monkeypatch.setattr(papers, "verdicts", judged)
    found = pictures.side_by_side()
    words = found.xs("here", axis=1, level=1).loc["Does a chain of assistants help?"]
    assert words.tolist() == ["mir any-assistant", "cho sequence-no-help"]


@pytest.fixture
def lab():
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
        return Images(images, torch.arange(count) % 10)

    source = ImageData(
        name="fashion_mnist", card=None, train_all=drawn(32), train=drawn(32), validation=drawn(8),
        test=drawn(32), classes=tuple("0123456789"), mean=(0.5,), sd=(0.25,),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live.data, "load", lambda name: source)
        yield live.Lab(images=32, test=32, epochs=1)


def test_designs_are_smaller_each_in_its_own_way(lab):
    students = live.designs(lab)
    image = lab.images(1)[0]
    costs = {
        name: (design.multiply_adds(net, image), design.stored_bytes(net))
        for name, net in {"teacher": lab.teacher, **students}.items()
    }
    operations, stored = costs.pop("teacher")
    assert costs.pop("same net") == (operations, stored)
    quantised = costs.pop("quantised copy, 4 bits")
    assert quantised[0] == operations and quantised[1] < stored / 4
    assert all(a < operations and b < stored for a, b in costs.values()) and len(costs) == 3


def test_designs_that_are_trained_elsewhere_come_back_whole(lab, monkeypatch):
    sent = pickle.loads(pickle.dumps(lab))  # as to another process
    assert len(pickle.dumps(lab)) < 1e6 and len(sent.batches) == len(lab.batches)
    with ThreadPoolExecutor(1) as here:
        monkeypatch.setattr(live.pool, "kept", lambda jobs: here)
        made, alone = (
            live.trained_designs(lab, taught=True),
            live.alone(lab),
        )
    assert list(made) == list(live.designs(lab)) == list(alone.index)
    for name in ("thinner", "quantised copy, 4 bits"):
        here = lab.taught(live.designs(lab)[name])
        with torch.no_grad():
            torch.testing.assert_close(made[name](lab.images(4)), here(lab.images(4)))
    assert ((alone >= 0) & (alone <= 100)).all()


def test_a_grown_network_answers_as_before_and_its_rival_starts_anew(lab):
    lenet = lab.built("lenet5")
    grown = live.grown(lenet, lab)
    assert grown.loc["itself", "largest change of a logit"] == 0
    assert (grown["largest change of a logit"] < 1e-9).all()
    assert (grown["parameters"].iloc[1:] > grown["parameters"].iloc[0]).all()
    assert next(lenet.parameters()).dtype == torch.float32
    courses = live.growth_courses(lenet, lab)
    assert all(len(course) == 2 for course in courses.values())


def test_residual_maps_add_up(lab):
    torch.manual_seed(0)
    teacher, images = lab.built("resnet8"), lab.images(2)
    with features(teacher.eval(), ["stage3"]) as seen, torch.no_grad():
        teacher(images)
    channels = seen["stage3"].shape[1]
    student, assistant = (
        Mimic(lab.built("resnet8", seed=seed).eval(), "stage3", channels, images) for seed in (1, 2)
    )
    pair = Pair(student, assistant, nn.Linear(channels, 10))
    goal, own, rest, both = live.residual_maps(pair, teacher, "stage3", images)
    torch.testing.assert_close(both, own + rest)
    assert any(torch.equal(goal, seen["stage3"][:, channel]) for channel in range(channels))
