"""The arms of co-teaching: which labels are wrong, what is scored, and what claims read."""

import pytest
import torch

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import han2018coteaching as paper
from kdnb.reproductions import reproduce
from kdnb.runs import trials

TINY = paper.Parameters(train_images=100, test_images=100, hidden=8)


def pictures(count, seed):
    stream = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 120, (count, 1, 28, 28), generator=stream, dtype=torch.uint8)
    labels = torch.arange(count) % 10
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 2 * label : 2 * label + 6] += 120
    return Images(images, labels, datasets.card("mnist"))


def source(spoilt=None):
    train = pictures(120, 1)
    made = ImageData(
        name="mnist", card=datasets.card("mnist"), train_all=train, train=train, validation=pictures(110, 2),
        test=pictures(130, 3), classes=tuple("0123456789"), mean=(0.5,), sd=(0.25,),
    )  # fmt: skip
    if spoilt:
        getattr(made, spoilt).labels[:] = (getattr(made, spoilt).labels + 1) % 10
    return made


@pytest.fixture
def few(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source())


def test_a_claim_has_its_arms_and_metrics(few):
    table = reproduce(paper.REPRODUCTION, TINY, profile="custom").table()
    for claim in claims_of("han2018coteaching"):
        for quantity in [*claim.quantities(), *(one.quantity for one in claim.premises)]:
            for arm, metric in parse(quantity)[1]:
                assert (arm, metric or claim.metric) in table.columns, (claim.id, quantity)
    assert paper.LAPTOP.seeds >= 6


def test_arms_of_a_seed_share_labels_and_differ_in_what_they_keep(few):
    made = {name: trials.run(arm(3)) for name, arm in paper.arms(TINY).items()}
    wrong = {name: one.metrics["wrong"] for name, one in made.items()}
    for kind in paper.NOISES:
        assert len({wrong[f"{name}_{kind}"] for name in paper.PICKS}) == 1
    assert made["standard_pair"].metrics["precision"] == pytest.approx(100 - wrong["standard_pair"])
    firsts = [made[f"{name}_pair"].series["first"][0] for name in paper.PICKS]
    assert len(set(firsts)) == 1  # nothing is left out in the first epoch
    assert trials.run(paper.arms(TINY)["own_pair"](4)).metrics != made["own_pair"].metrics


def test_records_score_test_images_and_pilots_do_not(few, monkeypatch, tmp_path):
    pilot = TINY.model_copy(update={"scored": "validation"})
    arms = {"record": paper.arms(TINY)["own_pair"](0), "pilot": paper.arms(pilot)["own_pair"](0)}
    before = {name: trials.run(trial).series for name, trial in arms.items()}
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "again"))
    monkeypatch.setattr(datasets, "load", lambda name: source("test"))
    after = {name: trials.run(trial).series for name, trial in arms.items()}
    assert after["pilot"] == before["pilot"] and after["record"] != before["record"]


def test_accuracies_are_means_of_the_last_epochs(few):
    one = trials.run(paper.arms(TINY)["coteaching_symmetric"](0))
    ends = one.series["first"][-5:] + one.series["second"][-5:]
    assert one.metrics["accuracy"] == pytest.approx(sum(ends) / 10)
    assert one.metrics["best"] == max(one.series["first"])
    assert one.metrics["last"] == one.series["first"][-1]
