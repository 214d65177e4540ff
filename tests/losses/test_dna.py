"""Block-wise supervision: loops, units, and what makes errors of several blocks comparable."""

import math

import pytest
import torch
from draws import MAPS, draw
from torch.autograd import gradcheck

from kdnb.losses import block_distillation, relative_block_error


def numbers(maps):
    return maps.flatten().tolist()


def test_against_loops():
    s, t = draw(*MAPS), draw(*MAPS, seed=1)
    pairs = list(zip(numbers(s), numbers(t), strict=True))
    count = len(pairs)
    assert block_distillation(s, t).item() == pytest.approx(sum((a - b) ** 2 for a, b in pairs) / count)  # fmt: skip
    mean = sum(b for _, b in pairs) / count
    spread = math.sqrt(sum((b - mean) ** 2 for _, b in pairs) / count)
    expected = sum(abs(a - b) for a, b in pairs) / count / spread
    assert relative_block_error(s, t).item() == pytest.approx(expected)


def test_gradients():
    s, t = draw(*MAPS).requires_grad_(), draw(*MAPS, seed=1).requires_grad_()
    assert gradcheck(block_distillation, (s, t)) and gradcheck(relative_block_error, (s, t))


def test_the_relative_error_has_no_unit_and_the_squared_one_has():
    s, t = draw(*MAPS), draw(*MAPS, seed=1)
    torch.testing.assert_close(relative_block_error(7 * s, 7 * t), relative_block_error(s, t))
    torch.testing.assert_close(relative_block_error(s + 3, t + 3), relative_block_error(s, t))
    torch.testing.assert_close(block_distillation(7 * s, 7 * t), 49 * block_distillation(s, t))


def test_the_best_constant_answer_has_an_error_of_about_the_normal_laws():
    """A block that answers with the mean alone: the mean deviation over the standard one."""
    t = draw(20, 10, 8, 8)
    found = relative_block_error(t.mean().expand_as(t).clone(), t)
    assert found.item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.01)


def test_equal_and_constant_maps():
    t = draw(*MAPS)
    assert relative_block_error(t, t) == 0 and block_distillation(t, t) == 0
    constant = torch.ones(MAPS, requires_grad=True)
    value = relative_block_error(draw(*MAPS).float(), constant)
    assert value == 0 and torch.autograd.grad(value, constant)[0].isfinite().all()


def test_extreme_maps():
    s, t = 1e3 * draw(*MAPS).half(), 1e3 * draw(*MAPS, seed=1).half()
    assert block_distillation(s, t).isfinite() and relative_block_error(s, t).isfinite()


@pytest.mark.parametrize("loss", [block_distillation, relative_block_error])
def test_wrong_maps(loss):
    with pytest.raises(ValueError, match="the same batch size, channels, height, width"):
        loss(torch.ones(2, 3, 4, 4), torch.ones(2, 4, 4, 4))
    with pytest.raises(ValueError, match="student_maps must be feature maps"):
        loss(torch.ones(2, 3), torch.ones(2, 3))
    assert loss(torch.full(MAPS, math.nan), draw(*MAPS)).isnan()
