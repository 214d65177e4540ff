"""Small networks and batches, for the tests of online distillation."""

import torch
from torch import nn

from kdnb.data import Batches, Images


def pictures(count=40, size=6):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 3)


def batches(count=40, **options):
    return Batches(pictures(count), 8, mean=(0.5,), sd=(0.3,), **options)


def small(seed=0, hidden=10):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 3)
    )


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def state(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key
