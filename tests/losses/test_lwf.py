"""Learning without forgetting: the powers of the probabilities, its least value, excluded classes."""

import math

import pytest
import torch
from draws import draw_wide
from loops import rows, softmax

from kdnb.losses import learning_without_forgetting, soft_targets


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
@pytest.mark.parametrize("shape", [(1, 2), (7, 10), (3, 100)])
def test_against_loops(shape, temperature):
    """With renormalised powers of the probabilities, as the paper writes it."""
    student, teacher, total = draw_wide(*shape), draw_wide(*shape, seed=1), 0.0
    for z, v in rows(student, teacher):
        q, p = ([x ** (1 / temperature) for x in softmax(row)] for row in (z, v))
        total -= sum(a / sum(p) * math.log(b / sum(q)) for a, b in zip(p, q, strict=True))
    found = learning_without_forgetting(student, teacher, temperature)
    assert found.item() == pytest.approx(total / len(student), rel=1e-9)


def test_it_is_the_divergence_and_the_teachers_entropy():
    student, teacher = draw_wide(6, 8), draw_wide(6, 8, seed=1)
    entropy = torch.special.entr((teacher / 2).softmax(1)).sum(1).mean()
    expected = soft_targets(student, teacher, 2.0) / 4 + entropy
    torch.testing.assert_close(learning_without_forgetting(student, teacher), expected)
    least = learning_without_forgetting(teacher, teacher)
    torch.testing.assert_close(least, entropy)
    assert learning_without_forgetting(teacher + 0.1 * student, teacher) > least


def test_the_gradient_has_no_factor_of_the_temperature():
    student, teacher = draw_wide(4, 6).requires_grad_(), draw_wide(4, 6, seed=1)
    (found,) = torch.autograd.grad(learning_without_forgetting(student, teacher, 3.0), student)
    gap = (student / 3).softmax(1) - (teacher / 3).softmax(1)
    torch.testing.assert_close(found, gap.detach() / 3 / 4)


def test_excluded_classes_and_one_logit():
    out = -math.inf
    both = [torch.tensor([[0.0, out, x]], requires_grad=True) for x in (1.0, 2.0)]
    value = learning_without_forgetting(*both)
    plain = [torch.tensor([[0.0, x]]) for x in (1.0, 2.0)]
    torch.testing.assert_close(value, learning_without_forgetting(*plain))
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, both))
    assert learning_without_forgetting(both[0].detach(), torch.zeros(1, 3)) == math.inf
    one = learning_without_forgetting(torch.tensor([[3.0]]), torch.tensor([[-3.0]]), 1.0)
    two = learning_without_forgetting(torch.tensor([[3.0, 0]]), torch.tensor([[-3.0, 0]]), 1.0)
    torch.testing.assert_close(one, two)


def test_a_temperature_for_each_sample_and_wrong_ones():
    student, teacher = draw_wide(2, 4), draw_wide(2, 4, seed=1)
    each = torch.tensor([[1.0], [5.0]], dtype=torch.float64)
    alone = [
        learning_without_forgetting(student[i : i + 1], teacher[i : i + 1], float(each[i]))
        for i in range(2)
    ]
    both = learning_without_forgetting(student, teacher, each)
    torch.testing.assert_close(both, sum(alone) / 2)
    for wrong in (0.0, -1.0, math.nan, torch.ones(1, 1, 1), torch.ones(2), torch.zeros(2, 1)):
        with pytest.raises(ValueError, match="temperature must"):
            learning_without_forgetting(student, teacher, wrong)
