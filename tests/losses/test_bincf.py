"""BinCF: signs that pass gradients, and pairs whose order a teacher knows."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import binary_codes, pair_distillation


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_against_loops():
    a, b, c, d = (draw(6, seed=n) for n in range(4))
    total = 0.0
    for s1, s0, t1, t0 in zip(*(one.tolist() for one in (a, b, c, d)), strict=True):
        goal, p = sigmoid(t1 - t0), sigmoid(s1 - s0)
        total -= goal * math.log(p) + (1 - goal) * math.log(1 - p)
    assert pair_distillation(a, b, c, d).item() == pytest.approx(total / 6)


def test_the_order_of_a_pair_and_a_users_level_are_free():
    a, b, c, d = (draw(6, seed=n) for n in range(4))
    value = pair_distillation(a, b, c, d)
    torch.testing.assert_close(pair_distillation(b, a, d, c), value)
    torch.testing.assert_close(pair_distillation(a + 3, b + 3, c - 1, d - 1), value)


def test_a_sure_teacher_is_pairwise_ranking():
    a, b = draw(6), draw(6, seed=1)
    sure = torch.full((6,), 1e3, dtype=torch.float64)
    expected = -(a - b).sigmoid().log().mean()
    torch.testing.assert_close(pair_distillation(a, b, sure, -sure), expected)


def test_gradients_reach_the_student_alone_and_vanish_at_the_teacher():
    a, b, c, d = (draw(6, seed=n).requires_grad_() for n in range(4))
    assert gradcheck(lambda x, y: pair_distillation(x, y, c.detach(), d.detach()), (a, b))
    loss = pair_distillation(a, b, c, d)
    assert torch.autograd.grad(loss, c, allow_unused=True) == (None,)
    at = c.detach().clone().requires_grad_()
    assert torch.autograd.grad(pair_distillation(at, d.detach(), c, d), at)[0].abs().max() < 1e-12


def test_codes_are_signs_and_pass_the_gradient():
    values = torch.tensor([[-2.0, 0.0], [0.5, -0.1]], requires_grad=True)
    codes = binary_codes(values)
    assert codes.tolist() == [[-1.0, 1.0], [1.0, -1.0]] and codes.dtype == values.dtype
    weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    (gradient,) = torch.autograd.grad((codes * weights).sum(), values)
    assert gradient.equal(weights)
    assert binary_codes(torch.tensor([math.nan])).isnan()


def test_products_of_codes_count_agreeing_bits():
    """b'c = bits - 2 (bits that differ): what makes lookups by Hamming distance possible."""
    b, c = binary_codes(draw(7, 16)), binary_codes(draw(9, 16, seed=1))
    differ = (b[:, None] != c[None]).sum(2)
    assert (b @ c.T).equal((16 - 2 * differ).double())


def test_extreme_scores():
    big, zero = torch.tensor([1e4]), torch.zeros(1)
    assert pair_distillation(big, zero, big, zero) == 0
    assert pair_distillation(zero, big, big, zero) == 1e4


def test_wrong_arguments():
    with pytest.raises(ValueError, match="one length; got student_better 2, student_worse 3"):
        pair_distillation(torch.zeros(2), torch.zeros(3), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="scores of shape"):
        pair_distillation(*[torch.zeros(2, 2)] * 4)
    with pytest.raises(ValueError, match="floating-point"):
        binary_codes(torch.tensor([1, 2]))
