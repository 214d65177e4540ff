"""Hallucinated modalities: steps by hand, the weight that is chosen, and features that are made up."""

import copy

import pytest
import torch
from digit_views import ADAM, assert_moved, digits, net
from torch.nn import functional as F

import kdnb
from kdnb.losses import hallucination_loss
from kdnb.methods.cross_modal import Seeing, Streams, hallucinate
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=600, lr=0.01, momentum=0.0, schedule="constant", precision="32")
AT = {"views": ("left", "right"), "paths": ("1", "1")}


def maps(values):
    return values[..., None, None]


def test_hallucination_by_hand():
    networks = [net(98), net(98, 1), net(98, 2)]
    before = copy.deepcopy(networks)
    hall, privileged, beside = networks
    history = hallucinate(
        hall, privileged, digits(), STEP, beside=beside, weight=0.5, **AT
    ).history.iloc[-1]
    views, labels = digits()
    z, r = before[0](views["left"]), before[2](views["left"])
    distance = hallucination_loss(
        maps(before[0][:2](views["left"])), maps(privileged[:2](views["right"]).detach())
    )
    terms = {
        "hard": F.cross_entropy(z, labels), "beside": F.cross_entropy(r, labels),
        "joint": F.cross_entropy((z + r) / 2, labels), "transfer": 0.5 * distance,
    }  # fmt: skip
    for name, value in terms.items():
        assert history[name] == pytest.approx(value.item(), rel=1e-4)
    assert_moved(hall, before[0], sum(terms.values()))
    assert_moved(beside, before[2], sum(terms.values()))
    assert all(torch.equal(a, b) for a, b in zip(privileged.parameters(), before[1].parameters()))


def test_the_chosen_weight_makes_the_term_ten_times_the_largest_other():
    row = hallucinate(net(98), net(98, 1), digits(), STEP, **AT).history.iloc[-1]
    assert row["transfer"] == pytest.approx(10 * row["hard"], rel=1e-4)


def test_made_up_features_come_near_to_the_missing_half():
    """With the term, features of the left half tell more of those of the right half than without."""
    views, labels = digits()
    privileged = net(98, 1)
    kdnb.train(privileged, (views["right"], labels), ADAM)
    target = privileged[:2](views["right"]).detach()
    distances = {}
    for weight in (0.0, None):
        hall = copy.deepcopy(privileged)  # it starts as a copy
        hallucinate(hall, privileged, digits(), ADAM, weight=weight, **AT)
        distances[weight] = hallucination_loss(maps(hall[:2](views["left"])), maps(target)).item()
        joint = Streams([Seeing(hall, "left"), Seeing(privileged, "right")])
        assert kdnb.evaluate(joint, digits())["accuracy"] > 0.5
    assert distances[None] < 0.7 * distances[0.0]


def test_a_weight_below_0_is_refused():
    with pytest.raises(ValueError, match="weight must be at least 0; got -1"):
        hallucinate(net(98), net(98, 1), digits(), STEP, weight=-1, **AT)
