"""Golden values: closed forms worked out by hand, and a small training run frozen to its digits."""

import doctest
import importlib
import math
import pkgutil

import pytest
import torch
from torch import nn

import kdnb
from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.methods.offline import distil
from kdnb.training import Recipe

ONE = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
ZERO = torch.zeros(1, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Two classes, a teacher without opinion: the divergence is log cosh of half the margin / T.
        (losses.soft_targets(ONE, ZERO, 1.0), math.log(math.cosh(1.0))),
        (losses.soft_targets(ONE, ZERO, 2.0), 4 * math.log(math.cosh(0.5))),
        (losses.soft_targets(ONE, ZERO, 1e3), 0.5),  # the limit: margin squared / 8
        (losses.logit_regression(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]])), 2.0),
        (losses.label_smoothing(torch.zeros(1, 4), torch.tensor([2]), 0.1), math.log(4)),
        (losses.label_smoothing(ONE, torch.tensor([0]), 0.2), math.log1p(math.exp(-2)) + 0.2),
    ],
)
def test_losses_by_hand(value, expected):
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_a_frozen_training_run():
    """Whoever changes these digits changes every recorded number: raise `runs.description.NUMERICS`."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (60, 1, 8, 8), generator=generator, dtype=torch.uint8)
    images = Images(pictures, torch.arange(60) % 3)
    batches = Batches(images, 16, mean=(0.5,), sd=(0.25,), seed=3, crop_padding=1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        network[1].weight.copy_(torch.linspace(-0.1, 0.1, 192).view(3, 64))
        network[1].bias.zero_()
    recipe = Recipe(epochs=3, batch_size=16, lr=0.01, schedule="one_cycle", precision="32",
                    crop_padding=1)  # fmt: skip
    history = distil.train(network, batches, recipe, label_smoothing=0.1, seed=5).rows
    assert [row["hard"] for row in history] == pytest.approx(GOLDEN, rel=1e-4)


GOLDEN = [1.84478113, 1.34125566, 1.17348612]


MODULES = [
    info.name
    for info in pkgutil.walk_packages(kdnb.__path__, "kdnb.")
    if info.name.startswith(("kdnb.losses", "kdnb.nets", "kdnb.data"))
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_tell_the_truth(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"torch": torch, "kdnb": kdnb})
    assert result.failed == 0


def test_there_are_examples_to_test():
    finder = doctest.DocTestFinder()
    found = [case for name in MODULES for case in finder.find(importlib.import_module(name))]
    assert sum(bool(case.examples) for case in found) > 50


def test_every_loss_has_one_name():
    names = losses.__all__
    assert len(names) == len(set(names)) > 60
    assert all(hasattr(losses, name) for name in names)
