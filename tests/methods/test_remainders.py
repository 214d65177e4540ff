"""Every method with a last batch of one or two samples: it trains, or is refused before it starts."""

import copy
import math

import pytest
import torch
from torch import nn

import kdnb
from kdnb.methods.catalogue import METHODS
from kdnb.methods.offline import looking

BATCH = 6
QUICK = {"epochs": 1, "batch_size": BATCH, "lr": 0.01, "precision": "32", "weight": 0.01}


class Small(nn.Module):
    """Three stages and a head, without a batch norm, which would leave a single sample out."""

    def __init__(self, width, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.stage1 = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(width, width, 3, 2, padding=1), nn.ReLU())
        self.stage3 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(2 * width, 3)

    def forward(self, images):
        return self.head(self.pool(self.stage3(self.stage2(self.stage1(images)))))


def run(name, count, **options):
    """The history of a short distillation of so many samples; or what refused it."""
    images = torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    student, teacher = Small(4, 0), Small(5, 1)
    before = copy.deepcopy(student.state_dict())
    try:
        fit = kdnb.distil(
            student, teacher, (images, torch.arange(count) % 3), method=name, **QUICK | options
        )
    except ValueError as error:
        after = student.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
        assert "it needs " in str(error) and "\n" not in str(error)
        return None
    learnt = fit.learnt.state_dict().values() if fit.learnt else ()
    for value in (*student.state_dict().values(), *learnt):
        assert not value.is_floating_point() or bool(value.isfinite().all())
    return fit.history.iloc[-1]


@pytest.mark.parametrize("name", METHODS)
def test_a_small_last_batch_trains_or_is_refused_before(name, monkeypatch):
    monkeypatch.setattr(looking, "LEAST_STEPS", 2)
    for rest in (1, 2):
        history = run(name, BATCH + rest)
        assert history is not None  # the first batch is large enough for every method
        assert all(math.isfinite(value) for value in history)


@pytest.mark.parametrize("name", METHODS)
def test_batches_that_are_all_small_train_or_are_refused_before(name, monkeypatch):
    monkeypatch.setattr(looking, "LEAST_STEPS", 2)
    needs = {size: run(name, 2 * size, batch_size=size) is None for size in (1, 2)}
    assert needs[1] or not needs[2]  # what one sample is enough for, two are
    relation = METHODS[name].section in ("2.3", "5.4") and METHODS[name].loss not in WITHIN
    assert needs[1] == (relation or name in NORMED)


WITHIN = {"fsp", "kd_svd", "inter_channel_correlation"}  # relations within one sample's maps
NORMED = {"reviewkd"}  # whose adapter normalises over a batch of single values
