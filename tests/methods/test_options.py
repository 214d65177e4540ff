"""Keywords of the verbs: whose they are, and what an unknown one is told."""

import pytest
import torch
from torch import nn

import kdnb

DATA = torch.zeros(6, 4), torch.arange(6) % 3


def linear():
    return nn.Linear(4, 3)


def mean(student, teacher):
    return (student - teacher).square().mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: kdnb.distil(linear(), linear(), DATA, method="at", temperature=3),
            r"^temperature is an option of kd, dkd, .*, not of at: leave it out",
        ),
        (
            lambda: kdnb.Criterion(["at", "sp"], linear(), linear(), DATA, power=2, heads=3),
            "^heads is an option of mhgd, not of at or sp",
        ),
        (
            lambda: kdnb.distil(linear(), linear(), DATA, method=mean, temperature=3),
            "not of mean: leave it out",
        ),
        (
            lambda: kdnb.distil(
                linear(), linear(), DATA, method=["kd", "dkd"], temperature={"kd": 4, "dk": 2}
            ),
            "^temperature names 'dk', and the methods that have it are kd and dkd",
        ),
        (
            lambda: kdnb.mutual([linear(), linear()], DATA, method="kd"),
            "^mutual has no option 'method': it belongs to kdnb.distil",
        ),
        (
            lambda: kdnb.train(linear(), DATA, temperature=3),
            "^train has no option 'temperature': it belongs to kdnb.distil",
        ),
        (
            lambda: kdnb.born_again(linear, DATA, generation=1),
            r"^born_again has no option 'generation' \(nearest: generations",
        ),
        (
            lambda: kdnb.mutual([linear(), linear()], DATA, temprature=1),
            r"^mutual has no option 'temprature' \(nearest: temperature",
        ),
    ],
)
def test_an_unknown_keyword_says_whose_it_is(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "a", True])
def test_weights_are_checked_before_training(wrong):
    for call in (
        lambda: kdnb.distil(linear(), linear(), DATA, weight=wrong),
        lambda: kdnb.distil(linear(), linear(), DATA, weight=(0, wrong)),
        lambda: kdnb.distil(linear(), linear(), DATA, label_weight=wrong),
        lambda: kdnb.Criterion("kd", linear(), linear(), DATA, label_weight=wrong),
        lambda: kdnb.mutual([linear(), linear()], DATA, weight=wrong),
        lambda: kdnb.born_again(linear, DATA, label_weight=wrong),
        lambda: kdnb.born_again(linear, DATA, weight=wrong),
    ):
        with pytest.raises(ValueError, match=r"weight\b.* must be at least 0"):
            call()
    with pytest.raises(ValueError, match=r"one number, or a pair .*; got \(0, 1, 2\) for kd"):
        kdnb.distil(linear(), linear(), DATA, weight=(0, 1, 2))
