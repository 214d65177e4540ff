"""SPEQ's loss: by loops, its bounds, and its gradient against that of soft targets."""

import math

import pytest
import torch
from draws import draw_wide

from kdnb import losses


def by_loops(z, v, temperature):
    total = 0.0
    for ours, theirs in zip(z.tolist(), v.tolist(), strict=True):
        q = [math.exp(x / temperature) for x in ours]
        p = [math.exp(x / temperature) for x in theirs]
        dot = sum(a * b for a, b in zip(p, q, strict=True))
        total += 1 - dot / math.sqrt(sum(a * a for a in p) * sum(b * b for b in q))
    return temperature**2 * total / len(z)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_loss_by_loops(temperature):
    z, v = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    found = losses.cosine_targets(z, v, temperature)
    assert float(found) == pytest.approx(by_loops(z, v, temperature), rel=1e-9)


def test_it_lies_between_0_and_the_squared_temperature():
    sure = 1e3 * torch.eye(4, dtype=torch.float64)
    assert losses.cosine_targets(sure, sure, 3.0) == 0
    apart = losses.cosine_targets(sure, sure.roll(1, 0), 3.0)
    assert float(apart) == pytest.approx(9.0)
    assert losses.soft_targets(sure, sure.roll(1, 0), 3.0) > 1000  # which has no bound


def test_it_is_symmetric():
    z, v = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    torch.testing.assert_close(losses.cosine_targets(z, v, 2.0), losses.cosine_targets(v, z, 2.0))


def test_a_temperature_for_each_sample():
    z, v = draw_wide(3, 5), draw_wide(3, 5, seed=1)
    each = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    rows = [losses.cosine_targets(z[i : i + 1], v[i : i + 1], float(each[i])) for i in range(3)]
    torch.testing.assert_close(losses.cosine_targets(z, v, each), sum(rows) / 3)


def test_a_rounding_never_makes_it_negative():
    z = draw_wide(200, 5).float()
    assert losses.cosine_targets(z, z + 1e-6, 2.0) >= 0


def test_wrong_arguments_are_named():
    z = draw_wide(4, 5)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        losses.cosine_targets(z, z, 0.0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        losses.cosine_targets(z[:, :1], z[:, :1])
