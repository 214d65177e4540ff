"""The hint of rocket launching: by loops, and whom its gradient reaches."""

import pytest
import torch
from draws import draw

from kdnb import losses


def test_the_hint_against_loops():
    light, booster = draw(4, 3), draw(4, 3, seed=1)
    rows = zip(light.tolist(), booster.tolist(), strict=True)
    expected = sum(sum((a - b) ** 2 for a, b in zip(*row, strict=True)) for row in rows) / 4
    assert losses.rocket_hint(light, booster).item() == pytest.approx(expected, rel=1e-12)


def test_the_block_keeps_the_gradient_from_the_booster():
    light, booster = (draw(4, 3, seed=seed).requires_grad_() for seed in (0, 1))
    losses.rocket_hint(light, booster).backward()
    assert booster.grad is None
    torch.testing.assert_close(light.grad, (light - booster).detach() / 2)
    losses.rocket_hint(light, booster, gradient_block=False).backward()
    torch.testing.assert_close(booster.grad, (booster - light).detach() / 2)
